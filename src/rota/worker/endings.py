"""How attempts end: what they leave behind is swept, async ones are canceled, and the report goes out when nothing is left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from rota.core.jobs import Proof
from rota.worker import verdict
from rota.worker.frames import Cancel, Done, Swept
from rota.worker.handle import ChildHandle, Running
from rota.worker.nursery import Nursery, Unborn
from rota.worker.proctree import mark
from rota.worker.stock import Stock

_LOOK_AGAIN_S = 0.05  # what is unmarked only because it has not yet become its program has by then


class Endings:
    """Ends attempts whose child goes on. `do` runs a coroutine beside; `next_begins` notes that a child goes on with what it
    holds."""

    def __init__(
        self,
        nursery: Nursery,
        stock: Stock,
        do: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]],
        next_begins: Callable[[ChildHandle], None],
    ) -> None:
        self._nursery = nursery
        self._stock = stock
        self._do = do
        self._next_begins = next_begins

    def finish(self, child: ChildHandle, run: Running, proof: Proof | None) -> None:
        """Send the report of an attempt that is over, with all below it; its child may take another."""
        if not child.forget(run):
            return  # the child has died since
        assert run.done is not None, "it has ended"
        run.finish(verdict.report_done(run, proof))
        self._stock.release(child, worn=isinstance(run.done, Done) and run.done.worn)

    async def sweep(self, child: ChildHandle, run: Running) -> None:
        """End what an attempt has left behind."""
        whose = mark(run.lease.job, run.lease.attempt) if child.kind == "async" else None
        try:
            proof, others = await self._nursery.sweep(child, whose, 0.0)
        except Unborn:
            return  # the keeper has died, and all children with it
        if child.kind == "async" and len(child.runs) <= 1 and await self._strangers(child, others):
            self.end_async(child)
        elif proof.survivors:
            self._nursery.end(child, 0.0)
        else:
            child.send(Swept())
            self._next_begins(child)
            self.finish(child, run, proof if proof.processes else None)

    async def stop_async(self, child: ChildHandle, run: Running, grace_s: float) -> None:
        """Cancel a task and end its processes; when it does not end, or leaves strangers, the whole child ends."""
        run.ended = asyncio.Event()
        child.send(Cancel(run.number))
        whose = mark(run.lease.job, run.lease.attempt)
        try:
            ladder = self._do(self._nursery.sweep(child, whose, grace_s))
            ladder.add_done_callback(run.note_swept)
            try:
                async with asyncio.timeout(grace_s):
                    await run.ended.wait()
            except TimeoutError:
                self.end_async(child)
                return
            proof, _ = await ladder
            if run.done is not None and (run.done.left or proof.processes):
                between_s = asyncio.get_running_loop().time() - run.stopped_at
                rest, others = await self._nursery.sweep(child, whose, 0.0)
                if await self._strangers(child, others):
                    self.end_async(child)
                    return
                proof = verdict.both(proof, rest, between_s)
                child.send(Swept())
        except Unborn:
            return
        took_s = round(asyncio.get_running_loop().time() - run.stopped_at, 6)
        self.finish(child, run, verdict.both(Proof(signals=[("CANCEL", 0.0)], took_s=took_s), proof, 0.0))

    def end_async(self, child: ChildHandle) -> None:
        """End an async child with all that runs in it."""
        self._stock.lose(child)
        if not child.ending:
            child.stopped = True
            self._nursery.end(child, 0.0)

    async def _strangers(self, child: ChildHandle, others: list[tuple[int, str | None]]) -> bool:
        """Say whether something below the async child belongs to no attempt that runs in it."""

        def strange(found: list[tuple[int, str | None]]) -> set[int]:
            ours = {mark(r.lease.job, r.lease.attempt) for r in child.runs.values() if r.done is None}
            return {pid for pid, whose in found if whose not in ours}

        if not (first := strange(others)):
            return False
        await asyncio.sleep(_LOOK_AGAIN_S)
        _, found = await self._nursery.sweep(child, "", 0.0)
        return bool(first & strange(found))
