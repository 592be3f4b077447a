"""Leaves a store with nothing running in it, so that another one can take its place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from rota.core.errors import StoreInUse
from rota.core.states import Outcome
from rota.core.times import SECOND
from rota.service.service import Service
from rota.store.protocol import Tx, WorkerRow


async def give_back(service: Service, sleep: Callable[[float], Awaitable[None]]) -> int:
    """Give all that is leased back to its queue, and return how many attempts that was.

    Nobody serves the store, so no lease is renewed. The end of each is waited for, with `sleep`: by then its worker has
    ended what it ran, and no attempt is charged for that. Raises StoreInUse when a lease is renewed all the same.
    """
    store, known = service.store, {info.row.id: info.row.lease_until for info in await service.workers()}
    given = sum(info.running for info in await service.workers())
    await service.upkeep.begin()
    while True:
        now, present, next_end = await store.read(_look)
        if any(row.lease_until > known.get(row.id, 0) for row in present):
            raise StoreInUse("a worker's lease was renewed: a server is on the store; stop it first")
        if next_end is None:
            return given
        if next_end > now:
            await sleep((next_end - now) / SECOND)
            continue
        for row in present:
            if row.lease_until <= now:
                await service.work.release(row.id, Outcome.LOST, "its store was copied", at_once=True, charged=False)
        given += await service.upkeep.rescue()  # leases with an end of their own, of workers that are gone


async def _look(tx: Tx) -> tuple[int, list[WorkerRow], int | None]:
    present = [row for row in await tx.list_workers() if row.gone_at is None]
    return tx.now, present, (await tx.wakeups()).lease
