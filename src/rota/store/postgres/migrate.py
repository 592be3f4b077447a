"""Brings the schema of a PostgreSQL store up to date: once, whatever number of servers start together.

Each step is a file, and its number is the schema's version. A step that begins with `-- expand` only adds: servers of
before it go on working beside it, and may even be started. Any other step (`-- contract`) takes something away, and comes
in a later release than the last server that needs it.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from asyncpg import Connection

from rota.core.errors import StoreTooNew

_LOCK = 0x726F7461  # "rota": the advisory lock of whoever migrates, until its transaction ends
_TABLE = """CREATE TABLE IF NOT EXISTS rota_schema (
  version     integer PRIMARY KEY DEFERRABLE INITIALLY DEFERRED,
  expands     boolean NOT NULL DEFAULT false,
  applied_at  timestamptz NOT NULL DEFAULT now())"""


def steps() -> list[tuple[int, bool, str]]:
    """Return (version, expands, script) of all steps, in order."""
    found = []
    for path in sorted(files("rota.store.postgres.migrations").iterdir(), key=lambda path: path.name):
        if path.name.endswith(".sql"):
            script = path.read_text("utf-8")
            found.append((int(path.name[:4]), script.startswith("-- expand"), script))
    return found


SCHEMA_VERSION = steps()[-1][0]


async def lock(con: Connection[Any]) -> None:
    """Let nobody else make or change the schema until the transaction ends."""
    await con.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")


async def migrate(con: Connection[Any]) -> None:
    """Apply what is missing, in one transaction. Raises StoreTooNew for a store that a later Rota has contracted."""
    async with con.transaction(isolation="read_committed"):
        await con.execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
        await lock(con)
        if await con.fetchval("SELECT to_regclass('rota_schema')") is None:
            await con.execute(_TABLE)
        applied = {row[0]: row[1] for row in await con.fetch("SELECT version, expands FROM rota_schema")}
        newer = sorted(version for version, expands in applied.items() if version > SCHEMA_VERSION and not expands)
        if newer:
            raise StoreTooNew(
                f"the store has schema {newer[-1]}, this Rota knows up to {SCHEMA_VERSION}: start a newer Rota on it"
            )
        for version, expands, script in steps():
            if version not in applied:
                await con.execute(script)
                await con.execute("INSERT INTO rota_schema (version, expands) VALUES ($1, $2)", version, expands)
