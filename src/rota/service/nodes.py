"""API D's nodes: workers that offer nothing, and that are there while they are heard of."""

from __future__ import annotations

from rota.core.jobs import WorkerHello
from rota.core.times import SECOND
from rota.service.admission import check_name
from rota.store.protocol import Store, Tx

_ROW = "node:"  # begins the ids of their rows, so that a node has one row whichever server it talks to


class Nodes:
    """Keeps nodes among the workers. `lease_s` is how long a silent one is still counted."""

    def __init__(self, store: Store, *, lease_s: float) -> None:
        self._store = store
        self._lease = round(lease_s * SECOND)

    async def beat(self, node: str) -> None:
        """Note that a node lives. Raises Invalid for what can be no name."""
        check_name("nodeId", node, "")
        worker = _ROW + node

        async def write(tx: Tx) -> None:
            row = await tx.get_worker(worker)
            if row is None or row.gone_at is not None:
                await tx.insert_worker(worker, WorkerHello(name=node, slots=0), tx.now + self._lease)
            await tx.renew_workers([(worker, tx.now + self._lease)])

        await self._store.write(write)
