"""What people look at who look at one job closely: its place among others, a map of its inputs, one of them.

Each of it is one transaction that only reads. A job that the caller must not see does not exist for it.
"""

from __future__ import annotations

from collections.abc import Iterable

from rota.core.access import Caller
from rota.core.errors import NotFound
from rota.core.input_maps import InputMap
from rota.core.jobs import Array, Job
from rota.core.runs import AroundView, EdgeView
from rota.service.access import missing
from rota.service.input_views import OneInput, read_map, read_one
from rota.service.inputs import Inputs
from rota.service.runs import node_view
from rota.store.protocol import Dependency, Store, Tx
from rota.store.run_rows import Node


class Looking:
    """Looks at one job for a caller. Every method raises NotFound for a job that is not there, or not for this caller."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._inputs = Inputs()

    async def input_map(self, job: str, buckets: int, caller: Caller) -> InputMap:
        """Count an array's inputs by state, in at most so many buckets. Raises NotFound for what is no array."""

        async def look(tx: Tx) -> InputMap:
            return await read_map(tx, *await _array(tx, job, caller), buckets)

        return await self._store.read(look)

    async def one_input(self, job: str, index: int, caller: Caller) -> OneInput:
        """Return one input of an array, and what became of it. Raises NotFound for what is no array, or has no such input."""

        async def look(tx: Tx) -> OneInput:
            return await read_one(tx, self._inputs, *await _array(tx, job, caller), index)

        return await self._store.read(look)

    async def around(self, job: str, limit: int, caller: Caller) -> AroundView:
        """Return what a job waits for and what waits for it, and so on: at most `limit` jobs, the nearest."""

        async def look(tx: Tx) -> AroundView:
            await _job(tx, job, caller)
            return await _around(tx, job, limit, caller)

        return await self._store.read(look)


async def _around(tx: Tx, job: str, limit: int, caller: Caller) -> AroundView:
    found = {node.id: node for node in await tx.nodes([job])}
    edges: dict[tuple[str, str], Dependency] = {}
    above = below = [job]
    cut = False
    while above or below:
        up = await tx.edges_into(above) if above else []
        down = await tx.edges_from(below, limit + 1) if below else []
        above, lost = await _more(tx, found, [edge.after for edge in up], limit, caller)
        below, too = await _more(tx, found, [edge.job for edge in down], limit, caller)
        cut = cut or lost or too or len(down) > limit
        edges |= {(edge.after, edge.job): edge for edge in (*up, *down)}
    return AroundView(
        nodes=[node_view(node) for node in found.values()],
        edges=[EdgeView(from_=e.after, to=e.job, on=e.on) for e in edges.values() if {e.after, e.job} <= found.keys()],
        cut=cut,
    )


async def _more(
    tx: Tx, found: dict[str, Node], ids: Iterable[str], limit: int, caller: Caller
) -> tuple[list[str], bool]:
    """Add what is new and may be seen, as far as there is room; return it, and whether there was too little room."""
    new = [id_ for id_ in dict.fromkeys(ids) if id_ not in found]
    room = limit - len(found)
    nodes = [node for node in await tx.nodes(new[:room]) if caller.sees(node.owner)] if new and room else []
    found.update({node.id: node for node in nodes})
    return [node.id for node in nodes], len(new) > room


async def _job(tx: Tx, job: str, caller: Caller) -> Job:
    found = await tx.get_job(job)
    if found is None or not caller.sees(found.owner):
        raise missing(job)
    return found


async def _array(tx: Tx, job: str, caller: Caller) -> tuple[Job, Array]:
    found = await _job(tx, job, caller)
    array = await tx.get_array(job)
    if array is None:
        raise NotFound(f"job {job} has no inputs")
    return found, array
