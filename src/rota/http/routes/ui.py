"""`/ui/`: the dashboard, which is a client of `/v1` and of nothing else. What is here hands out its files.

Its modules load each other by relative paths, below a path that holds the fingerprint of them all: so a browser keeps them for
ever, and after an update asks for others. Every other path below `/ui/` is a page, and pages are one file, which names the
modules that this page will want: so they are asked for together, and not when the one before them has come.
"""

from __future__ import annotations

import gzip
import hashlib
import posixpath
import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from msgspec import Struct

from rota.core.access import Who
from rota.core.errors import NotFound
from rota.http.operations import Call, NoBody, Operation, PageQuery
from rota.http.replies import Headers, Reply

_HTML = b"text/html; charset=utf-8"
_MEDIA = {
    "css": b"text/css; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "svg": b"image/svg+xml",
}
_INDEX = "index.html"
_MAIN = "main.js"
_IMPORT = re.compile(rb"""^(?:import|export)\b[^;"]*"(\.[^"]+)";""", re.MULTILINE)  # what a module always wants
_FOR_EVER = b"public, max-age=31536000, immutable"
_ASK_AGAIN = b"no-cache"
# Scripts and styles come from our own files only, and no script may turn a text into HTML.
_PAGE_HEADERS: Headers = [
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
    ),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
]


class _File(Struct, frozen=True):
    media: bytes
    plain: bytes
    packed: bytes


class _Assets(Struct, frozen=True):
    """All files of the dashboard. `mark` is their fingerprint; `pages` are what pages are, by their module."""

    mark: str
    pages: dict[str, _File]
    by_name: dict[str, _File]


@cache
def _assets() -> _Assets:
    texts = dict(_walk(files("rota.http").joinpath("assets", "ui"), ""))
    digest = hashlib.sha256()
    for name in sorted(texts):
        digest.update(b"%s\0%d\0%s" % (name.encode(), len(texts[name]), texts[name]))
    mark = digest.hexdigest()[:16]
    index = texts.pop(_INDEX).replace(b"{{mark}}", mark.encode())
    pages = {
        module: _file(index.replace(b"{{modules}}", _preloads(mark, _wanted(texts, [_MAIN, module]))), _HTML)
        for module in [_MAIN, *(name for name in texts if name.startswith("pages/"))]
    }
    named = {name: _file(text, _MEDIA[name.rpartition(".")[2]]) for name, text in texts.items()}
    return _Assets(mark, pages, named)


def _wanted(texts: dict[str, bytes], roots: list[str]) -> list[str]:
    """Return these modules, and those that they import, and so on."""
    found = dict.fromkeys(roots)
    for name in (rest := list(found)):
        for target in _IMPORT.findall(texts[name]):
            other = posixpath.normpath(posixpath.join(posixpath.dirname(name), target.decode()))
            if other not in found:
                found[other] = None
                rest.append(other)
    return list(found)


def _preloads(mark: str, modules: list[str]) -> bytes:
    links = [f'<link rel="modulepreload" href="/ui/assets/{mark}/{name}">' for name in modules if name != _MAIN]
    return "\n".join(links).encode()


def _module(path: str) -> str:
    """Return which module shows a page: `jobs` those of `/jobs`, `job` that of `/jobs/ID`."""
    first, _, one = path.strip("/").partition("/")
    return f"pages/{first.removesuffix('s') if one else first or 'overview'}.js"


def _walk(folder: Traversable, above: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        name = above + entry.name
        if entry.is_dir():
            yield from _walk(entry, name + "/")
        elif name == _INDEX or name.rpartition(".")[2] in _MEDIA:
            yield name, entry.read_bytes()


def _file(text: bytes, media: bytes) -> _File:
    return _File(media, text, gzip.compress(text, 9, mtime=0))


def _send(call: Call[PageQuery, NoBody], file: _File, headers: Headers, kept: bytes) -> Reply:
    tag = b'"%s"' % _assets().mark.encode()
    headers = [*headers, (b"etag", tag), (b"vary", b"accept-encoding")]
    if tag in call.headers.get(b"if-none-match", b""):
        return Reply(304, b"", headers, file.media, kept)
    if b"gzip" in call.headers.get(b"accept-encoding", b""):
        return Reply(200, file.packed, [*headers, (b"content-encoding", b"gzip")], file.media, kept)
    return Reply(200, file.plain, headers, file.media, kept)


async def show(call: Call[PageQuery, NoBody]) -> Reply:
    """Show the dashboard to a person, or hand out a file of it."""
    assets = _assets()
    top, _, name = call.id.partition("/")
    if top != "assets":
        page = assets.pages.get(_module(call.id), assets.pages[_MAIN])  # where there is none, the frame says so
        return _send(call, page, _PAGE_HEADERS, _ASK_AGAIN)
    mark, _, name = name.partition("/")
    file = assets.by_name.get(name)
    if mark != assets.mark or file is None:
        raise NotFound(f"there is no file {call.id!r} of this version of the dashboard")
    return _send(call, file, [], _FOR_EVER)


async def lead(_: Call[PageQuery, NoBody]) -> Reply:
    """Lead a browser to the dashboard."""
    return to_ui()


def to_ui() -> Reply:
    """Lead a browser to the dashboard."""
    return Reply(307, b"", [(b"location", b"/ui/"), *_PAGE_HEADERS], _HTML)


PAGES: list[Operation[Any, Any]] = [
    Operation(
        method="GET", path="/ui", function=lead, summary="The dashboard", tag="ui", who=Who.ANYONE,
        query=PageQuery, body=NoBody, answers={},
    ),
    Operation(
        method="GET", path="/ui/{path:path}", function=show, summary="The dashboard", tag="ui", who=Who.ANYONE,
        query=PageQuery, body=NoBody, answers={},
    ),
]  # fmt: skip
