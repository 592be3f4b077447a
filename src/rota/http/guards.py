"""No web page drives Rota (invariant 14): what is refused before any route is looked up.

A page in a browser can send requests to loopback, and with DNS rebinding even read the answers. It cannot choose the
headers that the browser adds: `Host` (the name that the page believes to talk to), `Origin`, `Sec-Fetch-*`; and
without a preflight, which is refused, it cannot send a JSON type. A program outside a browser sends none of these.

The routes of the older APIs check their types themselves (`apis/forms.py`): two take forms, which a page can send without
a preflight, but never without an `Origin`. What is refused here is refused as a problem, on their routes too.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from rota.http.parsing import is_json, media_of
from rota.http.problems import Refusal, problem_reply

LOOPBACK_NAMES = ("localhost",)
NDJSON = "application/x-ndjson"
_NDJSON_TOO = ("/v1/jobs", "/v1/jobs/bulk")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_WATCHED = frozenset({b"host", b"origin", b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest", b"content-type",
                      b"content-length", b"transfer-encoding"})  # fmt: skip


class Guard:
    """Lets requests through to `app` that no foreign web page can have caused.

    `allowed_hosts` are the names, without ports, that this server answers to beside loopback's. Requests over a Unix
    socket need no name: no browser speaks that.
    """

    def __init__(
        self, app: ASGIApp, *, allowed_hosts: Iterable[str] = (), loopback_names: Iterable[str] = LOOPBACK_NAMES
    ) -> None:
        self._app = app
        self._names = {name.lower() for name in (*allowed_hosts, *loopback_names)}
        self._seen: dict[str, bool] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a problem, or pass the request on."""
        if scope["type"] == "http":
            try:
                self._check(scope)
            except Refusal as refusal:
                await problem_reply(refusal).send(send)
                return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers: dict[bytes, str] = {}
        for name, value in scope["headers"]:
            if name in _WATCHED:
                if name in headers and name in (b"host", b"origin"):
                    raise Refusal("misdirected", f"more than one {name.decode()} header", field=name.decode())
                headers[name] = value.decode("latin-1")
        host = headers.get(b"host", "")
        server = scope.get("server")
        over_unix_socket = server is not None and server[1] is None
        if not over_unix_socket and not self._ours(host):
            raise Refusal(
                "misdirected", f"{host!r} is no name of this server; --allowed-host would add one", field="Host"
            )
        if b"origin" in headers or b"sec-fetch-site" in headers:
            _check_page(scope, headers, host)
        path: str = scope["path"]
        if path.startswith("/v1"):
            _check_type(scope["method"], path, headers)

    def _ours(self, host: str) -> bool:
        """Say whether a Host header names this server."""
        known = self._seen.get(host)
        if known is None:
            name = _split(f"//{host}")[0]
            known = name in self._names or _is_loopback(name)
            if len(self._seen) < 100:  # a client must not fill our memory with names
                self._seen[host] = known
        return known


def _check_page(scope: Scope, headers: dict[bytes, str], host: str) -> None:
    """Refuse what a page from elsewhere asks for, but for following a link to a page of ours."""
    origin = headers.get(b"origin")
    if origin is not None:
        scheme = scope["scheme"]
        theirs, ours = _split(origin), _split(f"{scheme}://{host}")
        if not origin.startswith(f"{scheme}://") or not ours[0] or theirs != ours:
            raise Refusal("foreign-origin", f"{origin} is another origin", field="Origin")
    site = headers.get(b"sec-fetch-site", "none")
    if site in ("none", "same-origin"):
        return
    path: str = scope["path"]
    followed_link = (
        scope["method"] == "GET"
        and headers.get(b"sec-fetch-mode") == "navigate"
        and headers.get(b"sec-fetch-dest", "document") == "document"
    )
    if not (followed_link and (path in ("/", "/docs", "/ui") or path.startswith("/ui/"))):
        raise Refusal("foreign-origin", f"a page of another site asks ({site})", field="Sec-Fetch-Site")


def _check_type(method: str, path: str, headers: dict[bytes, str]) -> None:
    """Refuse bodies that an HTML form could send."""
    kind = headers.get(b"content-type")
    if kind is None:
        if headers.get(b"content-length", "0") == "0" and b"transfer-encoding" not in headers:
            return
        kind = ""
    elif method in ("GET", "HEAD"):
        return
    media = media_of(kind)
    if is_json(media):
        return
    if media == NDJSON and path in _NDJSON_TOO:
        return
    raise Refusal("unsupported-media-type", f"{media or 'no type'}: send application/json", field="Content-Type")


def _split(url: str) -> tuple[str, int | None]:
    """Return the (name, port) of a URL, the scheme's own port if it says none; an empty name when it is no such URL."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "", None
    if parts.path or parts.query or parts.fragment or "@" in parts.netloc:
        return "", None
    return (parts.hostname or "").lower(), port or _DEFAULT_PORTS.get(parts.scheme)


def _is_loopback(name: str) -> bool:
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
