"""What an attempt leaves for the next one, whatever ended it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import Raw

from rota.core.checkpoints import MAX_CHECKPOINT, CheckpointNote
from rota.core.errors import NotFound, RotaError
from rota.core.jobs import Failure, Lease
from rota.core.states import Outcome, State

from .cluster import LEASE_S, Cluster, report


def note(lease: Lease, value: bytes, **more: Any) -> CheckpointNote:
    return CheckpointNote(**{"job": lease.job, "attempt": lease.attempt, "value": Raw(value), **more})


Live = Callable[[Any], None]


async def leave(c: Cluster, worker: str, *notes: CheckpointNote) -> None:
    await c.queue.tell(worker, [], [], [], [], checkpoints=list(notes))


def left(lease: Lease) -> tuple[int, bytes] | None:
    return None if lease.checkpoint is None else (lease.checkpoint.attempt, bytes(lease.checkpoint.value))


@pytest.mark.parametrize("end", ["error", "lost", "left", "snoozed"])
def test_the_next_attempt_is_given_the_newest(live: Live, end: str):
    async def test(c: Cluster) -> None:
        worker = await c.register()
        id_ = await c.submit("again", backoff=None, retries=9)
        first = await c.one(worker)
        assert left(first) is None
        await leave(c, worker, note(first, b'{"n":1}'), note(first, b'{"n":2}'))
        await leave(c, worker, note(first, b'{"n": 3}'))
        job = await c.job(id_)
        assert job.checkpoint is not None and (job.checkpoint.attempt, job.checkpoint.size) == (1, 8)
        match end:
            case "error":
                await c.queue.settle(worker, [report(first, Outcome.ERRORED, error=Failure("E", "m"))])
                await c.upkeep(5)
            case "snoozed":
                await c.queue.settle(worker, [report(first, Outcome.SNOOZED, retry_in_s=1.0)])
                (reason,) = [r for r in (await c.service.jobs.explain(id_)).reasons if r.code == "snoozed"]
                assert reason.text.startswith("has put itself off until 20") and reason.facts["snoozes"] == 1
                await c.upkeep(5)
            case "left":
                await c.queue.leave(worker)
            case _:
                await c.upkeep(LEASE_S + 1)
        other = await c.register("v")
        second = await c.one(other)
        assert (second.attempt, left(second)) == (2, (1, b'{"n": 3}'))
        assert bytes((await c.service.jobs.checkpoint(id_)).value) == b'{"n": 3}'
        await c.queue.settle(other, [report(second, Outcome.ERRORED, error=Failure("E", "m"))])
        await c.upkeep(9)
        third = await c.one(other)
        assert left(third) == (1, b'{"n": 3}'), "one that leaves nothing leaves what there was"

    live(test)


def test_only_who_holds_the_attempt_can_leave_something(live: Live):
    async def test(c: Cluster) -> None:
        worker, other = await c.register(), await c.register("v")
        await c.submit()
        lease = await c.one(worker)
        await leave(c, other, note(lease, b"1"))
        await leave(c, worker, note(lease, b"2", attempt=2), note(lease, b"3", job="nobody"))
        with pytest.raises(NotFound, match="has no checkpoint"):
            await c.service.jobs.checkpoint(lease.job)
        await leave(c, worker, note(lease, b"4"), note(lease, b"5", attempt=9))
        await c.queue.settle(worker, [report(lease)])
        await leave(c, worker, note(lease, b"6"))
        assert bytes((await c.service.jobs.checkpoint(lease.job)).value) == b"4"
        with pytest.raises(NotFound, match="no job"):
            await c.service.jobs.checkpoint("nobody")
        again = await c.service.jobs.retry(lease.job)
        lease = await c.one(worker)
        assert (lease.job, left(lease)) == (again.id, None), "a new job begins anew"

    live(test)


def test_arrays_have_none(live: Live):
    async def test(c: Cluster) -> None:
        worker = await c.register()
        id_ = await c.submit(inputs=Raw(b"[1,2]"))
        lease = await c.one(worker)
        await leave(c, worker, note(lease, b"1"))
        with pytest.raises(NotFound, match="has no checkpoint"):
            await c.service.jobs.checkpoint(id_)

    live(test)


def test_a_checkpoint_has_a_bound(live: Live):
    async def test(c: Cluster) -> None:
        worker = await c.register()
        await c.submit()
        lease = await c.one(worker)
        with pytest.raises(RotaError, match=r"checkpoints\[1\]\.value"):
            await leave(c, worker, note(lease, b"1"), note(lease, b'"' + b"x" * MAX_CHECKPOINT + b'"'))
        await leave(c, worker, note(lease, b'"' + b"x" * (MAX_CHECKPOINT - 2) + b'"'))
        job = await c.job(lease.job)
        assert (job.state, job.checkpoint and job.checkpoint.size) == (State.RUNNING, MAX_CHECKPOINT)

    live(test)
