"""Workflows on both stores: conditions, how many must be met, runs; random graphs against a pure oracle."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from rota.core.errors import Conflict, Invalid, NotFound, TooLarge
from rota.core.jobs import Failure, Submission
from rota.core.runs import Run, RunSubmission, shown
from rota.core.states import FINAL, Outcome, State
from rota.core.waits import After, AtLeast, meets
from rota.service import admission, changes, runs
from rota.store.protocol import Query
from rota.store.run_rows import RunQuery

from .cluster import Cluster, report, run

Live = Callable[[Any], None]
ERROR = Failure(type="E", message="no")


@pytest.fixture(params=["direct", "postgres"])
def live(request: pytest.FixtureRequest, tmp_path: Path) -> Live:
    return lambda test: run(test, tmp_path, request.param)


def job(ref: str, *after: str | After, handler: str = "h", **fields: Any) -> Submission:
    return Submission(handler=handler, ref=ref, after=list(after), **fields)


async def submit(c: Cluster, *jobs: Submission, **fields: Any) -> tuple[Run, dict[str, str]]:
    return await c.service.runs.submit(RunSubmission(jobs=list(jobs), **fields))


async def states(c: Cluster, ids: dict[str, str]) -> dict[str, str]:
    return {ref: (await c.job(id_)).state.value for ref, id_ in ids.items()}


async def end(c: Cluster, worker: str, id_: str, *, well: bool = True) -> None:
    """Claim all there is, and end one of them."""
    for lease in await c.claim(worker):
        c.held[lease.job] = lease  # type: ignore[attr-defined]
    lease = c.held.pop(id_)  # type: ignore[attr-defined]
    outcome = Outcome.SUCCEEDED if well else Outcome.ERRORED
    await c.queue.settle(worker, [report(lease, outcome, error=None if well else ERROR, result=Raw(b"1"))])


def test_each_condition_is_met_by_its_end_and_by_no_other(live: Live):
    async def test(c: Cluster) -> None:
        c.held = {}  # type: ignore[attr-defined]
        worker = await c.register()
        for well in (True, False):
            _, ids = await submit(
                c, job("a"), *(job(on, After("a", on)) for on in ("succeeded", "failed", "finished", "any"))
            )  # fmt: skip
            first = await c.job(ids["failed"])
            assert (first.after, first.after_on) == ([ids["a"]], {ids["a"]: "failed"})
            await end(c, worker, ids["a"], well=well)
            seen = await states(c, ids)
            assert (seen["succeeded"], seen["failed"]) == (("queued", "canceled") if well else ("canceled", "queued"))
            assert (seen["finished"], seen["any"]) == ("queued", "queued")
            lost = await c.job(ids["failed" if well else "succeeded"])
            assert lost.reason == "dependency"
            assert lost.error is not None and ids["a"] in lost.error.message
            for lease in await c.claim(worker):
                await c.queue.settle(worker, [report(lease)])
        _, ids = await submit(c, job("a"), *(job(on, After("a", on)) for on in ("failed", "finished", "any")))
        await c.service.jobs.abort(ids["a"])
        assert await states(c, ids) == {"a": "canceled", "failed": "canceled", "finished": "canceled", "any": "queued"}
        late = await c.submit(after=[After(ids["a"], "any"), After(ids["finished"], "any")])
        assert (await c.job(late)).state is State.QUEUED, "what is over before is no longer waited for"

    live(test)


def test_some_of_many_are_enough_and_the_rest_is_told_later(live: Live):
    async def test(c: Cluster) -> None:
        c.held = {}  # type: ignore[attr-defined]
        worker = await c.register()
        parents = [job(name) for name in "abc"]
        _, ids = await submit(
            c, *parents, job("any", *"abc", join="any"), job("two", *"abc", join=AtLeast(2)), job("all", *"abc")
        )
        await end(c, worker, ids["a"], well=False)
        assert {ref: s for ref, s in (await states(c, ids)).items() if len(ref) > 1} == {
            "any": "blocked", "two": "blocked", "all": "canceled"
        }  # fmt: skip
        waits = await c.service.jobs.explain(ids["two"])
        assert [why.code for why in waits.reasons] == ["waits-for-job", "waits-for-job", "join"]
        assert waits.reasons[-1].facts == {"join": AtLeast(2), "after": 3, "needed": 2, "spare": 0}
        await end(c, worker, ids["b"])
        assert (await c.job(ids["any"])).state is State.QUEUED
        assert (await c.job(ids["two"])).waiting_for == 1
        await end(c, worker, ids["c"], well=False)
        assert (await c.job(ids["two"])).state is State.CANCELED
        assert (await c.job(ids["any"])).state is State.RUNNING, "claimed meanwhile, and told of the end of c"
        await end(c, worker, ids["any"])

    live(test)


def test_explain_names_the_condition_and_what_stands(live: Live):
    async def test(c: Cluster) -> None:
        worker = await c.register()
        _, ids = await submit(c, job("load"), job("clean", After("load", "failed")))
        await c.one(worker)
        (why,) = (await c.service.jobs.explain(ids["clean"])).reasons
        assert why.text.startswith(f"waits for job {ids['load']} (load) to fail; it is running since 2025-")
        assert (why.facts["on"], why.facts["ref"]) == ("failed", "load")

    live(test)


def test_a_run_has_a_state_and_counts_and_ends(live: Live):
    async def test(c: Cluster) -> None:
        worker = await c.register()
        made, ids = await submit(
            c, job("a"), job("b", "a"), job("on-error", After("a", "failed")), name="nightly", labels={"k": "v"},
            owner="ana", hook="http://a.example/x",
        )  # fmt: skip
        assert made.id.startswith("run-")
        assert (made.state, made.jobs, made.name, made.owner) == (State.RUNNING, 3, "nightly", "ana")
        assert shown(made.counts)["blocked"] == 2
        assert (await c.job(ids["b"])).run == made.id
        assert (await c.job(ids["b"])).ref == "b"
        assert (await c.job(ids["b"])).owner == "ana"
        for _ in range(2):
            lease = await c.one(worker)
            assert (await c.service.runs.get(made.id)).started_at is not None
            await c.queue.settle(worker, [report(lease)])
        await c.upkeep(0.1)
        over = await c.service.runs.wait(made.id, 5)
        assert (over.state, over.finished_at is not None) == (State.SUCCEEDED, True), (
            "a condition not met is no failure"
        )
        assert shown(over.counts) == {**dict.fromkeys(shown({}), 0), "succeeded": 2, "canceled": 1}
        calls = await c.store.read(lambda tx: tx.deliveries_of(made.id))
        assert ['"type":"run.succeeded"' in call.body for call in calls] == [True]
        events = await c.store.read(lambda tx: tx.events_of(made.id, 0, 9))
        assert [(event.kind, event.state) for event in events] == [
            ("run_submitted", "running"),
            ("run_ended", "succeeded"),
        ]
        with pytest.raises(Conflict):
            await c.service.runs.abort(made.id)
        with pytest.raises(NotFound):
            await c.service.runs.get("run-nobody")

    live(test)


def test_an_abort_reaches_everything(live: Live, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(runs, "_BATCH", 2)

    async def test(c: Cluster) -> None:
        worker = await c.register()
        made, ids = await submit(
            c, job("a"), job("b", "a"), job("c", "b"), job("later", delay=60), job("x", handler="a"), job("all", *"abc")
        )
        outside = await c.submit(after=[After(ids["c"], "any")])
        leases = {lease.job: lease for lease in await c.claim(worker, process=1, total=9)}
        assert set(leases) == {ids["a"], ids["x"]}
        stopped = await c.service.runs.abort(made.id)
        assert stopped.abort_requested_at is not None and stopped.finished_at is None and not stopped.stopping
        assert {order.job for order in (await c.queue.watch(worker, 0)).abort} == set(leases)
        assert await states(c, ids) == {
            "a": "running", "b": "canceled", "c": "canceled", "later": "canceled", "x": "running", "all": "canceled"
        }  # fmt: skip
        assert (await c.job(outside)).state is State.QUEUED
        for lease in leases.values():
            await c.queue.settle(worker, [report(lease, Outcome.ABORTED)])
        await c.upkeep(0.1)
        assert (await c.service.runs.get(made.id)).state is State.ABORTED
        idle, _ = await submit(c, job("a"))
        await c.service.runs.abort(idle.id)
        await c.upkeep(0.1)
        assert (await c.service.runs.get(idle.id)).state is State.CANCELED, "nothing of it had run"

    live(test)


def test_an_abort_goes_on_when_its_server_died(live: Live):
    async def test(c: Cluster) -> None:
        made, ids = await submit(c, job("a"), job("b", "a"))
        await c.store.write(lambda tx: tx.stop_run(made.id))
        c.service.signals.runs.clear()
        await c.upkeep(65)
        assert await states(c, ids) == {"a": "canceled", "b": "canceled"}
        assert (await c.service.runs.get(made.id)).state is State.CANCELED

    live(test)


def test_a_retry_runs_what_has_not_succeeded_and_refers_to_what_has(live: Live):
    async def test(c: Cluster) -> None:
        c.held = {}  # type: ignore[attr-defined]
        worker = await c.register()
        made, ids = await submit(
            c, job("a"), job("b", "a"), job("c", "b"), job("d", "a", After("b", "any"), join=AtLeast(2)), name="n"
        )
        with pytest.raises(Conflict, match="is running"):
            await c.service.runs.retry(made.id)
        await end(c, worker, ids["a"])
        await end(c, worker, ids["b"], well=False)
        await end(c, worker, ids["d"], well=False)
        await c.upkeep(0.1)
        assert (await c.service.runs.get(made.id)).state is State.FAILED
        again, new = await c.service.runs.retry(made.id, key="once")
        assert (await c.service.runs.retry(made.id, key="once"))[0].id == again.id
        assert (again.retry_of, again.name, again.jobs) == (made.id, "n", 3)
        assert set(new) == {"b", "c", "d"}
        second = await c.job(new["b"])
        assert (second.after, second.retry_of, second.state) == ([ids["a"]], ids["b"], State.QUEUED)
        fourth = await c.job(new["d"])
        assert (fourth.after, fourth.after_on, fourth.least) == ([ids["a"], new["b"]], {new["b"]: "any"}, 2)
        graph = await c.service.runs.graph(again.id, "", 1000)
        assert {(node.ref, node.run == again.id) for node in graph.nodes} == {
            ("a", False), ("b", True), ("c", True), ("d", True)
        }  # fmt: skip
        for ref in "bdc":
            await end(c, worker, new[ref])
        await c.upkeep(0.1)
        assert (await c.service.runs.get(again.id)).state is State.SUCCEEDED
        with pytest.raises(Conflict, match="nothing to run again"):
            await c.service.runs.retry(again.id)

    live(test)


def test_a_graph_comes_in_parts(live: Live):
    async def test(c: Cluster) -> None:
        made, ids = await submit(c, job("a"), job("b", "a"), job("c", After("a", "any"), "b"))
        whole = await c.service.runs.graph(made.id, "", 1000)
        assert [node.ref for node in whole.nodes] == ["a", "b", "c"]
        assert {(edge.from_, edge.to, edge.on) for edge in whole.edges} == {
            (ids["a"], ids["b"], "succeeded"), (ids["a"], ids["c"], "any"), (ids["b"], ids["c"], "succeeded")
        }  # fmt: skip
        part = await c.service.runs.graph(made.id, "", 2)
        assert ([node.ref for node in part.nodes], part.next) == (["a", "b"], ids["b"])
        rest = await c.service.runs.graph(made.id, ids["b"], 2)
        assert ([node.ref for node in rest.nodes], rest.next, len(rest.edges)) == (["c"], None, 2)

    live(test)


def test_runs_are_listed_and_their_jobs(live: Live):
    async def test(c: Cluster) -> None:
        made = [
            (await submit(c, job("a"), name=name, owner=owner))[0].id
            for name, owner in (("n", "ana"), ("n", "bob"), ("m", "ana"))
        ]

        async def found(**fields: Any) -> list[str]:
            return [each.id for each in (await c.service.runs.find(RunQuery(**fields)))[0]]

        assert await found() == made[::-1]
        assert await found(owner="ana") == [made[2], made[0]]
        assert await found(name="n", owner="ana") == [made[0]]
        assert await found(state=State.RUNNING, owner="bob") == [made[1]]
        assert await found(state=State.FAILED) == []
        page, cursor = await c.service.runs.find(RunQuery(limit=2))
        assert ([each.id for each in page], cursor) == ([made[2], made[1]], made[1])
        assert [each.id for each in (await c.service.runs.find(RunQuery(cursor=cursor)))[0]] == [made[0]]
        jobs, _ = await c.service.jobs.find(Query(run=made[1]))
        assert [(each.run, each.owner) for each in jobs] == [(made[1], "bob")]
        assert (await c.service.jobs.find(Query(run=made[1], labels=[("no", "such")])))[0] == []
        await c.upkeep(1)
        await c.store.write(lambda tx: tx.end_run(Run(id=made[0], state=State.CANCELED, finished_at=1)))
        assert await c.store.write(lambda tx: tx.delete_runs(2, 9)) == 1
        assert await found(owner="ana") == [made[2]]

    live(test)


@pytest.mark.parametrize(
    ("jobs", "field", "says"),
    [
        ([], "jobs", "at least one"),
        ([Submission(handler="h")], "jobs[0].ref", "required"),
        ([job("a"), job("a")], "jobs[1].ref", "used twice"),
        ([job("a", owner="eve")], "jobs[0].owner", "run's"),
        ([job("a", "b"), job("b", "a")], "jobs[0].after", "a after b after a"),
        ([job("a", "nobody")], "jobs[0].after", "no job 'nobody'"),
        ([job("a"), job("b", "a", After("a", "failed"))], "jobs[1].after[1]", "to succeed already"),
        ([job("a", join="any")], "jobs[0].join", "there is none"),
        ([job("a"), job("b", "a", join=AtLeast(2))], "jobs[1].join.at_least", "between 1 and the 1"),
    ],
)
def test_what_makes_no_sense_is_refused_whole(jobs: list[Submission], field: str, says: str, tmp_path: Path):
    async def test(c: Cluster) -> None:
        with pytest.raises(Invalid, match=says) as wrong:
            await submit(c, *jobs)
        assert wrong.value.field == field
        assert (await c.service.runs.find(RunQuery()))[0] == []

    run(test, tmp_path, "direct")


def test_a_long_cycle_is_named_in_short_and_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async def test(c: Cluster) -> None:
        n = 3000
        with pytest.raises(Invalid, match="others after") as wrong:
            await submit(c, *(job(str(at), str((at + 1) % n)) for at in range(n)))
        assert len(str(wrong.value)) < 300
        monkeypatch.setattr(admission, "MAX_EDGES", 3)
        monkeypatch.setattr(admission, "MAX_BULK", 4)
        with pytest.raises(TooLarge, match="4 others in all"):
            await submit(c, job("a"), job("b", "a"), job("c", "a", "b"), job("d", "a"))
        with pytest.raises(TooLarge, match="at most 4"):
            await submit(c, *(job(str(at)) for at in range(5)))

    run(test, tmp_path, "direct")


def test_wide_and_long_graphs_are_told_in_short_transactions(live: Live, monkeypatch: pytest.MonkeyPatch):
    """What is beyond one transaction's share is only told in it, and counted by upkeep."""
    monkeypatch.setattr(changes, "_MOST_COUNTED", 7)
    monkeypatch.setattr(changes, "_MOST_WAVES", 3)

    async def test(c: Cluster) -> None:
        worker = await c.register(slots=99)
        made, ids = await submit(
            c, job("a"), *(job(f"b{at}", "a") for at in range(30)), job("z", *(f"b{at}" for at in range(30)))
        )
        await c.queue.settle(worker, [report(await c.one(worker))])
        assert list((await states(c, ids)).values()).count("queued") == 7
        await c.upkeep(0.1)
        leases = await c.claim(worker, process=99, total=99)
        assert len(leases) == 30
        await c.queue.settle(worker, [report(lease) for lease in leases[:29]])
        assert (await c.job(ids["z"])).waiting_for == 1
        await c.queue.settle(worker, [report(leases[29])])
        await c.queue.settle(worker, [report(await c.one(worker))])
        await c.upkeep(0.1)
        assert (await c.service.runs.get(made.id)).state is State.SUCCEEDED
        chain, ids = await submit(c, job("0"), *(job(str(at), str(at - 1)) for at in range(1, 12)))
        await c.service.jobs.abort(ids["0"])
        assert (await c.job(ids["11"])).state is State.BLOCKED
        await c.upkeep(0.1)
        await c.upkeep(0.1)
        assert set((await states(c, ids)).values()) == {"canceled"}
        await c.upkeep(1)
        assert (await c.service.runs.get(chain.id)).state is State.CANCELED

    live(test)


@pytest.mark.parametrize(("way", "seed"), [*(("direct", seed) for seed in range(12)), ("postgres", 1), ("postgres", 2)])
def test_random_graphs_do_as_the_oracle_says(tmp_path: Path, way: str, seed: int):
    """Ends are drawn; at each moment every job is where the truth table, asked of all ends so far, has it."""

    async def test(c: Cluster) -> None:
        rng = random.Random(seed)
        worker = await c.register(slots=99)
        n = rng.randrange(4, 14)
        jobs = []
        for at in range(n):
            parents = rng.sample(range(at), min(at, rng.choice([0, 1, 1, 2, 3])))
            after = [
                After(str(p), rng.choice(["succeeded", "succeeded", "failed", "finished", "any"])) for p in parents
            ]
            join = rng.choice(["all", "all", "any", AtLeast(rng.randrange(1, len(after) + 1))]) if after else "all"
            jobs.append(job(str(at), *after, join=join))
        made, ids = await submit(c, *rng.sample(jobs, n))
        held = {}
        started: set[str] = set()
        while True:
            for lease in await c.claim(worker, process=99, total=99):
                held[lease.job] = lease
            seen = await states(c, ids)
            started |= {ref for ref, state in seen.items() if state == "running"}
            for at, one in enumerate(jobs):
                assert seen[str(at)] in _expected(one, seen), (one, seen)
            if not held:
                break
            some = rng.sample(sorted(held), rng.randrange(1, min(3, len(held)) + 1))
            if rng.random() < 0.15:
                await c.service.jobs.abort(some[0])
            outcomes = {id_: rng.choice([Outcome.SUCCEEDED, Outcome.SUCCEEDED, Outcome.ERRORED]) for id_ in some}
            await c.queue.settle(worker, [report(held.pop(id_), outcome) for id_, outcome in outcomes.items()])
        assert all(state in FINAL for state in seen.values())
        await c.upkeep(0.1)
        over = await c.service.runs.get(made.id)
        assert over.finished_at is not None
        assert shown(over.counts) == {state.value: list(seen.values()).count(state) for state in State}
        assert over.state == ("failed" if "failed" in seen.values() else over.state)

    run(test, tmp_path, way)


def _expected(one: Submission, seen: dict[str, str]) -> set[str]:
    """Return the states that a job may be in, from those of what it waits for: the truth, counted anew."""
    ends = [(each.on, seen[each.job]) for each in one.after if isinstance(each, After)]
    least = len(ends) if one.join == "all" else 1 if one.join == "any" else one.join.at_least  # type: ignore[union-attr]
    met = sum(state in FINAL and meets(on, State(state)) for on, state in ends)
    open_ = sum(state not in FINAL for _, state in ends)
    if met >= least:
        return {"queued", "running", "succeeded", "failed", "aborted"}
    return {"blocked"} if met + open_ >= least else {"canceled"}
