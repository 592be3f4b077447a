"""Arrays: every input has one result in the end, whatever becomes of the workers, and none runs after it has succeeded."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import pytest
from msgspec import Raw, json

from rota.core.errors import Conflict, Invalid, NotFound, TooLarge
from rota.core.jobs import CRASH_BUDGET, Failure, Lease, Proof, Submission
from rota.core.retry import Backoff
from rota.core.states import Outcome, State
from rota.core.times import SECOND
from rota.service.inputs import read_inputs
from rota.service.jobs import Edit
from tests.service.array_scene import LEASE_S, Scene, indices, play
from tests.virtual_time import settle as let_all_run

GOOD, BAD, STOPPED = State.SUCCEEDED, State.FAILED, State.ABORTED


# -- shards


def test_shards_are_small_while_nobody_knows_then_last_about_a_second_and_shrink_to_the_end():
    async def story(s: Scene) -> None:
        await s.submit(20_000)
        worker = await s.worker(slots=4)
        sizes = []
        while leases := await s.claim(worker):
            (lease,) = leases
            sizes.append(len(lease.inputs))
            await s.tell(worker, lease, *indices(lease), duration_s=0.001)
            await s.end(worker, lease)
        assert sizes[0] == 8
        assert max(sizes) <= 1000, "inputs of a millisecond: a thousand a second"
        assert sizes.index(max(sizes)) == 1
        assert sizes[-10:] == sorted(sizes[-10:], reverse=True) and sizes[-1] == 1
        assert sum(sizes) == 20_000

    play(story)


def test_slow_inputs_are_handed_out_one_by_one():
    async def story(s: Scene) -> None:
        await s.submit(100)
        worker = await s.worker()
        first = await s.one(worker)
        await s.tell(worker, first, *indices(first), duration_s=60.0)
        await s.end(worker, first)
        assert len((await s.one(worker)).inputs) == 1

    play(story)


def test_inputs_come_as_they_were_given_also_across_the_pieces_in_which_they_lie():
    async def story(s: Scene) -> None:
        values: list[Any] = [{"at": at, "text": "ü" * (at % 50)} for at in range(9000)]
        job = await s.submit(values)
        worker = await s.worker()
        seen = {}
        while leases := await s.claim(worker):
            seen |= dict(zip(indices(leases[0]), leases[0].inputs, strict=True))
            await s.finish(worker, leases[0])
        assert [json.decode(seen[at]) for at in range(9000)] == values
        assert json.decode(await s.jobs.inputs(job)) == values
        lines = await s.jobs.results(job, after=4090, limit=10)
        assert [json.decode(line.input)["at"] for line in lines] == list(range(4091, 4101))

    play(story)


def test_idle_workers_wake_each_other_until_all_have_a_shard():
    async def story(s: Scene) -> None:
        workers = [await s.worker() for _ in range(4)]
        claims = [asyncio.ensure_future(s.claim(worker, wait_s=30)) for worker in workers]
        await let_all_run()
        await s.submit(100)
        await let_all_run()
        assert [claim.done() and len(claim.result()) for claim in claims] == [1, 1, 1, 1]

    play(story)


def test_one_claim_takes_as_many_shards_as_it_has_slots_and_no_event_tells_of_each():
    async def story(s: Scene) -> None:
        job = await s.submit(100)
        worker = await s.worker(slots=3)
        leases = await s.claim(worker, 3)
        assert [lease.attempt for lease in leases] == [1, 2, 3]
        assert [event.kind for event in await s.jobs.events(job)] == ["submitted", "started"]
        tries = await s.jobs.attempts(job)
        assert [(t.attempt, t.worker, t.first, t.outcome) for t in tries] == [
            (lease.attempt, worker, lease.first, None) for lease in leases
        ]
        await s.finish(worker, leases[1])
        assert [t.outcome for t in await s.jobs.attempts(job)] == [None, "succeeded", None]

    play(story)


def test_an_async_handlers_shard_takes_an_async_slot():
    async def story(s: Scene) -> None:
        await s.submit(50, handler="a")
        worker = await s.worker(slots=4)
        assert await s.claim(worker, 4) == []
        assert len(await s.claim(worker, 0, asynchronous=2, total=2)) == 2

    play(story)


# -- told results


def test_an_input_without_a_word_before_the_next_ones_runs_again_at_once():
    async def story(s: Scene) -> None:
        job = await s.submit(200)
        w, v = await s.worker(slots=2), await s.worker(slots=2)
        lease = await s.one(w)
        assert indices(lease) == list(range(8))
        await s.tell(w, lease, 2, 3, 6)
        assert list(await s.states(job)) == [2, 3, 6]
        again = await s.claim(v, 2)
        assert [indices(one) for one in again] == [[0, 1], [4, 5]]
        await s.tell(w, lease, 0, 5)
        assert list(await s.states(job)) == [2, 3, 6], "they are somebody else's now"
        await s.tell(w, lease, 7)
        assert await s.end(w, lease) is State.RUNNING
        for one in again:
            await s.finish(v, one)
        assert Counter(await s.run_all(w)) == Counter(range(8, 200))
        assert (await s.jobs.get(job)).state is GOOD

    play(story)


def test_a_doubled_message_of_a_shard_that_is_over_changes_nothing_though_the_same_worker_has_its_inputs_again():
    async def story(s: Scene) -> None:
        job = await s.submit(8, retries=3, backoff=Backoff(base=0.0))
        worker = await s.worker()
        first = await s.one(worker)
        await s.tell(worker, first, *indices(first), outcome=Outcome.ERRORED)
        await s.end(worker, first)
        second = await s.one(worker)
        assert set(indices(second)) <= set(indices(first))
        await s.tell(worker, first, *indices(first))
        assert await s.states(job) == {}
        await s.finish(worker, second)
        assert await s.states(job) == dict.fromkeys(indices(second), GOOD)
        assert {line.outcome.attempt for line in await s.jobs.results(job)} == {second.attempt}

    play(story)


def test_one_batch_that_names_an_input_twice_counts_it_once():
    async def story(s: Scene) -> None:
        job = await s.submit(4, parallel=1)
        worker = await s.worker()
        lease = await s.one(worker)
        await s.tell(worker, lease, 0, 0)
        assert await s.array(job) == (1, 0, 1)

    play(story)


def test_snoozed_interrupted_and_failed_inputs_run_again_each_in_its_time():
    async def story(s: Scene) -> None:
        job = await s.submit(3, handler="again", backoff=Backoff(base=8.0, factor=1), parallel=1)
        w = await s.worker()
        for outcome, fields in (
            (Outcome.SNOOZED, {"retry_in_s": 60.0}),
            (Outcome.INTERRUPTED, {}),
            (Outcome.ERRORED, {}),
        ):
            lease = await s.one(w)
            await s.tell(w, lease, *indices(lease), outcome=outcome, **fields)
            await s.end(w, lease)
        # the interrupted one came first again, and has failed; whatever waits for its time does not keep others waiting
        lease = await s.one(w)
        assert indices(lease) == [2]
        await s.finish(w, lease)
        assert await s.claim(w) == []
        assert not (await s.jobs.get(job)).open
        await s.let(9, **{w: []})
        lease = await s.one(w)
        assert indices(lease) == [1]
        await s.finish(w, lease)
        await s.let(44, **{w: []})
        assert await s.claim(w) == []
        await s.let(9, **{w: []})
        assert await s.run_all(w) == [0]
        assert (await s.jobs.get(job)).state is GOOD

    play(story)


def test_an_input_fails_for_good_when_its_retries_are_spent_and_the_others_do_not_mind():
    async def story(s: Scene) -> None:
        job = await s.submit(5, handler="again", backoff=Backoff(base=1.0, factor=1))
        w, runs = await s.worker(), Counter[int]()
        error = Failure(type="ValueError", message="no")
        for _ in range(20):
            for lease in await s.claim(w):
                for index in indices(lease):
                    runs[index] += 1
                    outcome = Outcome.ERRORED if index == 3 else Outcome.SUCCEEDED
                    await s.tell(w, lease, index, outcome=outcome, error=error if index == 3 else None, exit_code=7)
                await s.end(w, lease)
            await s.let(2, **{w: []})
        assert runs == {0: 1, 1: 1, 2: 1, 3: 3, 4: 1}
        found = await s.jobs.get(job)
        assert (found.state, found.reason) == (BAD, "error")
        assert found.error is not None and found.error.message == "1 of 5 inputs failed"
        (line,) = await s.jobs.results(job, bad=True)
        assert (line.outcome.index, line.outcome.error, line.outcome.exit_code) == (3, error, 7)

    play(story)


# -- lost and poisoned


def test_of_a_lost_workers_shard_only_what_it_had_not_told_runs_again():
    async def story(s: Scene) -> None:
        job = await s.submit(64)
        lost, w = await s.worker(), await s.worker()
        lease = await s.one(lost)
        await s.tell(lost, lease, 0, 1, 2)
        await s.let(LEASE_S + 3, **{w: []})
        with pytest.raises(NotFound):
            await s.beat(lost, lease)
        await s.tell(lost, lease, 3)
        assert await s.run_all(w) == list(range(3, 64))
        assert (await s.jobs.get(job)).state is GOOD

    play(story)


def test_an_input_that_takes_its_workers_along_fails_alone():
    async def story(s: Scene) -> None:
        poison, inputs, deaths = 700, 4000, 0
        job = await s.submit(inputs, parallel=1)
        runs: Counter[int] = Counter()
        while (await s.jobs.get(job)).state in (State.QUEUED, State.RUNNING):
            w = await s.worker()
            while leases := await s.claim(w):
                lease = leases[0]
                done = [index for index in indices(lease) if index < poison or poison not in indices(lease)]
                runs.update(done)
                await s.tell(w, lease, *done, duration_s=0.0001)
                if poison in indices(lease):
                    runs[poison] += 1
                    deaths += 1
                    await s.let(LEASE_S + 2)
                    break
                await s.end(w, lease)
        assert deaths == CRASH_BUDGET
        assert runs == {**dict.fromkeys(range(inputs), 1), poison: CRASH_BUDGET}
        assert Counter((await s.states(job)).values()) == {GOOD: inputs - 1, BAD: 1}
        (line,) = await s.jobs.results(job, bad=True)
        assert (line.outcome.index, line.outcome.outcome) == (poison, "lost")
        assert line.outcome.error is not None and line.outcome.error.type == "lost"

    play(story)


def test_a_poisoned_input_can_halt_its_array_and_wakes_who_follows_the_results():
    async def story(s: Scene) -> None:
        job = await s.submit(1, halt="now,fail=1")
        other = await s.submit(2, halt="soon,fail=1", parallel=2)
        w, v = await s.worker(), await s.worker(slots=2)
        for _ in range(CRASH_BUDGET):
            lease = await s.one(w)
            assert lease.job == job
            await s.end(w, lease, Outcome.LOST)
        assert (await s.jobs.get(job)).state is BAD
        for _ in range(CRASH_BUDGET - 1):
            lease = await s.one(w)
            await s.end(w, lease, Outcome.LOST)
        poisoned, fine = await s.claim(v, 2)
        with s.service.signals.on("logs", other) as follower:
            await s.end(v, poisoned, Outcome.LOST)
            assert await follower.wait(0)
        assert [held.job for held in (await s.beat(v, fine)).halt] == [other]
        await s.end(v, fine, Outcome.INTERRUPTED)
        found = await s.jobs.get(other)
        assert (found.state, found.array and found.array.halted) == (BAD, "soon,fail=1")

    play(story)


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.ERRORED, Outcome.BAD_RESULT])
def test_a_worker_that_tells_of_no_input_does_not_get_them_for_ever(outcome: Outcome):
    async def story(s: Scene) -> None:
        job = await s.submit(3)
        w, shards = await s.worker(), 0
        while leases := await s.claim(w):
            shards += 1
            await s.end(w, leases[0], outcome)
        assert shards == 3 * CRASH_BUDGET
        assert set((await s.states(job)).values()) == {BAD}
        assert (await s.jobs.get(job)).state is BAD

    play(story)


def test_a_claim_whose_answer_was_lost_comes_back_and_is_charged_to_nobody():
    async def story(s: Scene) -> None:
        job = await s.submit(1)
        w = await s.worker()
        for _ in range(CRASH_BUDGET + 1):
            await s.one(w)
            await s.let(2 * LEASE_S + 2, **{w: []})
        assert await s.run_all(w) == [0]
        assert (await s.jobs.get(job)).state is GOOD

    play(story)


def test_a_server_that_starts_again_goes_on_where_the_last_one_stopped():
    async def story(s: Scene) -> None:
        job = await s.submit(40)
        w = await s.worker()
        lease = await s.one(w)
        await s.tell(w, lease, 0, 1)
        await s.store.close()
        await s.open()
        await s.tell(w, lease, *indices(lease)[2:])
        await s.end(w, lease)
        assert await s.run_all(w) == list(range(len(lease.inputs), 40))
        assert (await s.jobs.get(job)).state is GOOD

    play(story)


# -- parallel, halt


def test_no_more_than_parallel_shards_are_out_and_each_end_lets_the_next_in():
    async def story(s: Scene) -> None:
        job = await s.submit(50, parallel=2)
        w = await s.worker(slots=8)
        leases = await s.claim(w, 8)
        assert len(leases) == 2
        assert await s.claim(w, 6) == []
        reasons = (await s.service.jobs.explain(job)).reasons
        assert [why.code for why in reasons] == ["running", "parallel-limit"]
        waits = asyncio.ensure_future(s.claim(w, 6, wait_s=30))
        await let_all_run()
        assert not waits.done()
        await s.finish(w, leases[0])
        await let_all_run()
        assert [lease.job for lease in waits.result()] == [job]
        assert await s.array(job) == (len(leases[0].inputs), 0, 2)

    play(story)


def test_an_array_at_its_limit_does_not_hide_the_jobs_behind_it():
    async def story(s: Scene) -> None:
        await s.submit(50, parallel=1, priority=5)
        behind = await s.plain()
        w = await s.worker(slots=2)
        assert behind in [lease.job for lease in await s.claim(w, 2)]

    play(story)


def test_arrays_and_plain_jobs_go_by_priority_then_age():
    async def story(s: Scene) -> None:
        order = []
        for at, (kind, priority) in enumerate((("plain", 0), ("array", 0), ("plain", 0), ("array", 7), ("plain", -1))):
            s.now += SECOND
            one = await (s.plain(priority=priority) if kind == "plain" else s.submit(1, priority=priority))
            order.append((-priority, at, one))
        w = await s.worker(slots=9)
        assert [lease.job for lease in await s.claim(w, 2)] != []
        running = {job: (await s.jobs.get(job)).state is State.RUNNING for *_, job in order}
        assert running == {job: at < 2 for at, (*_, job) in enumerate(sorted(order))}

    play(story)


@pytest.mark.parametrize(
    ("halt", "fails", "state", "message"),
    [
        ("soon,fail=2", 2, BAD, "2 of 100 inputs failed; soon,fail=2 ended it before the others"),
        ("soon,fail=2%", 2, BAD, "2 of 100 inputs failed; soon,fail=2% ended it before the others"),
        ("soon,done=5", 0, GOOD, None),
        ("soon,success=3", 2, GOOD, None),
    ],
)
def test_halting_soon_lets_what_runs_end_and_starts_no_more(
    halt: str, fails: int, state: State, message: str | None
):  # fmt: skip
    async def story(s: Scene) -> None:
        job = await s.submit(100, halt=halt)
        behind = await s.plain()
        w, v = await s.worker(), await s.worker()
        one, other = await s.one(w), await s.one(v)
        for index in indices(one)[:fails]:
            await s.tell(w, one, index, outcome=Outcome.ERRORED)
        await s.tell(w, one, *indices(one)[fails : 5 if fails != 2 or state is GOOD else 2])
        found = await s.jobs.get(job)
        assert (found.state, found.array and found.array.halted, found.open) == (State.RUNNING, halt, False)
        assert [lease.job for lease in await s.claim(await s.worker())] == [behind], "in one go: it hides nothing"
        assert [held.attempt for held in (await s.work.watch(v, 0)).halt] == [other.attempt]
        assert (await s.beat(w, one)).abort == []
        await s.tell(v, other, indices(other)[0], outcome=Outcome.SUCCEEDED)
        await s.end(v, other, Outcome.INTERRUPTED)
        assert await s.end(w, one, Outcome.INTERRUPTED) is state
        found = await s.jobs.get(job)
        assert (found.error and found.error.message) == message
        assert (await s.states(job))[indices(other)[0]] is GOOD
        assert "halted" in [event.kind for event in await s.jobs.events(job)]

    play(story)


def test_halting_now_ends_what_runs_and_what_waits_for_its_retry_never_does():
    async def story(s: Scene) -> None:
        job = await s.submit(30, handler="again", halt="now,fail=1", backoff=Backoff(base=60.0))
        w, v = await s.worker(), await s.worker()
        one, other = await s.one(w), await s.one(v)
        await s.tell(w, one, 0, outcome=Outcome.ERRORED)
        assert await s.array(job) == (0, 0, 2), "it is tried again, so it has not failed"
        await s.tell(w, one, 1, outcome=Outcome.BAD_RESULT)
        assert [order.attempt for order in (await s.work.watch(v, 0)).abort] == [other.attempt]
        await s.tell(v, other, indices(other)[0], outcome=Outcome.ABORTED)
        await s.end(v, other, Outcome.ABORTED, proof=Proof(processes=1))
        assert await s.end(w, one, Outcome.ABORTED, proof=Proof(processes=1)) is BAD
        await s.let(120, **{w: [], v: []})
        assert await s.claim(w) == []
        assert await s.states(job) == {1: BAD, indices(other)[0]: STOPPED}

    play(story)


# -- abort


def test_the_abort_of_a_million_inputs_is_one_small_transaction():
    async def story(s: Scene) -> None:
        job = await s.submit(1_000_000)
        w = await s.worker(slots=4)
        leases = await s.claim(w, 4)
        await s.tell(w, leases[0], 0, 1)
        changes = s.store.inline_runner._connection.total_changes
        began = time.process_time()
        found = await s.jobs.abort(job)
        took = time.process_time() - began
        assert s.store.inline_runner._connection.total_changes - changes < 10
        assert took < 0.05, "about a millisecond"
        assert (found.state, found.abort_requested_at) == (State.RUNNING, s.now)
        assert {order.attempt for order in (await s.beat(w, *leases)).abort} == {1, 2, 3, 4}
        assert await s.claim(await s.worker()) == []
        for lease in leases:
            await s.end(w, lease, Outcome.ABORTED, proof=Proof(processes=1))
        found = await s.jobs.get(job)
        assert (found.state, found.confirmed, found.array and found.array.done) == (STOPPED, True, 2)
        with pytest.raises(Conflict):
            await s.jobs.abort(job)

    play(story)


def test_an_abort_before_the_first_cut_cancels():
    async def story(s: Scene) -> None:
        job = await s.submit(5)
        assert (await s.jobs.abort(job)).state is State.CANCELED
        assert await s.states(job) == {}
        assert await s.claim(await s.worker()) == []

    play(story)


def test_an_abort_while_nothing_runs_is_over_at_once():
    async def story(s: Scene) -> None:
        job = await s.submit(1, handler="again", backoff=Backoff(base=60.0))
        w = await s.worker()
        lease = await s.one(w)
        await s.tell(w, lease, 0, outcome=Outcome.ERRORED)
        await s.end(w, lease)
        found = await s.jobs.abort(job)
        assert (found.state, found.confirmed) == (STOPPED, True)
        await s.let(100, **{w: []})
        assert await s.claim(w) == []

    play(story)


@pytest.mark.parametrize(
    ("second", "confirmed"),
    [
        ({"outcome": Outcome.ABORTED}, True),
        ({"outcome": Outcome.LOST}, False),
        ({"proof": Proof(survivors=[7])}, False),
    ],
)
def test_an_abort_is_confirmed_when_every_shard_was_seen_to_end(second: dict[str, Any], confirmed: bool):
    async def story(s: Scene) -> None:
        job = await s.submit(40)
        w = await s.worker(slots=2)
        one, other = await s.claim(w, 2)
        await s.jobs.abort(job)
        await s.tell(w, one, 0, outcome=Outcome.ABORTED)
        await s.tell(w, one, 1)
        await s.end(w, other, **{"outcome": Outcome.ABORTED, **second})
        assert await s.end(w, one, Outcome.ABORTED, proof=Proof(processes=1)) is STOPPED
        assert (await s.jobs.get(job)).confirmed is confirmed
        assert await s.states(job) == {0: STOPPED, 1: GOOD}

    play(story)


# -- run again


async def with_ends(s: Scene, w: str, lease: Lease, bad: set[int], skipped: set[int]) -> None:
    for index in indices(lease):
        if index not in skipped:
            outcome = Outcome.BAD_RESULT if index in bad else Outcome.SUCCEEDED
            await s.tell(w, lease, index, outcome=outcome, result=Raw(b"%d" % lease.attempt), duration_s=0.1)
    await s.end(w, lease)


async def all_ends(s: Scene, w: str, bad: set[int]) -> list[int]:
    seen = []
    while leases := await s.claim(w):
        seen += indices(leases[0])
        await with_ends(s, w, leases[0], bad, set())
    return seen


def test_a_retry_runs_what_failed_and_shows_what_stands_and_so_does_a_retry_of_the_retry():
    async def story(s: Scene) -> None:
        first = await s.submit(20)
        w = await s.worker()
        await all_ends(s, w, {3, 4, 5, 11, 19})
        second = (await s.jobs.retry(first)).id
        assert (await s.jobs.get(second)).retry_of == first
        assert await s.array(second) == (15, 0, 0)
        assert sorted(await all_ends(s, w, {4, 19})) == [3, 4, 5, 11, 19]
        assert (await s.jobs.get(second)).state is BAD
        third = (await s.jobs.retry(second)).id
        assert sorted(await all_ends(s, w, set())) == [4, 19]
        assert (await s.jobs.get(third)).state is GOOD
        assert await s.states(third) == dict.fromkeys(range(20), GOOD)
        assert {n for n, state in (await s.states(second)).items() if state is BAD} == {4, 19}
        assert [line.outcome.index for line in await s.jobs.results(second, bad=True)] == [4, 19]
        for after in range(-1, 20):
            page = await s.jobs.results(third, after=after, limit=3)
            assert [line.outcome.index for line in page] == list(range(after + 1, min(after + 4, 20)))
            assert [int(bytes(line.input)) for line in page] == [line.outcome.index for line in page]
        with pytest.raises(Conflict, match="every input"):
            await s.jobs.retry(third)
        assert {n for n, state in (await s.states(first)).items() if state is BAD} == {3, 4, 5, 11, 19}, "it stays so"

    play(story)


def test_a_retry_of_an_aborted_a_halted_and_a_canceled_array_runs_what_is_missing():
    async def story(s: Scene) -> None:
        w = await s.worker()
        aborted = await s.submit(10)
        lease = await s.one(w)
        await s.tell(w, lease, 0, 1)
        await s.jobs.abort(aborted)
        await s.end(w, lease, Outcome.ABORTED, proof=Proof())
        halted = await s.submit(10, halt="now,fail=1")
        lease = await s.one(w)
        await s.tell(w, lease, 0)
        await s.tell(w, lease, 1, outcome=Outcome.BAD_RESULT)
        await s.end(w, lease, Outcome.ABORTED, proof=Proof())
        canceled = await s.submit(10)
        await s.jobs.abort(canceled)
        for job, missing in ((aborted, range(2, 10)), (halted, range(1, 10)), (canceled, range(10))):
            again = (await s.jobs.retry(job)).id
            assert sorted(await s.run_all(w)) == list(missing)
            assert (await s.jobs.get(again)).state is GOOD
            assert await s.states(again) == dict.fromkeys(range(10), GOOD)

    play(story)


def test_a_retry_that_waits_can_be_changed_and_canceled_like_any_job():
    async def story(s: Scene) -> None:
        w = await s.worker()
        first = await s.submit(4)
        await all_ends(s, w, {2})
        again = (await s.jobs.retry(first)).id
        assert (await s.jobs.edit(again, Edit(delay=60.0, queue="q", priority=3))).state is State.SCHEDULED
        assert await s.claim(w) == []
        await s.let(62, **{w: []})
        lease = await s.one(w)
        assert (lease.job, indices(lease)) == (again, [2])
        with pytest.raises(Conflict, match="has started"):
            await s.jobs.edit(again, Edit(priority=4))
        await s.finish(w, lease)
        assert (await s.service.stats()).jobs["succeeded"] == 1

    play(story)


# -- what belongs to an array


def test_an_array_that_moves_to_another_queue_is_claimed_there_and_counted_there():
    async def story(s: Scene) -> None:
        job = await s.submit(30)
        await s.jobs.edit(job, Edit(queue="q"))
        assert await s.claim(await s.worker(queues=["default"])) == []
        w = await s.worker(queues=["q"])
        lease = await s.one(w)
        assert s.sql("SELECT queue, state, n FROM rota_counts WHERE n > 0 ORDER BY state") == [
            ("q", "open", 1),
            ("q", "running", 1),
        ]
        await s.finish(w, lease)
        await s.run_all(w)
        assert s.sql("SELECT queue, state, n FROM rota_counts WHERE n > 0") == [("q", "succeeded", 1)]

    play(story)


def test_a_draining_worker_gets_no_shard_and_gives_back_what_it_has_not_told():
    async def story(s: Scene) -> None:
        job = await s.submit(30)
        w, v = await s.worker(), await s.worker()
        lease = await s.one(w)
        await s.work.drain(w)
        assert (await s.beat(w, lease)).drain
        assert await s.claim(w) == []
        await s.tell(w, lease, 0)
        await s.end(w, lease, Outcome.INTERRUPTED)
        await s.work.leave(w)
        assert await s.run_all(v) == list(range(1, 30))
        assert (await s.jobs.get(job)).state is GOOD

    play(story)


def test_who_waits_for_an_array_starts_when_all_of_it_has_succeeded_and_never_when_not():
    async def story(s: Scene) -> None:
        good, bad = await s.submit(9), await s.submit(9)
        after_good, after_bad = await s.plain(after=[good]), await s.submit(3, after=[bad])
        w = await s.worker()
        while leases := await s.claim(w):
            lease = leases[0]
            if lease.job == after_good:
                break
            assert (await s.jobs.get(after_bad)).state in (State.BLOCKED, State.CANCELED)
            await with_ends(s, w, lease, {8} if lease.job == bad else set(), set())
        assert (await s.jobs.get(good)).state is GOOD
        assert (await s.jobs.get(after_good)).state is State.RUNNING
        found = await s.jobs.get(after_bad)
        while (await s.jobs.get(bad)).state is State.RUNNING:
            await with_ends(s, w, await s.one(w), {8}, set())
        found = await s.jobs.get(after_bad)
        assert (found.state, found.reason) == (State.CANCELED, "dependency")

    play(story)


def test_the_hook_of_an_array_is_called_once_at_its_end():
    async def story(s: Scene) -> None:
        job = await s.submit(9, hook="http://a.example/x")
        w = await s.worker()
        await s.run_all(w)
        (row,) = await s.jobs.deliveries(job)
        body = json.decode(row.body)
        assert (body["type"], body["data"]["id"], body["data"]["result"]) == ("job.succeeded", job, None)

    play(story)


def test_explain_says_how_far_an_array_is_and_what_it_waits_for():
    async def story(s: Scene) -> None:
        job = await s.submit(2, handler="again", backoff=Backoff(base=60.0))
        w = await s.worker()
        assert (await s.service.jobs.explain(job)).state == "queued"
        lease = await s.one(w)
        reasons = (await s.service.jobs.explain(job)).reasons
        assert "0 of 2 inputs are over, 1 run now" in reasons[0].text
        await s.tell(w, lease, *indices(lease), outcome=Outcome.ERRORED)
        await s.end(w, lease)
        rest = await s.one(w)
        reasons = (await s.service.jobs.explain(job)).reasons
        assert [why.code for why in reasons] == ["running", "no-input-ready"]
        assert reasons[0].facts["workers"] == [w]
        await s.jobs.abort(job)
        assert (await s.service.jobs.explain(job)).reasons[0].code == "aborting"
        await s.end(w, rest, Outcome.ABORTED)
        assert (await s.service.jobs.explain(job)).reasons[0].code == "over"

    play(story)


def test_follow_has_every_result_in_order_without_a_gap_and_ends_with_the_array():
    async def story(s: Scene) -> None:
        job = await s.submit(24, parallel=2)
        w = await s.worker(slots=2)
        seen: list[int] = []

        async def follow() -> None:
            async for page in s.service.feed.results(job, follow=True):
                seen.extend(line.outcome.index for line in page)

        following = asyncio.ensure_future(follow())
        one, other = await s.claim(w, 2)
        await s.finish(w, other)
        await let_all_run()
        assert seen == [], "the first ones are not there yet"
        await s.tell(w, one, indices(one)[0])
        await let_all_run()
        assert seen == [0]
        await s.tell(w, one, *indices(one)[1:])
        await let_all_run()
        assert seen == [*indices(one), *indices(other)]
        await s.end(w, one)
        await s.run_all(w)
        await following
        assert seen == list(range(24))

    play(story)


# -- pruned


def test_results_are_pruned_some_at_a_time_and_a_base_stays_as_long_as_who_shows_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("rota.store.sqlite.tx.MOST_DELETED", 30)

    async def story(s: Scene) -> None:
        w = await s.worker()
        first = await s.submit(70)
        await all_ends(s, w, {5})
        s.now += 3 * 86400 * SECOND
        w = await s.worker()
        again = (await s.jobs.retry(first)).id
        await all_ends(s, w, set())
        s.now += 5 * 86400 * SECOND
        await s.upkeep.prune()
        assert await s.states(again) == dict.fromkeys(range(70), GOOD), "the first one is old, and still shown"
        s.now += 3 * 86400 * SECOND
        rows = lambda: s.sql("SELECT count(*) FROM rota_results")[0][0]  # noqa: E731
        before, steps = rows(), 0
        while s.sql("SELECT count(*) FROM rota_jobs")[0][0]:
            s.now += 61 * SECOND
            await s.upkeep.prune()
            assert before - rows() <= 30
            before, steps = rows(), steps + 1
            assert steps < 20
        for table in ("arrays", "inputs", "results", "ranges", "shards", "uploads", "attempts"):
            assert s.sql(f"SELECT count(*) FROM rota_{table}") == [(0,)], table
        assert s.sql("SELECT * FROM rota_counts WHERE n > 0") == []

    play(story)


def test_inputs_that_no_job_came_of_are_removed_after_an_hour():
    async def story(s: Scene) -> None:
        job = await s.submit(5)

        async def left(tx: Any) -> None:
            await tx.begin_upload("left")
            await tx.insert_inputs("left", [(0, 1, "[1]")])

        await s.store.write(left)
        s.now += 3599 * SECOND
        await s.upkeep.prune()
        assert s.sql("SELECT count(*) FROM rota_inputs") == [(2,)]
        s.now += 62 * SECOND
        await s.upkeep.prune()
        assert s.sql("SELECT count(*) FROM rota_inputs") == [(1,)]
        assert s.sql("SELECT count(*) FROM rota_uploads") == [(0,)]
        assert json.decode(await s.jobs.inputs(job)) == list(range(5))

    play(story)


# -- submitted


async def refused(s: Scene, kind: type[Exception], field: str, **fields: Any) -> None:
    given = {"handler": "h", "inputs": Raw(b"[1]"), **fields}
    with pytest.raises(kind) as error:
        await s.jobs.submit(Submission(**{name: value for name, value in given.items() if value is not None}))
    assert (error.value.limit if isinstance(error.value, TooLarge) else error.value.field) == field  # type: ignore[attr-defined]
    for table in ("jobs", "arrays", "inputs", "uploads"):
        assert s.sql(f"SELECT count(*) FROM rota_{table}") == [(0,)], table


NO = Raw(b"")
WRONG: list[tuple[type[Exception], str, dict[str, Any]]] = [
    (Invalid, "inputs", {"inputs": Raw(b"[]")}),
    (Invalid, "inputs", {"inputs": Raw(b'""')}),
    (Invalid, "inputs", {"inputs": Raw(b"{}")}),
    (Invalid, "inputs", {"inputs": Raw(b"null")}),
    (Invalid, "inputs", {"inputs": Raw(b"7")}),
    (Invalid, "inputs[0..0]", {"inputs": Raw(b'["\xff"]')}),
    (TooLarge, "inputs", {"inputs": Raw(b'["' + b"x" * (1 << 20) + b'"]')}),
    (TooLarge, "inputs", {"inputs": Raw(b"[" + b"1," * 1_000_000 + b"1]")}),
    (Invalid, "parallel", {"parallel": 0}),
    (Invalid, "parallel", {"parallel": 1_000_001}),
    (Invalid, "parallel", {"parallel": 2, "inputs": NO}),
    (Invalid, "halt", {"halt": "now,fail=1", "inputs": NO}),
    *(
        (Invalid, "halt", {"halt": halt})
        for halt in ("", "never", "now", "now,fail=0", "soon,fail=101%", "now,fail=-1")
    ),
    (Invalid, "data", {"data": Raw(b"[1]")}),
    (Invalid, "data", {"data": Raw(b'{"a":1}'), "handler": None, "script": "true"}),
    (Invalid, "inputs", {"handler": None, "command": "echo", "inputs": NO}),
    (Invalid, "env", {"env": {"A": "b"}}),
    (Invalid, "limits", {"limits": {"memory": 1 << 30}}),
    (Invalid, "pull", {"pull": "always"}),
    (Invalid, "network", {"network": "none"}),
    (Invalid, "env.1A", {"handler": None, "script": "true", "env": {"1A": "b"}}),
    (Invalid, "env.ROTA_X", {"handler": None, "script": "true", "env": {"ROTA_X": "b"}}),
    (Invalid, "env.A", {"handler": None, "script": "true", "env": {"A": "b\0"}}),
    (TooLarge, "env", {"handler": None, "script": "true", "env": {"A": "b" * (1 << 17)}}),
    (Invalid, "limits.memry", {"handler": None, "script": "true", "limits": {"memry": 1}}),
    (Invalid, "limits.memory", {"handler": None, "script": "true", "limits": {"memory": "lots"}}),
    (Invalid, "limits.memory", {"handler": None, "script": "true", "limits": {"memory": 1.5}}),
    (Invalid, "limits.memory", {"handler": None, "script": "true", "limits": {"memory": 7}}),
    (Invalid, "limits.files", {"handler": None, "script": "true", "limits": {"files": 9.5}}),
    (Invalid, "limits.cpu", {"handler": None, "script": "true", "limits": {"cpu": "1"}}),
    (Invalid, "limits.cpu", {"handler": None, "script": "true", "limits": {"cpu": float("nan")}}),
    (Invalid, "limits.cpus", {"handler": None, "script": "true", "limits": {"cpus": 1}}),
    (Invalid, "image", {"handler": None, "image": "Not An Image"}),
    (Invalid, "handler", {"script": "true"}),
    (Invalid, "after", {"after": ["nobody"]}),
]


@pytest.mark.parametrize(("kind", "field", "fields"), WRONG, ids=[f"{w[1]}-{at}" for at, w in enumerate(WRONG)])
def test_bad_input_is_refused_by_its_field_and_leaves_nothing_behind(kind: Any, field: str, fields: dict[str, Any]):
    play(lambda s: refused(s, kind, field, **fields))


@pytest.mark.parametrize(
    ("text", "inputs"),
    [("a\nb\n", ["a", "b"]), ("a\n\nb", ["a", "", "b"]), ("a b\t", ["a b\t"]), ("\n", [""]), ('ü"\\', ['ü"\\'])],
)
def test_a_text_is_its_lines(text: str, inputs: list[str]):
    assert [json.decode(raw) for raw in read_inputs(Raw(json.encode(text)), "")] == inputs


def test_a_key_that_came_before_is_answered_with_the_same_array_and_its_inputs_are_there_once():
    async def story(s: Scene) -> None:
        submission = Submission(handler="h", inputs=Raw(b'["a","b"]'))
        made = [await s.jobs.submit(submission, key="k") for _ in range(3)]
        assert len({job.id for job in made}) == 1
        assert s.sql("SELECT count(*) FROM rota_inputs") == [(1,)]
        assert s.sql("SELECT count(*) FROM rota_uploads") == [(0,)]
        assert json.decode(await s.jobs.inputs(made[0].id)) == ["a", "b"]

    play(story)


def test_a_bulk_has_arrays_too_and_keeps_all_or_none():
    async def story(s: Scene) -> None:
        good = Submission(handler="h", inputs=Raw(b"[1,2]"), ref="a")
        with pytest.raises(Invalid, match="empty") as error:
            await s.jobs.submit_many([good, Submission(handler="h", inputs=Raw(b"[]"))])
        assert error.value.field == "[1].inputs"
        assert s.sql("SELECT count(*) FROM rota_inputs") == [(0,)]
        one, other = await s.jobs.submit_many([good, Submission(handler="h", inputs=Raw(b"[3]"), after=["a"])])
        w = await s.worker()
        assert await s.run_all(w) == [0, 1, 0]
        assert (await s.jobs.get(one.id)).state is (await s.jobs.get(other.id)).state is GOOD

    play(story)


def test_results_of_what_is_no_array_and_of_nobody_are_not_found():
    async def story(s: Scene) -> None:
        job = await s.plain()
        for name in (job, "nobody"):
            with pytest.raises(NotFound):
                await s.jobs.results(name)
            with pytest.raises(NotFound):
                await s.jobs.inputs(name)

    play(story)
