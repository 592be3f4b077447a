"""Sends hooks over HTTP, with httpx. Redirects are not followed, answers are not read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rota.client.hook_targets import Targets

if TYPE_CHECKING:
    import httpx


class HookSender:
    """Satisfies `rota.service.hooks.Sender`. httpx is loaded with the first call: most servers never make one."""

    def __init__(self, targets: Targets) -> None:
        self._targets = targets
        self._client: httpx.AsyncClient | None = None

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        """POST `body` and return the status. Raises TargetRefused; OSError or httpx.HTTPError when there is no answer."""
        import httpx

        if self._client is None:
            # Connections are not kept: one belongs to a name, and would be found again by its address.
            limits = httpx.Limits(max_connections=100, max_keepalive_connections=0)
            self._client = httpx.AsyncClient(follow_redirects=False, timeout=15.0, limits=limits, trust_env=False)
        whole = httpx.URL(url)
        name = whole.raw_host.decode("ascii")
        address = await self._targets.choose(name, whole.port or (443 if whole.scheme == "https" else 80))
        headers = {**headers, "host": whole.netloc.decode("ascii")}
        request = self._client.build_request(
            "POST", whole.copy_with(host=address), content=body, headers=headers, extensions={"sni_hostname": name}
        )
        answer = await self._client.send(request, stream=True)
        await answer.aclose()
        return answer.status_code

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
