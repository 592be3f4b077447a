"""`/ui/`: the dashboard, which is a client of `/v1` and of nothing else. What is here hands out its files.

Its modules go out as one file (`http/modules.py`), below a path that holds the fingerprint of all files: so a browser keeps it
for ever, and after an update asks for another. Every other path below `/ui/` is a page, and pages are one file; the script that
stands in it asks for the page's first answers, which are on their way before anything else is.
"""

from __future__ import annotations

import gzip
import hashlib
import posixpath
from base64 import b64encode
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from msgspec import Struct

from rota.core.access import Who
from rota.core.errors import NotFound
from rota.http.modules import join, wanted_later
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
_FIRST = "first.js"
_FOR_EVER = b"public, max-age=31536000, immutable"
_ASK_AGAIN = b"no-cache"
# Scripts and styles are our own files (the first script stands in the page), and no script may turn a text into HTML.
_POLICY = (
    b"default-src 'none'; script-src 'self' 'sha256-%s'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)


class _File(Struct, frozen=True):
    media: bytes
    plain: bytes
    packed: bytes


class _Assets(Struct, frozen=True):
    """All files of the dashboard. `mark` is their fingerprint, `page` is what every page is."""

    mark: str
    page: _File
    page_headers: Headers
    by_name: dict[str, _File]


@cache
def _assets() -> _Assets:
    texts = dict(_walk(files("rota.http").joinpath("assets", "ui"), ""))
    digest = hashlib.sha256()
    for name in sorted(texts):
        digest.update(b"%s\0%d\0%s" % (name.encode(), len(texts[name]), texts[name]))
    mark = digest.hexdigest()[:16]
    first = texts[_FIRST]
    page = texts.pop(_INDEX).replace(b"{{mark}}", mark.encode()).replace(b"{{first}}", first)
    scripts = {name: text.decode() for name, text in texts.items() if name.endswith(".js")}
    main = join(scripts, _MAIN)
    sent = {name: text for name, text in texts.items() if name not in scripts}
    sent |= {name: texts[name] for name in map(posixpath.normpath, wanted_later(main))}
    sent[_MAIN] = main.encode()
    named = {name: _file(text, _MEDIA[name.rpartition(".")[2]]) for name, text in sent.items()}
    return _Assets(mark, _file(page, _HTML), _headers(first), named)


def _headers(first: bytes) -> Headers:
    """Return what goes with every page; `first` is the script that stands in it."""
    return [
        (b"content-security-policy", _POLICY % b64encode(hashlib.sha256(first).digest())),
        (b"referrer-policy", b"no-referrer"),
        (b"cross-origin-opener-policy", b"same-origin"),
    ]


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
        return _send(call, assets.page, assets.page_headers, _ASK_AGAIN)  # where there is none, the page says so
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
    return Reply(307, b"", [(b"location", b"/ui/"), *_assets().page_headers], _HTML)


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
