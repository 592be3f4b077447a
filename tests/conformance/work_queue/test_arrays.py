"""Shards of arrays through the work queue: every input has one result in the end, whatever becomes of its workers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import Raw, json

from rota.core.errors import Invalid, RotaError
from rota.core.jobs import Failure, Held, InputReport, Lease, Orders, Proof
from rota.core.states import Outcome, State

from .cluster import LEASE_S, Cluster, held, report

Live = Callable[[Any], None]


async def array(c: Cluster, n: int, handler: str | None = "h", **fields: Any) -> str:
    """Submit an array of the numbers below n."""
    return await c.submit(handler, inputs=Raw(json.encode(list(range(n)))), **fields)


def indices(lease: Lease) -> list[int]:
    assert lease.first is not None
    return list(range(lease.first, lease.first + len(lease.inputs)))


def end(lease: Lease, index: int, outcome: Outcome = Outcome.SUCCEEDED, **fields: Any) -> InputReport:
    fields = {"result": Raw(b"%d" % index), "duration_s": 0.5, **fields}
    return InputReport(job=lease.job, attempt=lease.attempt, index=index, outcome=outcome, **fields)


async def tell(c: Cluster, worker: str, *results: InputReport) -> None:
    await c.queue.tell(worker, [], [], [], list(results))


async def finish(c: Cluster, worker: str, lease: Lease) -> None:
    """Tell all that a shard has not told, and report it."""
    await tell(c, worker, *(end(lease, index) for index in indices(lease)))
    (answer,) = await c.queue.settle(worker, [report(lease)])
    assert answer.accepted


async def run_all(c: Cluster, *workers: str) -> Counter[int]:
    """Run whatever can be claimed, and count how often each input was handed out."""
    runs: Counter[int] = Counter()
    while leases := [(worker, lease) for worker in workers for lease in await c.claim(worker)]:
        for worker, lease in leases:
            runs.update(indices(lease))
            await finish(c, worker, lease)
    return runs


async def stored(c: Cluster, job: str) -> dict[int, State]:
    lines = await c.service.jobs.results(job)
    assert [line.outcome.index for line in lines] == sorted(line.outcome.index for line in lines)
    return {line.outcome.index: line.outcome.state for line in lines}


# -- claim


def test_a_shard_is_a_lease_with_its_inputs_as_they_were_submitted(live: Live):
    async def test(c: Cluster) -> None:
        inputs = [b'"a \\" b"', b'{"x":[1,null]}', b"null", b"1.50", b'"\xe2\x98\x83"']
        job = await c.submit("h", inputs=Raw(b"[" + b",".join(inputs) + b"]"), timeout=7, data=Raw(b'{"k":1}'))
        worker = await c.register(slots=1)
        got: list[bytes] = []
        attempts = []
        while leases := await c.claim(worker, total=1):
            (lease,) = leases
            assert (lease.job, lease.kind, lease.handler, lease.timeout_s) == (job, "handler", "h", 7.0)
            assert (bytes(lease.data), lease.first, lease.index) == (b'{"k":1}', len(got), None)
            got += [bytes(raw) for raw in lease.inputs]
            attempts.append(lease.attempt)
            await finish(c, worker, lease)
        assert got == inputs
        assert attempts == list(range(1, len(attempts) + 1)), "every shard has a fencing token of its own"
        assert (await c.job(job)).state is State.SUCCEEDED

    live(test)


def test_no_two_shards_have_an_input_in_common_however_many_claim(live: Live):
    async def test(c: Cluster) -> None:
        job = await array(c, 300)
        workers = [await c.register(f"w{n}") for n in range(3)]
        runs: Counter[int] = Counter()
        while True:
            claims = await asyncio.gather(*(c.claim(worker) for worker in workers for _ in range(2)))
            leases = [(workers[n // 2], lease) for n, got in enumerate(claims) for lease in got]
            if not leases:
                break
            for worker, lease in leases:
                runs.update(indices(lease))
                await finish(c, worker, lease)
        assert runs == Counter(range(300))
        assert await stored(c, job) == dict.fromkeys(range(300), State.SUCCEEDED)
        assert (await c.job(job)).state is State.SUCCEEDED

    live(test)


def test_a_claim_takes_no_more_shards_than_it_has_slots_free(live: Live):
    async def test(c: Cluster) -> None:
        await array(c, 1000)
        await array(c, 1000, "a")
        leases = await c.claim(await c.register(), process=2, asynchronous=3, total=4)
        kinds = Counter(lease.handler for lease in leases)
        assert sum(kinds.values()) == 4 and kinds["h"] <= 2 and kinds["a"] <= 3

    live(test)


def test_at_most_parallel_shards_are_out_at_once(live: Live):
    async def test(c: Cluster) -> None:
        await array(c, 100, parallel=2)
        one, two = await c.register("one"), await c.register("two")
        first, second = await c.claim(one)
        assert await c.claim(two) == []
        await finish(c, one, first)
        (third,) = await c.claim(two)
        assert not set(indices(third)) & set(indices(first) + indices(second))
        assert await c.claim(one) == []

    live(test)


def test_a_shard_that_ends_wakes_who_waits_for_the_next(live: Live):
    async def test(c: Cluster) -> None:
        await array(c, 100, parallel=1)
        one, two = await c.register("one"), await c.register("two")
        (first,) = await c.claim(one)
        waiting = asyncio.create_task(c.claim(two, wait_s=20))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await finish(c, one, first)
        (second,) = await asyncio.wait_for(waiting, 5)
        assert second.first == len(first.inputs)

    live(test)


def test_a_shard_lives_by_heartbeats_and_its_arrays_timeout_is_none_of_its_own(live: Live):
    async def test(c: Cluster) -> None:
        await array(c, 100, timeout=2, grace=0)
        worker = await c.register()
        lease = await c.one(worker)
        await c.pass_with(2 * LEASE_S, **{worker: held(lease)})
        assert await c.queue.heartbeat(worker, held(lease)) == Orders()
        await finish(c, worker, lease)

    live(test)


# -- tell


def test_a_result_is_stored_once_and_as_it_was_told_first(live: Live):
    async def test(c: Cluster) -> None:
        job = await array(c, 4, parallel=1)
        worker = await c.register(slots=1)
        lease = await c.one(worker)
        bad = end(
            lease, 0, Outcome.ERRORED, exit_code=3, stdout="o\0\N{SNOWMAN}", stderr="e", error=Failure("E", "no"), refused=True
        )  # fmt: skip
        await tell(c, worker, bad)
        first = await c.service.jobs.results(job)
        for _ in range(2):
            await tell(c, worker, bad)
            await tell(c, worker, end(lease, 0, result=Raw(b'"another"')))
        assert await c.service.jobs.results(job) == first
        (line,) = first
        kept = line.outcome
        assert (bytes(line.input), kept.state, kept.outcome, kept.exit_code) == (b"0", State.FAILED, Outcome.ERRORED, 3)
        assert (kept.stdout, kept.stderr, kept.error, kept.duration_s) == (
            "o\0\N{SNOWMAN}",
            "e",
            Failure("E", "no"),
            0.5,
        )
        done = (await c.job(job)).array
        assert done is not None and (done.done, done.failed) == (1, 1)

    live(test)


def test_results_of_what_is_not_held_are_dropped(live: Live):
    async def test(c: Cluster) -> None:
        job = await array(c, 100)
        worker, other = await c.register(), await c.register("v")
        lease, others = await c.one(worker), await c.one(other)
        plain = await c.submit("h", priority=9)
        whole = await c.one(worker)
        assert whole.job == plain
        strangers = [
            end(others, indices(others)[0]),
            end(lease, indices(lease)[-1] + 1),
            end(lease, 10**6),
            InputReport(job=job, attempt=77, index=0, outcome=Outcome.SUCCEEDED),
            InputReport(job="nobody", attempt=1, index=0, outcome=Outcome.SUCCEEDED),
            InputReport(job=plain, attempt=whole.attempt, index=0, outcome=Outcome.SUCCEEDED),
        ]
        await tell(c, worker, *strangers)
        await tell(c, "nobody", end(lease, indices(lease)[0]))
        assert await stored(c, job) == {}
        await tell(c, worker, *strangers, end(lease, indices(lease)[0]))
        assert await stored(c, job) == {indices(lease)[0]: State.SUCCEEDED}

    live(test)


@pytest.mark.parametrize(
    "wrong",
    [
        {"index": -1},
        {"stdout": "x" * (2 << 20)},
        {"stderr": "x" * (2 << 20)},
        {"result": Raw(b'"' + b"x" * (1 << 20) + b'"')},
        {"duration_s": -1.0},
    ],
    ids=["index", "stdout", "stderr", "result", "duration"],
)
def test_results_have_bounds_and_a_wrong_one_stores_none(live: Live, wrong: dict[str, Any]):
    async def test(c: Cluster) -> None:
        job = await array(c, 100)
        worker = await c.register()
        lease = await c.one(worker)
        with pytest.raises(RotaError) as refused:
            await tell(c, worker, end(lease, 0), end(lease, **{"index": 1, **wrong}))
        assert not isinstance(refused.value, Invalid) or "results[1]" in refused.value.field
        assert await stored(c, job) == {}

    live(test)


# -- settle


def test_only_inputs_without_a_result_run_again(live: Live):
    async def test(c: Cluster) -> None:
        job = await array(c, 60)
        one, two = await c.register("one"), await c.register("two")
        shard = (await c.claim(one, total=1))[0]
        told = indices(shard)[:2]
        await tell(c, one, *(end(shard, index) for index in told))
        (answer,) = await c.queue.settle(one, [report(shard)])
        assert answer.accepted and (await c.job(job)).state is State.RUNNING
        runs = await run_all(c, two)
        assert runs == Counter(set(range(60)) - set(told))
        assert set(await stored(c, job)) == set(range(60))
        assert (await c.job(job)).state is State.SUCCEEDED

    live(test)


@pytest.mark.parametrize("outcome", [Outcome.INTERRUPTED, Outcome.LOST, Outcome.SUCCEEDED])
def test_a_shard_that_is_given_back_is_charged_to_no_input(live: Live, outcome: Outcome):
    async def test(c: Cluster) -> None:
        job = await array(c, 10)
        worker = await c.register()
        for _ in range(7):  # more than any budget
            shard = await c.one(worker)
            await c.queue.settle(worker, [report(shard, outcome, charged=False)])
        assert await run_all(c, worker) == Counter(range(10))
        found = await c.job(job)
        assert (found.state, found.failures, found.crashes) == (State.SUCCEEDED, 0, 0)

    live(test)


def test_a_failed_input_fails_its_array_and_a_retried_one_runs_again_alone(live: Live):
    async def test(c: Cluster) -> None:
        job = await array(c, 6, "again")
        worker = await c.register()
        failing = 4
        failures = 0
        for _ in range(40):
            for lease in await c.claim(worker):
                if failures:
                    assert indices(lease) == [failing]
                for index in indices(lease):
                    failed = index == failing
                    await tell(c, worker, end(lease, index, Outcome.ERRORED if failed else Outcome.SUCCEEDED))
                await c.queue.settle(worker, [report(lease)])
            failures += 1
            if (await c.job(job)).state is not State.RUNNING:
                break
            await c.pass_with(40, **{worker: []})
        states = await stored(c, job)
        assert [index for index, state in states.items() if state is not State.SUCCEEDED] == [failing]
        found = await c.job(job)
        assert (found.state, found.array and found.array.failed, len(states)) == (State.FAILED, 1, 6)
        assert failures == 6, "five retries, as its handler has them"

    live(test)


def test_an_older_shards_report_and_results_change_nothing(live: Live):
    async def test(c: Cluster) -> None:
        job = await array(c, 20, parallel=1)
        worker = await c.register()
        first = await c.one(worker)
        await c.queue.settle(worker, [report(first, Outcome.INTERRUPTED)])
        second = await c.one(worker)
        assert second.attempt > first.attempt and second.first == first.first
        await tell(c, worker, *(end(first, index) for index in indices(first)))
        (answer,) = await c.queue.settle(worker, [report(first)])
        assert not answer.accepted and await stored(c, job) == {}
        await finish(c, worker, second)
        (answer,) = await c.queue.settle(worker, [report(second)])
        assert not answer.accepted

    live(test)


# -- lost workers


def test_the_shards_of_a_lost_worker_run_again_without_what_they_have_told(live: Live):
    async def test(c: Cluster) -> None:
        job = await array(c, 80)
        lost, other = await c.register("lost"), await c.register("other")
        shards = await c.claim(lost)
        told = [index for shard in shards for index in indices(shard)[:1]]
        await tell(c, lost, *(end(shard, indices(shard)[0]) for shard in shards))
        await c.pass_with(LEASE_S + 2, **{other: []})
        assert await run_all(c, other) == Counter(set(range(80)) - set(told))
        for shard in shards:
            await tell(c, lost, end(shard, indices(shard)[-1], result=Raw(b'"late"')))
            (answer,) = await c.queue.settle(lost, [report(shard)])
            assert not answer.accepted
        assert all(bytes(line.outcome.result) != b'"late"' for line in await c.service.jobs.results(job))
        assert (await c.job(job)).state is State.SUCCEEDED

    live(test)


def test_a_claim_whose_reply_was_lost_comes_back(live: Live):
    async def test(c: Cluster) -> None:
        await array(c, 8)
        worker = await c.register()
        lost = await c.one(worker)
        assert (await c.queue.heartbeat(worker, [])).lost == []
        rest = await c.claim(worker)
        await c.pass_with(LEASE_S + 2, **{worker: held(*rest)})
        assert (await c.queue.heartbeat(worker, held(lost, *rest))).lost == held(lost)
        again = [index for lease in await c.claim(worker) for index in indices(lease)]
        assert set(indices(lost)) <= set(again)

    live(test)


def test_leaving_gives_back_what_was_not_told_at_once_and_charges_nothing(live: Live):
    async def test(c: Cluster) -> None:
        job = await array(c, 40)
        other = await c.register("other")
        told: set[int] = set()
        for n in range(7):  # more than any budget
            leaver = await c.register(f"leaver{n}")
            shard = await c.one(leaver)
            await tell(c, leaver, end(shard, indices(shard)[0]))
            told.add(indices(shard)[0])
            await c.queue.leave(leaver)
        assert await run_all(c, other) == Counter(set(range(40)) - told)
        assert (await c.job(job)).state is State.SUCCEEDED

    live(test)


def test_a_drained_worker_gives_back_the_rest_of_a_shard_and_gets_no_more(live: Live):
    async def test(c: Cluster) -> None:
        job = await array(c, 40)
        worker, other = await c.register(), await c.register("other")
        shard = await c.one(worker)
        await c.service.work.drain(worker)
        assert (await c.queue.heartbeat(worker, held(shard))).drain
        await tell(c, worker, end(shard, indices(shard)[0]))
        (answer,) = await c.queue.settle(worker, [report(shard, Outcome.INTERRUPTED)])
        assert answer.accepted
        assert await c.claim(worker) == []
        assert await run_all(c, other) == Counter(set(range(40)) - {indices(shard)[0]})
        assert (await c.job(job)).state is State.SUCCEEDED

    live(test)


def test_an_input_that_takes_its_worker_along_again_and_again_fails_alone(live: Live):
    async def test(c: Cluster) -> None:
        job = await array(c, 12)
        other = await c.register("other")
        poison = 5
        for n in range(60):
            worker = await c.register(f"w{n}")
            leases = await c.claim(worker, total=1)
            if not leases:
                if (await c.job(job)).state is not State.RUNNING:
                    break
                await c.pass_with(20, **{other: []})
                continue
            (shard,) = leases
            before = [index for index in indices(shard) if index < poison]
            await tell(
                c, worker, *(end(shard, index) for index in (before if poison in indices(shard) else indices(shard)))
            )
            if poison in indices(shard):
                await c.queue.settle(worker, [report(shard, Outcome.LOST)])
            else:
                await c.queue.settle(worker, [report(shard)])
        states = await stored(c, job)
        assert {index for index, state in states.items() if state is not State.SUCCEEDED} == {poison}
        assert len(states) == 12 and (await c.job(job)).state is State.FAILED

    live(test)


# -- orders


def test_an_abort_tells_every_worker_that_holds_a_shard_and_ends_with_the_last(live: Live):
    async def test(c: Cluster) -> None:
        job = await array(c, 1000)
        workers = [await c.register(f"w{n}") for n in range(3)]
        shards = {worker: await c.claim(worker, process=2, asynchronous=0, total=2) for worker in workers}
        watching = [asyncio.create_task(c.queue.watch(worker, 20)) for worker in workers]
        await asyncio.sleep(0.05)
        await tell(c, workers[0], end(shards[workers[0]][0], indices(shards[workers[0]][0])[0]))
        await c.service.jobs.abort(job)
        for worker, watch in zip(workers, watching, strict=True):
            orders = await asyncio.wait_for(watch, 5)
            ordered = sorted((order.attempt, order.why) for order in orders.abort)
            assert ordered == sorted((shard.attempt, "requested") for shard in shards[worker])
            again = await c.queue.heartbeat(worker, held(*shards[worker]))
            assert sorted((order.attempt, order.why) for order in again.abort) == ordered
            assert await c.claim(worker) == []
        proof = Proof(signals=[("TERM", 0.0)], processes=2, took_s=0.01)
        for worker in workers:
            for shard in shards[worker]:
                assert (await c.job(job)).state is State.RUNNING
                (answer,) = await c.queue.settle(worker, [report(shard, Outcome.ABORTED, proof=proof)])
                assert answer.accepted
        found = await c.job(job)
        assert (found.state, found.confirmed) == (State.ABORTED, True)
        assert await stored(c, job) == {indices(shards[workers[0]][0])[0]: State.SUCCEEDED}, "what was told stands"
        assert [each.proof for each in await c.service.jobs.attempts(job)] == [proof] * 6

    live(test)


def test_an_abort_of_shards_whose_worker_is_lost_is_not_confirmed(live: Live):
    async def test(c: Cluster) -> None:
        job = await array(c, 1000)
        good, lost = await c.register("good"), await c.register("lost")
        mine, _ = await c.one(good), await c.one(lost)
        await c.service.jobs.abort(job)
        await c.queue.settle(good, [report(mine, Outcome.ABORTED, proof=Proof())])
        assert (await c.job(job)).state is State.RUNNING
        await c.pass_with(LEASE_S + 2, **{good: []})
        found = await c.job(job)
        assert (found.state, found.confirmed) == (State.ABORTED, False)

    live(test)


def test_an_array_that_halts_soon_tells_all_to_start_no_other_input(live: Live):
    async def test(c: Cluster) -> None:
        job = await array(c, 1000, halt="soon,fail=1")
        one, two = await c.register("one"), await c.register("two")
        mine, others = await c.one(one), await c.one(two)
        watching = asyncio.create_task(c.queue.watch(two, 20))
        await asyncio.sleep(0.05)
        await tell(c, one, end(mine, indices(mine)[0], Outcome.ERRORED))
        assert (await asyncio.wait_for(watching, 5)).halt == held(others)
        assert (await c.queue.watch(one, 5.0)).halt == held(mine)
        assert await c.queue.heartbeat(one, held(mine)) == Orders(halt=held(mine))
        assert await c.claim(one) == [], "nothing more of it is handed out"
        await tell(c, two, end(others, indices(others)[0]))
        for worker, shard in ((one, mine), (two, others)):
            (answer,) = await c.queue.settle(worker, [report(shard, Outcome.INTERRUPTED)])
            assert answer.accepted
        assert await stored(c, job) == {indices(mine)[0]: State.FAILED, indices(others)[0]: State.SUCCEEDED}
        assert (await c.job(job)).state is State.FAILED

    live(test)


def test_an_array_that_halts_now_has_its_shards_aborted(live: Live):
    async def test(c: Cluster) -> None:
        job = await array(c, 1000, halt="now,success=1", grace=0.5)
        one, two = await c.register("one"), await c.register("two")
        mine, others = await c.one(one), await c.one(two)
        await tell(c, one, end(mine, indices(mine)[0]))
        orders = await c.queue.watch(two, 5.0)
        assert [(order.attempt, order.grace_s) for order in orders.abort] == [(others.attempt, 0.5)]
        for worker, shard in ((one, mine), (two, others)):
            await c.queue.settle(worker, [report(shard, Outcome.ABORTED, proof=Proof())])
        assert (await c.job(job)).state is State.SUCCEEDED

    live(test)


def test_an_abort_is_told_at_once_also_to_who_was_told_to_halt(live: Live):
    async def test(c: Cluster) -> None:
        job = await array(c, 1000, halt="soon,fail=1")
        worker = await c.register()
        shard = await c.one(worker)
        await tell(c, worker, end(shard, indices(shard)[0], Outcome.ERRORED))
        assert (await c.queue.watch(worker, 5.0)).halt == held(shard)
        watching = asyncio.create_task(c.queue.watch(worker, 20))
        await asyncio.sleep(0.05)
        await c.service.jobs.abort(job)
        orders = await asyncio.wait_for(watching, 5)
        assert [Held(job=order.job, attempt=order.attempt) for order in orders.abort] == held(shard)
        await c.queue.settle(worker, [report(shard, Outcome.ABORTED, proof=Proof())])
        assert (await c.job(job)).state is State.ABORTED

    live(test)
