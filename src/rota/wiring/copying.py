"""`rota copy`: a store of either kind copied to a new one of either kind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from msgspec import Struct

from rota.client.hook_targets import Targets
from rota.client.hooks import HookSender
from rota.service.handover import give_back
from rota.service.service import Service
from rota.store import copying
from rota.store.copying import Copied, Table
from rota.store.postgres import copying as postgres
from rota.store.sqlite import copying as sqlite
from rota.wiring.stores import is_postgres, open_file, open_store, sqlite_path


class Copy(Struct, frozen=True):
    """What was copied: the tables, the attempts that were given back first, the texts that could not stay as they were."""

    tables: list[Copied]
    given_back: int
    replaced: int


async def copy_store(source: str, target: str, told: copying.Told | None, waits: Callable[[float], None]) -> Copy:
    """Copy the store `source` to the new store `target`; both are URLs.

    No server may be on `source`. What runs there is given back to its queues first, once its leases are over; `waits` hears
    for how many seconds that is. Nothing else is changed in it. Raises Conflict when there is a store at `target`, Invalid
    when there is none at `source`, StoreInUse when somebody is on either of them, StoreTooNew, Unavailable.
    """
    await _check_target(target)
    await _check_source(source)
    tables = sqlite.tables()
    opened = open_store(source)
    await opened.open()

    async def wait(seconds: float) -> None:
        waits(seconds)
        await asyncio.sleep(seconds)

    try:
        given_back = await give_back(Service(opened, sender=HookSender(Targets())), wait)
        async with _reading(source, tables) as from_, _writing(target, tables) as to:
            copied = await copying.copy(from_, to, tables, told)
            replaced = to.replaced if isinstance(to, postgres.PostgresEnd) else 0
    finally:
        await opened.close()
    return Copy(copied, given_back, replaced)


async def _check_source(url: str) -> None:
    if is_postgres(url):
        await postgres.check_source(url)
    else:
        sqlite.check_source(sqlite_path(url))


async def _check_target(url: str) -> None:
    if is_postgres(url):
        await postgres.check_target(url)
    else:
        sqlite.check_target(open_file(url).path)


@asynccontextmanager
async def _reading(url: str, tables: Sequence[Table]) -> AsyncIterator[copying.End]:
    if is_postgres(url):
        async with postgres.reading(url, tables) as end:
            yield end
    else:
        with sqlite.reading(sqlite_path(url)) as end_:
            yield end_


@asynccontextmanager
async def _writing(url: str, tables: Sequence[Table]) -> AsyncIterator[copying.End]:
    if is_postgres(url):
        async with postgres.writing(url, tables) as end:
            yield end
    else:
        with sqlite.writing(sqlite_path(url)) as end_:
            yield end_
