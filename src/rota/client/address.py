"""Where a server is: an URL, a Unix socket, or the store that it owns."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from msgspec import Struct

from rota.core.errors import Invalid

SOCKET_SUFFIX = ".sock"


class Address(Struct, frozen=True, kw_only=True):
    """A server's address. `socket` is a Unix socket's path, when that is the way; `store` the URL that it came from."""

    scheme: str = "http"
    host: str = "localhost"
    port: int | None = None
    prefix: str = ""
    socket: str | None = None
    store: str | None = None

    def __str__(self) -> str:
        """Write the address as a person would type it."""
        if self.store is not None:
            return self.store
        if self.socket is not None:
            return f"unix:{self.socket}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}{'' if self.port is None else f':{self.port}'}{self.prefix}"

    @property
    def way_out(self) -> str:
        """Say what to do when nobody answers."""
        if self.store is not None:
            return f"start its server: rota serve --store {self.store}"
        if self.socket is not None:
            return "start the server that owns this socket: rota serve"
        return "start one with `rota serve`, or say where it is with --server or ROTA_SERVER"


def parse_address(text: str) -> Address:
    """Read `http://host:port`, `https://…`, `unix:/path` or `sqlite:///path` (the server that owns that file).

    Raises Invalid with the field `server`.
    """
    scheme, colon, rest = text.strip().partition(":")
    if not colon:
        raise Invalid("server", f"{text!r} is no address; write http://host:port, unix:/path or sqlite:///path")
    match scheme.lower():
        case "http" | "https":
            return _web(text.strip())
        case "unix":
            path = unquote(rest.removeprefix("//"))
            if not path:
                raise Invalid("server", "unix: needs the path of a socket, like unix:/run/rota.sock")
            return Address(socket=path)
        case "sqlite":
            path = rest.removeprefix("///")
            if not rest.startswith("///") or not path:
                raise Invalid("server", f"{text!r} is no store; write sqlite:///file.db or sqlite:////absolute/file.db")
            return Address(socket=path + SOCKET_SUFFIX, store=text.strip())
        case "postgresql" | "postgres":
            raise Invalid("server", "a PostgreSQL store has no socket of its own; give its server's http:// address")
        case _:
            raise Invalid("server", f"{text!r} is no address; write http://host:port, unix:/path or sqlite:///path")


def parse_addresses(text: str) -> list[Address]:
    """Read one address, or several with commas between: `http://…` and `https://…` of servers that share a store."""
    parts = [part for part in text.split(",") if part.strip()]
    if len(parts) < 2 or not all(part.strip().lower().startswith(("http://", "https://")) for part in parts):
        return [parse_address(text)]
    return [parse_address(part) for part in parts]


def _web(text: str) -> Address:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as wrong:
        raise Invalid("server", f"{text!r}: {wrong}") from None
    if not host:
        raise Invalid("server", f"{text!r} names no host")
    if parts.username is not None or parts.query or parts.fragment:
        raise Invalid("server", "an address is scheme://host:port only; tokens go to --token or ROTA_TOKEN")
    return Address(scheme=parts.scheme, host=host, port=port, prefix=parts.path.rstrip("/"))
