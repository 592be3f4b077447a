"""Statements that travel together: what asyncpg does not offer, a little below it.

PostgreSQL takes any number of messages before it is asked to answer (`Sync`). asyncpg sends a statement with its Sync, so
statements that return no rows can be written just before: PostgreSQL runs all in order, and answers once. When one fails, it
skips what follows up to the Sync, and asyncpg raises that error in the place of the last one's. A wait for an answer is what
costs a lone job its time: 6 of them to submit are 3 so, 8 to claim are 6.

Only statements that are prepared in the session travel so, and so none does through a pooler.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack
from typing import Any

from asyncpg import Connection

_EXECUTE = b"E" + pack("!i", 9) + b"\0" + pack("!i", 0)  # all rows of the portal without a name
_NULL = pack("!i", -1)


def execution(statement: str, values: Sequence[Any]) -> bytes:
    """Return the messages that run a prepared statement. Each value travels as its text, whatever its type is."""
    parts = [b"\0", statement.encode(), b"\0", pack("!hh", 0, len(values))]
    for value in values:
        if value is None:
            parts.append(_NULL)
        else:
            text = value if isinstance(value, bytes) else str(value).encode()
            parts += (pack("!i", len(text)), text)
    parts.append(pack("!h", 0))
    bind = b"".join(parts)
    return b"B" + pack("!i", len(bind) + 4) + bind + _EXECUTE


def send(con: Connection[Any], messages: list[bytes]) -> None:
    """Write messages before those of the next statement, which must come at once, and forget them."""
    if messages:
        con._transport.write(b"".join(messages))
        messages.clear()
