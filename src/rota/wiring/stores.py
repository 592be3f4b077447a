"""From a store's URL to a store."""

from __future__ import annotations

from pathlib import Path

from rota.core.errors import Invalid
from rota.store.sqlite.store import SqliteStore

_SCHEME = "sqlite:///"
_LONGEST_SOCKET = 100  # bytes; sockaddr_un holds 108


def sqlite_path(url: str) -> Path:
    """Return the file that a `sqlite:///file` (relative) or `sqlite:////abs/file` URL names. Raises Invalid."""
    if not url.startswith(_SCHEME) or len(url) == len(_SCHEME):
        raise Invalid("store", f"{url!r} is no store; write sqlite:///rota.db, or sqlite:////an/absolute/path.db")
    return Path(url[len(_SCHEME) :]).absolute()


def open_store(url: str) -> SqliteStore:
    """Return the store that a URL names, not yet open. Raises Invalid, also when its folder does not exist."""
    path = sqlite_path(url)
    if not path.parent.is_dir():
        raise Invalid("store", f"the folder {path.parent} does not exist; make it first")
    if path.is_dir():
        raise Invalid("store", f"{path} is a folder; name a file")
    return SqliteStore(path)


def socket_path(store: SqliteStore) -> Path:
    """Return where the owner of a store's file listens for programs on the same machine. Raises Invalid when too long."""
    path = store.path.with_name(store.path.name + ".sock")
    if len(bytes(path)) > _LONGEST_SOCKET:
        raise Invalid(
            "store", f"the path {path} is too long for a socket (at most {_LONGEST_SOCKET} bytes); use a shorter one"
        )
    return path
