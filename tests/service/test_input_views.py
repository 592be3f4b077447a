"""What people see of an array's inputs: the map agrees with a look at each of them, whatever happens to the array."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import json

from rota.core.access import LOCAL, Caller, Role
from rota.core.errors import NotFound
from rota.core.jobs import Proof
from rota.core.retry import Backoff
from rota.core.states import Outcome, State
from rota.service.input_views import OneInput
from tests.service.array_scene import Scene, indices, play

WAITS, LATER, RUNS = State.QUEUED, State.SCHEDULED, State.RUNNING
GOOD, BAD, STOPPED, NEVER = State.SUCCEEDED, State.FAILED, State.ABORTED, State.CANCELED


async def look(s: Scene, job: str, n: int) -> list[OneInput]:
    """Return all inputs, having compared them with maps of several sizes."""
    each = [await s.service.looking.one_input(job, at, LOCAL) for at in range(n)]
    for buckets in (1, 3, n, 4096):
        found = await s.service.looking.input_map(job, buckets, LOCAL)
        assert found.inputs == n
        assert len(found.states[GOOD]) == -(-n // found.size) <= buckets
        for state, counts in found.states.items():
            seen = [0] * len(counts)
            for one in each:
                seen[one.index // found.size] += one.state is state
            assert counts == seen, (state, buckets)
    return each


async def states(s: Scene, job: str, n: int) -> list[State]:
    return [one.state for one in await look(s, job, n)]


def test_an_array_from_its_submission_to_its_end():
    async def story(s: Scene) -> None:
        job = await s.submit(20, handler="again", backoff=Backoff(base=4.0))
        assert await states(s, job, 20) == [WAITS] * 20
        worker = await s.worker()
        first = await s.one(worker)
        assert indices(first) == list(range(len(first.inputs)))
        n = len(first.inputs)
        assert await states(s, job, 20) == [RUNS] * n + [WAITS] * (20 - n)
        await s.tell(worker, first, 0)
        await s.tell(worker, first, 1, outcome=Outcome.ERRORED)
        one = (await look(s, job, 20))[1]
        assert (one.state, one.failures) == (LATER, 1)
        assert one.run_at is not None
        assert one.run_at > s.now
        await s.tell(worker, first, *range(2, n), stdout="out")
        await s.end(worker, first)
        assert await states(s, job, 20) == [GOOD, LATER] + [GOOD] * (n - 2) + [WAITS] * (20 - n)
        await s.let(20, **{worker: []})
        assert (await states(s, job, 20))[1] is WAITS
        while leases := await s.claim(worker):
            (lease,) = leases
            for at in indices(lease):
                await s.tell(worker, lease, at, outcome=Outcome.BAD_RESULT if at in (1, 7) else Outcome.SUCCEEDED)
            await s.end(worker, lease)
        each = await look(s, job, 20)
        assert [one.index for one in each if one.state is BAD] == [1, 7]
        assert [attempt.first for attempt in each[1].attempts] == [0, 1]
        assert each[2].outcome is not None
        assert (each[2].outcome.stdout, json.decode(each[2].input)) == ("out", 2)
        again = (await s.jobs.retry(job)).id
        assert await states(s, again, 20) == [WAITS if at in (1, 7) else GOOD for at in range(20)]
        stands = (await look(s, again, 20))[2]
        assert (stands.stands_of, stands.attempts) == (job, [])
        assert await s.run_all(worker) == [1, 7]
        assert await states(s, again, 20) == [GOOD] * 20

    play(story)


@pytest.mark.parametrize("old", [False, True], ids=["now", "by an older server"])
@pytest.mark.parametrize("told", [Outcome.INTERRUPTED, Outcome.ABORTED, Outcome.LOST])
def test_an_aborted_array_tells_what_never_ran(told: Outcome, old: bool):
    async def story(s: Scene) -> None:
        job = await s.submit(30)
        worker, other = await s.worker(), await s.worker()
        lease, sibling = await s.one(worker), await s.one(other)
        await s.tell(worker, lease, 0)
        await s.jobs.abort(job)
        assert (await states(s, job, 30)).count(RUNS) == len(lease.inputs) - 1 + len(sibling.inputs)
        await s.tell(worker, lease, 1, outcome=Outcome.ABORTED)
        await s.end(worker, lease, told, proof=Proof())
        await s.finish(other, sibling)
        if old:  # what a shard had left was forgotten then
            s.sql("DELETE FROM rota_ranges")
        seen = await states(s, job, 30)
        n = len(lease.inputs)
        assert seen[:n] == [GOOD, STOPPED] + [NEVER] * (n - 2)
        assert set(seen[n : n + len(sibling.inputs)]) == {GOOD}
        assert set(seen[n + len(sibling.inputs) :]) == {NEVER}
        again = (await s.jobs.retry(job)).id
        assert (await states(s, again, 30)).count(GOOD) == seen.count(GOOD)
        await s.jobs.abort(again)
        assert set(await states(s, again, 30)) == {GOOD, NEVER}

    play(story)


def test_a_halted_array_and_a_canceled_one():
    async def story(s: Scene) -> None:
        halted = await s.submit(30, halt="now,fail=1")
        worker = await s.worker()
        lease = await s.one(worker)
        await s.tell(worker, lease, 0, outcome=Outcome.ERRORED)
        assert (await states(s, halted, 30))[-1] is NEVER
        await s.end(worker, lease, Outcome.INTERRUPTED)
        assert await states(s, halted, 30) == [BAD] + [NEVER] * 29
        canceled = await s.submit(5)
        await s.jobs.abort(canceled)
        assert await states(s, canceled, 5) == [NEVER] * 5

    play(story)


def test_what_is_not_there_is_not_found():
    async def story(s: Scene) -> None:
        job, plain = await s.submit(3, owner="ana"), await s.plain()
        ben = Caller(role=Role.USER, owner="ben")
        looking = s.service.looking
        calls: list[Any] = [
            looking.input_map(plain, 5, LOCAL), looking.input_map("nobody", 5, LOCAL), looking.input_map(job, 5, ben),
            looking.one_input(plain, 0, LOCAL), looking.one_input(job, 3, LOCAL), looking.one_input(job, 0, ben),
            looking.around("nobody", 5, LOCAL), looking.around(job, 5, ben),
        ]  # fmt: skip
        for call in calls:
            with pytest.raises(NotFound):
                await call

    play(story)


# -- what is before and after a job


async def shape(
    s: Scene, job: str, limit: int = 100, caller: Caller = LOCAL
) -> tuple[set[str], set[tuple[str, str]], bool]:
    found = await s.service.looking.around(job, limit, caller)
    return {node.id for node in found.nodes}, {(edge.from_, edge.to) for edge in found.edges}, found.cut


def test_a_job_is_shown_with_what_is_before_and_after_it_as_far_as_there_is_room():
    async def story(s: Scene) -> None:
        a = await s.plain()
        b = await s.plain(after=[a])
        beside = await s.plain(after=[a])
        c = await s.plain(after=[b])
        foreign = await s.plain(after=[b], owner="ben")
        d = await s.plain(after=[c, beside])
        assert await shape(s, b) == ({a, b, c, d, foreign}, {(a, b), (b, c), (c, d), (b, foreign)}, False)
        assert await shape(s, d) == ({a, b, beside, c, d}, {(a, b), (a, beside), (b, c), (c, d), (beside, d)}, False)
        assert await shape(s, beside) == ({a, beside, d}, {(a, beside), (beside, d)}, False)
        user = Caller(role=Role.USER, owner="default")
        assert await shape(s, b, caller=user) == ({a, b, c, d}, {(a, b), (b, c), (c, d)}, False)
        ids, edges, cut = await shape(s, b, limit=3)
        assert (len(ids), len(edges), cut) == (3, 2, True)
        assert await shape(s, b, limit=1) == ({b}, set(), True)
        alone = await s.plain()
        assert await shape(s, alone) == ({alone}, set(), False)

    play(story)
