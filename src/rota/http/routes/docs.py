"""`/docs`, where a person tries the API, and `/`. The pages load nothing from outside, and nobody may frame them."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from rota.core.access import Who
from rota.core.errors import NotFound
from rota.http.operations import AnyQuery, Call, NoBody, NoQuery, Operation
from rota.http.replies import Headers, Reply, json_reply
from rota.http.routes.ui import to_ui

# Scripts and styles come from our own files only; Swagger UI's style sheet holds its pictures (data:).
_PAGE_HEADERS: Headers = [
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
]
_HTML = b"text/html; charset=utf-8"
_ASSETS = {
    "docs.js": ("docs.js", b"text/javascript; charset=utf-8"),
    "swagger-ui.css": ("swagger-ui/swagger-ui.css", b"text/css; charset=utf-8"),
    "swagger-ui-bundle.js": ("swagger-ui/swagger-ui-bundle.js", b"text/javascript; charset=utf-8"),
}


@cache
def _read(path: str) -> bytes:
    return files("rota.http").joinpath("assets", path).read_bytes()


async def page(_: Call[NoQuery, NoBody]) -> Reply:
    """Show the API to a person."""
    return Reply(200, _read("docs.html"), _PAGE_HEADERS, _HTML)


async def asset(call: Call[NoQuery, NoBody]) -> Reply:
    """Serve a file of the page."""
    if call.id not in _ASSETS:
        raise NotFound(f"there is no file {call.id!r}")
    path, media = _ASSETS[call.id]
    return Reply(200, _read(path), media=media)


async def index(call: Call[AnyQuery, NoBody]) -> Reply:
    """Lead a browser to the dashboard, and tell a program where things are."""
    if call.accepts("text/html"):
        return to_ui()
    places = {"jobs": "/v1/jobs", "docs": "/docs", "openapi": "/openapi.json", "health": "/healthz"}
    return json_reply({"name": "rota", "version": version("rota"), **places})


# Unless timed jobs are served: `/` was theirs.
INDEX: Operation[Any, Any] = Operation(
    method="GET", path="/", function=index, summary="Begin here", tag="server", who=Who.ANYONE,
    query=AnyQuery, body=NoBody, answers={200: dict[str, str], 307: None},
)  # fmt: skip

PAGES: list[Operation[Any, Any]] = [
    Operation(
        method="GET", path="/docs", function=page, summary="This page", tag="docs",
        who=Who.ANYONE, query=NoQuery, body=NoBody, answers={}
    ),
    Operation(
        method="GET", path="/docs/assets/{name}", function=asset, summary="Its files", tag="docs", who=Who.ANYONE,
        query=NoQuery, body=NoBody, answers={},
    ),
]  # fmt: skip
