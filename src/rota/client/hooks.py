"""Sends hooks over HTTP, with httpx. Redirects are not followed, answers are not read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx


class HookSender:
    """Satisfies `rota.service.hooks.Sender`. httpx is loaded with the first call: most servers never make one."""

    def __init__(self) -> None:
        self._client: httpx.AsyncClient | None = None

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        """POST `body` and return the status. Raises httpx.HTTPError when there is no answer."""
        if self._client is None:
            import httpx

            limits = httpx.Limits(max_connections=100, max_keepalive_connections=20)
            self._client = httpx.AsyncClient(follow_redirects=False, timeout=15.0, limits=limits, trust_env=False)
        async with self._client.stream("POST", url, content=body, headers=headers) as answer:
            return answer.status_code

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
