"""Who may use a server, by its settings: where tokens are asked for, and the first of them."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from rota import log
from rota.client.hook_targets import LOOPBACK
from rota.core.access import LOCAL, STRANGER, Role
from rota.core.errors import Invalid
from rota.http.gate import Gate
from rota.http.listening import is_loopback
from rota.service.tokens import PREFIX, NewToken, Tokens, seeded
from rota.settings import Settings

_log = log.get("server")


def asks_for_tokens(settings: Settings) -> bool:
    """Say whether a server lets in only those who have a token. Raises Invalid."""
    if settings.require_token and settings.insecure_no_tokens:
        raise Invalid("insecure_no_tokens", "and require_token exclude each other")
    return settings.require_token or not (settings.insecure_no_tokens or is_loopback(settings.host))


async def gate_of(settings: Settings, tokens: Tokens) -> Gate:
    """Return the gate of a server, with the token of `token_file` made.

    Raises Invalid when it would ask for tokens and there are none: then nobody could come in.
    """
    asks = asks_for_tokens(settings)
    await tokens.refresh()
    if settings.token_file is not None:
        await tokens.add(NewToken(role=Role.ADMIN, name="token file"), token_in(Path(settings.token_file)))
    if asks and not tokens.any:
        shown = "URL" if "@" in settings.store else settings.store  # it may hold a password
        store = "" if settings.store == Settings().store else f" --store {shown}"
        raise Invalid(
            "require_token" if settings.require_token else "host",
            f"a server that listens on {settings.host} asks for a token, and there is none. Make the first one: "
            f"rota token add --role admin{store}",
        )
    if settings.insecure_no_tokens:
        _log.warning("no_tokens", host=settings.host)
    elif asks and settings.tls_cert is None and not is_loopback(settings.host):
        _log.warning("no_tls", host=settings.host)
    anonymous = None if asks else STRANGER if settings.insecure_no_tokens else LOCAL
    return Gate(tokens, anonymous=anonymous, rate=settings.rate)


def hook_targets(settings: Settings) -> tuple[str, ...]:
    """Return where hooks may go besides public addresses.

    Without a setting: to loopback, where everybody who reaches the server may run any script there anyhow.
    """
    if settings.hook_targets is not None:
        return settings.hook_targets
    return () if asks_for_tokens(settings) or settings.insecure_no_tokens else LOOPBACK


def token_in(path: Path) -> str:
    """Return the token that a file holds; if there is no such file, make it, for its owner to read alone. Raises Invalid."""
    with suppress(FileExistsError):
        _make(path)
    try:
        return seeded(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid("token_file", f"{path} cannot be read: {error}") from None


def _make(path: Path) -> None:
    """Write a new token to a file that is not there. Others who do the same at this moment find one that is whole."""
    if path.exists():
        return
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(f"{PREFIX}{secrets.token_hex()}\n")
        os.link(fresh, path)
    except FileExistsError:
        raise
    except OSError as error:
        raise Invalid("token_file", f"{path} cannot be made: {error.strerror}") from None
    finally:
        fresh.unlink(missing_ok=True)
