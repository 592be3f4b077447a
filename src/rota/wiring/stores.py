"""From a store's URL to a store."""

from __future__ import annotations

from pathlib import Path

from rota.core.errors import Invalid
from rota.store.postgres.store import PostgresStore
from rota.store.sqlite.store import SqliteStore

_SCHEME = "sqlite:///"
_POSTGRES = ("postgresql://", "postgres://")
_SECRET_OPTIONS = ("password=", "sslpassword=")
_LONGEST_SOCKET = 100  # bytes; sockaddr_un holds 108


def is_postgres(url: str) -> bool:
    """Say whether a URL names a PostgreSQL database."""
    return url.startswith(_POSTGRES)


def shown(url: str) -> str:
    """Return a store's URL as it may be shown and logged: without its password."""
    if not is_postgres(url):
        return url
    scheme, _, rest = url.partition("://")
    place, mark, options = rest.partition("?")
    who, at, where = place.rpartition("@")
    kept = [option for option in options.split("&") if not option.lower().startswith(_SECRET_OPTIONS)]
    return f"{scheme}://{who.partition(':')[0]}{at}{where}{mark if options and kept else ''}{'&'.join(kept)}"


def sqlite_path(url: str) -> Path:
    """Return the file that a `sqlite:///file` (relative) or `sqlite:////abs/file` URL names. Raises Invalid."""
    if not url.startswith(_SCHEME) or len(url) == len(_SCHEME):
        raise Invalid(
            "store", f"{url!r} is no store; write sqlite:///rota.db, sqlite:////an/absolute/path.db or postgresql://..."
        )
    return Path(url[len(_SCHEME) :]).absolute()


def open_store(url: str) -> SqliteStore | PostgresStore:
    """Return the store that a URL names, not yet open. Raises Invalid, also when a file's folder does not exist."""
    return PostgresStore(url) if is_postgres(url) else open_file(url)


def open_file(url: str) -> SqliteStore:
    """Return the embedded store that a URL names, not yet open. Raises Invalid, also when its folder does not exist."""
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
