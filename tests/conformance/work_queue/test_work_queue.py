"""worker/queue.py is the specification; the service satisfies it directly, and the client over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import Raw

from rota.core.errors import Invalid, NotFound, RotaError
from rota.core.jobs import (
    AbortOrder,
    Failure,
    HandlerSpec,
    Held,
    HookCall,
    LogChunk,
    Orders,
    Progress,
    ProgressNote,
    Proof,
)
from rota.core.states import Outcome, Reason, State
from rota.service.work import MAX_CHUNK, MAX_CHUNKS

from .cluster import LEASE_S, Cluster, held, report

Live = Callable[[Any], None]


# -- register


def test_each_registration_is_a_new_worker(live: Live):
    async def test(c: Cluster) -> None:
        welcome = await c.queue.register(_hello())
        assert (welcome.lease_s, welcome.heartbeat_s) == (LEASE_S, LEASE_S / 3)
        other = await c.queue.register(_hello())
        assert other.worker != welcome.worker
        assert {w.row.id for w in await c.service.workers()} == {welcome.worker, other.worker}
        assert {known.spec.name for known in await c.service.handlers.find()} == {"h"}

    live(test)


def _hello(**fields: Any) -> Any:
    from rota.core.jobs import WorkerHello

    return WorkerHello(**{"name": "a name, with spaces/ü", "handlers": [HandlerSpec(name="h")], **fields})


@pytest.mark.parametrize(
    "wrong", [{"name": ""}, {"name": "\n"}, {"slots": -1}, {"slots": 10**6}, {"handlers": [HandlerSpec(name="a:b")]}]
)
def test_nonsense_is_refused(live: Live, wrong: dict[str, Any]):
    async def test(c: Cluster) -> None:
        with pytest.raises(Invalid):
            await c.queue.register(_hello(**wrong))
        assert await c.service.workers() == []

    live(test)


def test_who_is_not_known_is_told_so(live: Live):
    async def test(c: Cluster) -> None:
        gone = await c.register()
        await c.queue.leave(gone)
        for worker in ("nobody", gone):
            for call in (
                c.claim(worker), c.claim(worker, wait_s=5), c.queue.heartbeat(worker, []), c.queue.watch(worker, 0.0),
            ):  # fmt: skip
                with pytest.raises(NotFound):
                    await call
        await c.queue.leave(gone)
        await c.queue.leave("nobody")

    live(test)


# -- claim


def test_a_claim_comes_by_priority_then_age_over_all_lanes(live: Live):
    async def test(c: Cluster) -> None:
        jobs = {}
        for name, handler, fields in (
            ("old", "h", {}), ("async", "a", {}), ("high", "again", {"priority": 5}), ("low", "h", {"priority": -5}),
            ("script", None, {"script": "true"}), ("other", "h", {"queue": "q"}),
        ):  # fmt: skip
            c.now += 0.1
            jobs[await c.submit(handler, **fields)] = name
        worker = await c.register()
        leases = await c.claim(worker)
        assert [jobs[lease.job] for lease in leases] == ["high", "old", "async", "script", "other", "low"]
        assert all(lease.attempt == 1 for lease in leases)
        assert {(await c.job(job)).state for job in jobs} == {State.RUNNING}
        assert {(await c.job(job)).worker for job in jobs} == {worker}

    live(test)


def test_a_claim_takes_what_its_worker_can_run(live: Live):
    async def test(c: Cluster) -> None:
        mine = await c.submit("h", queue="q")
        for fields in (
            {"queue": "other"},
            {"handler": "stranger", "queue": "q"},
            {"handler": None, "script": "true", "queue": "q"},
        ):
            await c.submit(**{"handler": "h", **fields})
        worker = await c.register(queues=["q", "r"], scripts=False)
        assert [lease.job for lease in await c.claim(worker)] == [mine]

    live(test)


@pytest.mark.parametrize(
    ("free", "expected"),
    [
        ((2, 9, 9), (2, 3)),
        ((9, 1, 9), (3, 1)),
        ((9, 9, 2), None),
        ((0, 9, 9), (0, 3)),
        ((9, 0, 9), (3, 0)),
        ((0, 0, 9), (0, 0)),
        ((9, 9, 0), (0, 0)),
    ],
)
def test_a_claim_takes_no_more_than_is_free(live: Live, free: tuple[int, int, int], expected: tuple[int, int] | None):
    async def test(c: Cluster) -> None:
        for _ in range(3):
            await c.submit("h")
            await c.submit("a")
        leases = await c.claim(await c.register(), *free)
        taken = (sum(lease.handler == "h" for lease in leases), sum(lease.handler == "a" for lease in leases))
        assert taken == expected if expected else sum(taken) == 2

    live(test)


def test_a_lease_tells_all_that_is_needed(live: Live):
    async def test(c: Cluster) -> None:
        await c.submit(
            "a", data=Raw(b'{"x":[1,null]}'), args=Raw(b'["y"]'), owner="ana", hook="http://127.0.0.1:1/h", grace=0.5
        )
        await c.submit(None, script="echo {{x}}", variables={"x": "a b"}, timeout="2m")
        worker = await c.register()
        first, second = await c.claim(worker)
        assert (first.kind, first.handler, bytes(first.data), bytes(first.args)) == (
            "handler",
            "a",
            b'{"x":[1,null]}',
            b'["y"]',
        )
        assert (first.owner, first.hook, first.timeout_s, first.grace_s) == ("ana", "http://127.0.0.1:1/h", 3.0, 0.5)
        assert (second.kind, second.script, second.timeout_s, second.grace_s) == ("script", "echo 'a b'", 120.0, 5.0)

    live(test)


def test_nothing_is_claimed_twice(live: Live):
    async def test(c: Cluster) -> None:
        jobs = {await c.submit() for _ in range(60)}
        workers = [await c.register(f"w{n}") for n in range(4)]
        got = await asyncio.gather(*(c.claim(worker, total=7) for worker in workers for _ in range(3)))
        names = [(lease.job, lease.attempt) for leases in got for lease in leases]
        assert len(names) == len(set(names)) == 60
        assert {job for job, _ in names} == jobs

    live(test)


def test_a_claim_that_waits_is_woken_by_the_first_job(live: Live):
    async def test(c: Cluster) -> None:
        worker = await c.register()
        waiting = asyncio.create_task(c.claim(worker, wait_s=20))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        job = await c.submit()
        (lease,) = await asyncio.wait_for(waiting, 5)
        assert lease.job == job

    live(test)


def test_a_claim_that_waits_in_vain_is_empty(live: Live):
    async def test(c: Cluster) -> None:
        worker = await c.register()
        await c.submit("stranger")
        assert await c.claim(worker, wait_s=0.05) == []

    live(test)


def test_a_worker_whose_lease_is_over_claims_nothing_before_its_next_heartbeat(live: Live):
    async def test(c: Cluster) -> None:
        worker = await c.register()
        await c.submit()
        c.now += LEASE_S
        assert await c.claim(worker) == []
        await c.queue.heartbeat(worker, [])
        assert len(await c.claim(worker)) == 1

    live(test)


# -- heartbeats and leases


def test_heartbeats_keep_what_they_name(live: Live):
    async def test(c: Cluster) -> None:
        worker = await c.register()
        await c.submit()
        lease = await c.one(worker)
        for _ in range(12):
            assert await c.queue.heartbeat(worker, held(lease)) == Orders()
            await c.upkeep(LEASE_S / 3)
        assert (await c.job(lease.job)).attempt == 1
        (answer,) = await c.queue.settle(worker, [report(lease, result=Raw(b"7"))])
        assert (answer.accepted, answer.state) == (True, State.SUCCEEDED)

    live(test)


def test_a_lost_claim_comes_back_though_its_worker_is_alive(live: Live):
    async def test(c: Cluster) -> None:
        worker = await c.register()
        await c.submit(), await c.submit()
        kept, lost = await c.one(worker), await c.one(worker)  # as if the second reply had never arrived
        await c.pass_with(LEASE_S + 2, **{worker: held(kept)})
        job = await c.job(lost.job)
        assert (job.state, job.attempt, job.crashes, job.failures) == (State.QUEUED, 1, 0, 0)
        assert (await c.job(kept.job)).state is State.RUNNING
        again = await c.one(worker)
        assert (again.job, again.attempt) == (lost.job, 2)
        (attempt, running) = await c.service.jobs.attempts(lost.job)
        assert (attempt.outcome, running.outcome) == (Outcome.LOST, None)

    live(test)


def test_a_lease_that_is_named_again_in_time_stays(live: Live):
    async def test(c: Cluster) -> None:
        worker = await c.register()
        await c.submit()
        lease = await c.one(worker)
        await c.pass_with(LEASE_S - 5, **{worker: []})
        await c.pass_with(LEASE_S * 2, **{worker: held(lease)})
        assert (await c.job(lease.job)).attempt == 1
        assert (await c.job(lease.job)).state is State.RUNNING

    live(test)


def test_a_lost_workers_jobs_come_back_within_the_lease(live: Live):
    async def test(c: Cluster) -> None:
        worker, other = await c.register(), await c.register("v")
        await c.submit()
        lease = await c.one(worker)
        await c.queue.heartbeat(worker, held(lease))
        await c.pass_with(LEASE_S - 1, **{other: []})
        assert (await c.job(lease.job)).state is State.RUNNING
        await c.pass_with(2, **{other: []})
        job = await c.job(lease.job)
        assert (job.state, job.crashes) == (State.QUEUED, 1)
        again = await c.one(other)
        assert (again.job, again.attempt) == (lease.job, 2)
        with pytest.raises(NotFound):
            await c.queue.heartbeat(worker, held(lease))
        (late,) = await c.queue.settle(worker, [report(lease, result=Raw(b"1"))])
        assert (late.accepted, late.state) == (False, State.RUNNING)
        assert (await c.job(lease.job)).attempt == 2

    live(test)


def test_a_heartbeat_tells_what_is_not_held_any_more(live: Live):
    async def test(c: Cluster) -> None:
        worker, other = await c.register(), await c.register("v")
        await c.submit(), await c.submit()
        mine, others = await c.one(worker), await c.one(other)
        claimed = [*held(mine, others), Held(job=mine.job, attempt=9), Held(job="nobody", attempt=1)]
        orders = await c.queue.heartbeat(worker, claimed)
        assert {(h.job, h.attempt) for h in orders.lost} == {(others.job, 1), (mine.job, 9), ("nobody", 1)}
        assert (await c.job(others.job)).worker == other

    live(test)


def test_a_jump_of_the_clock_costs_nobody_a_lease(live: Live):
    async def test(c: Cluster) -> None:
        worker = await c.register()
        await c.submit(timeout=60)
        lease = await c.one(worker)
        await c.upkeep(1)
        offset = 0
        for jump in (4 * 3600, -9 * 3600, 3):
            offset += jump
            c.ahead = offset
            await c.upkeep(1)
            assert (await c.job(lease.job)).state is State.RUNNING
            await c.pass_with(LEASE_S / 3, **{worker: held(lease)})
        assert (await c.job(lease.job)).attempt == 1

    live(test)


# -- orders


def test_an_abort_is_ordered_by_watch_and_by_every_heartbeat(live: Live):
    async def test(c: Cluster) -> None:
        worker = await c.register()
        await c.submit(grace=0.5)
        lease = await c.one(worker)
        watching = asyncio.create_task(c.queue.watch(worker, 20))
        await asyncio.sleep(0.05)
        job = await c.service.jobs.abort(lease.job)
        assert (job.state, job.abort_requested_at is not None) == (State.RUNNING, True)
        order = AbortOrder(job=lease.job, attempt=1, grace_s=0.5)
        assert (await asyncio.wait_for(watching, 5)).abort == [order]
        assert (await c.queue.watch(worker, 0.02)).abort == [], "a watch says it once"
        for _ in range(2):
            assert (await c.queue.heartbeat(worker, held(lease))).abort == [order]
        proof = Proof(signals=[("TERM", 0.0)], processes=3, took_s=0.1)
        (answer,) = await c.queue.settle(worker, [report(lease, Outcome.ABORTED, proof=proof)])
        assert (answer.accepted, answer.state) == (True, State.ABORTED)
        job = await c.job(lease.job)
        assert (job.state, job.confirmed, job.reason) == (State.ABORTED, True, Reason.REQUESTED)
        (attempt,) = await c.service.jobs.attempts(lease.job)
        assert (attempt.outcome, attempt.proof) == (Outcome.ABORTED, proof)

    live(test)


@pytest.mark.parametrize("outcome", Outcome)
def test_after_an_abort_request_every_report_means_aborted(live: Live, outcome: Outcome):
    async def test(c: Cluster) -> None:
        worker = await c.register()
        await c.submit("again")
        lease = await c.one(worker)
        after = await c.submit(after=[lease.job])
        await c.service.jobs.abort(lease.job)
        (answer,) = await c.queue.settle(worker, [report(lease, outcome, result=Raw(b"1"))])
        assert answer.state is State.ABORTED
        assert (await c.job(after)).state is State.CANCELED
        assert (await c.service.jobs.attempts(lease.job))[0].outcome is outcome

    live(test)


def test_an_abort_of_a_lost_worker_is_not_confirmed(live: Live):
    async def test(c: Cluster) -> None:
        worker = await c.register()
        await c.submit()
        lease = await c.one(worker)
        await c.service.jobs.abort(lease.job)
        await c.upkeep(LEASE_S + 1)
        job = await c.job(lease.job)
        assert (job.state, job.confirmed) == (State.ABORTED, False)

    live(test)


def test_a_timeout_is_ordered_and_fenced_when_its_worker_does_not_end_it(live: Live):
    async def test(c: Cluster) -> None:
        worker = await c.register()
        await c.submit("again", timeout=2, grace=1)
        lease = await c.one(worker)
        await c.pass_with(2, **{worker: held(lease)})
        assert (await c.queue.heartbeat(worker, held(lease))).abort == []
        await c.pass_with(1, **{worker: held(lease)})
        order = AbortOrder(job=lease.job, attempt=1, grace_s=1, why="timed_out")
        assert (await c.queue.heartbeat(worker, held(lease))).abort == [order]
        assert (await c.queue.watch(worker, 0.02)).abort == [order]
        await c.pass_with(LEASE_S - 1, **{worker: held(lease)})
        assert (await c.job(lease.job)).state is State.RUNNING
        await c.pass_with(3, **{worker: held(lease)})
        job = await c.job(lease.job)
        assert (job.attempt, job.failures, job.error and job.error.type) == (1, 1, "TimedOut")
        assert (await c.queue.heartbeat(worker, held(lease))).lost == held(lease)

    live(test)


def test_the_fence_of_an_attempt_that_was_to_be_aborted_confirms_nothing(live: Live):
    async def test(c: Cluster) -> None:
        worker = await c.register()
        await c.submit(timeout=2, grace=0)
        lease = await c.one(worker)
        await c.service.jobs.abort(lease.job)
        await c.pass_with(LEASE_S + 5, **{worker: held(lease)})
        job = await c.job(lease.job)
        assert (job.state, job.confirmed) == (State.ABORTED, False)

    live(test)


def test_a_drained_worker_is_told_and_gets_no_more(live: Live):
    async def test(c: Cluster) -> None:
        worker = await c.register()
        await c.submit()
        lease = await c.one(worker)
        await c.submit()
        watching = asyncio.create_task(c.queue.watch(worker, 20))
        await asyncio.sleep(0.05)
        await c.service.work.drain(worker)
        assert (await asyncio.wait_for(watching, 5)).drain
        assert await c.claim(worker) == []
        assert (await c.queue.heartbeat(worker, held(lease))).drain
        (answer,) = await c.queue.settle(worker, [report(lease)])
        assert answer.accepted
        await c.queue.leave(worker)

    live(test)


# -- settle


OUTCOMES = {
    Outcome.SUCCEEDED: State.SUCCEEDED, Outcome.ERRORED: State.SCHEDULED, Outcome.TIMED_OUT: State.SCHEDULED,
    Outcome.OUT_OF_MEMORY: State.QUEUED, Outcome.BAD_RESULT: State.FAILED, Outcome.LOST: State.QUEUED,
    Outcome.INTERRUPTED: State.QUEUED, Outcome.SNOOZED: State.SCHEDULED, Outcome.ABORTED: State.SCHEDULED,
}  # fmt: skip


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_is_recorded_once(live: Live, outcome: Outcome):
    async def test(c: Cluster) -> None:
        worker = await c.register()
        await c.submit("again")
        lease = await c.one(worker)
        failure = Failure(type="E", message="m", traceback="t") if outcome is not Outcome.SUCCEEDED else None
        made = report(
            lease,
            outcome,
            result=Raw(b'{"r":1}'),
            error=failure,
            exit_code=3,
            retry_in_s=60 if outcome is Outcome.SNOOZED else None,
        )
        (first,) = await c.queue.settle(worker, [made])
        assert (first.accepted, first.state) == (True, OUTCOMES[outcome])
        before = await c.job(lease.job), await c.service.jobs.events(lease.job)
        for _ in range(2):
            (again,) = await c.queue.settle(worker, [made])
            assert (again.accepted, again.state) == (False, OUTCOMES[outcome])
        assert (await c.job(lease.job), await c.service.jobs.events(lease.job)) == before
        (attempt,) = await c.service.jobs.attempts(lease.job)
        assert (attempt.outcome, attempt.exit_code, attempt.error, attempt.worker) == (outcome, 3, failure, worker)
        assert before[1][-1].state is OUTCOMES[outcome]

    live(test)


def test_a_batch_of_reports_is_answered_one_by_one(live: Live):
    async def test(c: Cluster) -> None:
        worker, other = await c.register(), await c.register("v")
        for _ in range(3):
            await c.submit()
        mine, others, third = await c.one(worker), await c.one(other), await c.one(worker)
        reports = [report(mine), report(others), report(mine), report(third, result=Raw(b"3"))]
        reports.append(report(third).__class__(job="nobody", attempt=1, outcome=Outcome.SUCCEEDED))
        answers = await c.queue.settle(worker, reports)
        assert [a.accepted for a in answers] == [True, False, False, True, False]
        assert [a.job for a in answers] == [r.job for r in reports]
        assert answers[1].state is State.RUNNING
        assert answers[4].state is None
        assert bytes((await c.job(third.job)).result or b"") == b"3"
        assert await c.queue.settle(worker, []) == []

    live(test)


def test_an_older_attempts_report_changes_nothing(live: Live):
    async def test(c: Cluster) -> None:
        worker = await c.register()
        await c.submit()
        first = await c.one(worker)
        await c.queue.settle(worker, [report(first, Outcome.INTERRUPTED)])
        second = await c.one(worker)
        before = await c.job(first.job)
        (answer,) = await c.queue.settle(worker, [report(first)])
        assert (answer.accepted, answer.state) == (False, State.RUNNING)
        assert await c.job(first.job) == before
        (answer,) = await c.queue.settle(worker, [report(second)])
        assert answer.accepted

    live(test)


def test_the_longest_pause_there_is_can_be_shown(live: Live):
    async def test(c: Cluster) -> None:
        worker = await c.register()
        await c.submit("again")
        lease = await c.one(worker)
        (answer,) = await c.queue.settle(worker, [report(lease, Outcome.SNOOZED, retry_in_s=100 * 366 * 86400.0)])
        assert answer.state is State.SCHEDULED
        from rota.core.wire import job_view

        assert job_view(await c.job(lease.job)).run_at.endswith("Z"), "and it can be shown"

    live(test)


def test_success_releases_what_waited(live: Live):
    async def test(c: Cluster) -> None:
        worker = await c.register()
        one, two = await c.submit(), await c.submit()
        last = await c.submit(after=[one, two])
        a, b = await c.one(worker), await c.one(worker)
        assert await c.claim(worker) == []
        await c.queue.settle(worker, [report(a)])
        assert (await c.job(last)).state is State.BLOCKED
        await c.queue.settle(worker, [report(b)])
        assert (await c.one(worker)).job == last

    live(test)


# -- output


def test_output_and_progress_of_what_is_held_are_kept_once(live: Live):
    async def test(c: Cluster) -> None:
        worker, other = await c.register(), await c.register("v")
        await c.submit()
        lease = await c.one(worker)
        logs = [LogChunk(job=lease.job, attempt=1, n=n, stream="stdout", text=f"{n}\n") for n in range(3)]
        note = ProgressNote(job=lease.job, attempt=1, progress=Progress(0.25, "a quarter"))
        for _ in range(2):
            await c.queue.tell(worker, logs, [note], [], [])
        stale = [
            LogChunk(job=lease.job, attempt=2, n=9, stream="stdout", text="x"),
            LogChunk(job="nobody", attempt=1, n=0, stream="log", text="x"),
        ]
        await c.queue.tell(worker, stale, [ProgressNote(job=lease.job, attempt=2, progress=Progress(0.9))], [], [])
        await c.queue.tell(other, [LogChunk(job=lease.job, attempt=1, n=7, stream="stdout", text="x")], [note], [], [])
        chunks = await c.service.jobs.logs(lease.job)
        assert [(chunk.n, chunk.text, chunk.stream) for chunk in chunks] == [
            (0, "0\n", "stdout"),
            (1, "1\n", "stdout"),
            (2, "2\n", "stdout"),
        ]
        assert (await c.job(lease.job)).progress == Progress(0.25, "a quarter")
        await c.queue.settle(worker, [report(lease)])
        await c.queue.tell(worker, [LogChunk(job=lease.job, attempt=1, n=8, stream="stdout", text="late")], [], [], [])
        assert await c.service.jobs.logs(lease.job) == chunks

    live(test)


@pytest.mark.parametrize("wrong", [{"n": -1}, {"n": MAX_CHUNKS}, {"text": "x" * (MAX_CHUNK + 1)}])
def test_output_has_bounds(live: Live, wrong: dict[str, Any]):
    async def test(c: Cluster) -> None:
        worker = await c.register()
        await c.submit()
        lease = await c.one(worker)
        chunk = LogChunk(**{"job": lease.job, "attempt": 1, "n": 0, "stream": "stdout", "text": "x", **wrong})
        with pytest.raises(RotaError):
            await c.queue.tell(worker, [chunk], [], [], [])
        assert await c.service.jobs.logs(lease.job) == []

    live(test)


def test_a_handlers_call_of_its_hook_is_kept_once(live: Live):
    async def test(c: Cluster) -> None:
        worker = await c.register()
        await c.submit(hook="http://127.0.0.1:1/h"), await c.submit()
        hooked, plain = await c.one(worker), await c.one(worker)
        calls = [HookCall(job=lease.job, attempt=1, n=0, data=Raw(b'{"step":1}')) for lease in (hooked, plain)]
        for _ in range(2):
            await c.queue.tell(worker, [], [], calls, [])
        (row,) = await c.service.jobs.deliveries(hooked.job)
        assert ('"step":1' in row.body, row.url) == (True, "http://127.0.0.1:1/h")
        assert await c.service.jobs.deliveries(plain.job) == []

    live(test)


# -- leave


def test_leaving_gives_back_at_once_and_charges_nothing(live: Live):
    async def test(c: Cluster) -> None:
        worker, other = await c.register(), await c.register("v")
        await c.submit("again")
        lease = await c.one(worker)
        for _ in range(2):
            await c.queue.leave(worker)
        job = await c.job(lease.job)
        assert (job.state, job.failures, job.crashes, job.attempt) == (State.QUEUED, 0, 0, 1)
        again = await c.one(other)
        assert (again.job, again.attempt) == (lease.job, 2)
        (late,) = await c.queue.settle(worker, [report(lease)])
        assert not late.accepted

    live(test)


def test_leaving_wakes_who_waits_for_a_job(live: Live):
    async def test(c: Cluster) -> None:
        worker, other = await c.register(), await c.register("v")
        await c.submit()
        lease = await c.one(worker)
        waiting = asyncio.create_task(c.claim(other, wait_s=20))
        await asyncio.sleep(0.05)
        await c.queue.leave(worker)
        (again,) = await asyncio.wait_for(waiting, 5)
        assert again.job == lease.job

    live(test)
