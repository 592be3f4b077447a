"""Results of parents: filled in at the claim, mapped over, kept as long as somebody refers to them; on both stores."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace

from rota.core.errors import Invalid
from rota.core.jobs import InputReport, Lease, Submission
from rota.core.results import MapOver, ResultOf
from rota.core.runs import RunSubmission
from rota.core.states import Outcome
from rota.core.times import SECOND
from rota.core.waits import After
from rota.store.protocol import Tx

from .cluster import START, Cluster, report, run

Live = Callable[[Any], None]


@pytest.fixture(params=["direct", "postgres"])
def live(request: pytest.FixtureRequest, tmp_path: Path) -> Live:
    return lambda test: run(test, tmp_path, request.param)


def job(ref: str, *after: str | After, **fields: Any) -> Submission:
    return Submission(ref=ref, after=list(after), **({"handler": "h"} | fields))


async def submit(c: Cluster, *jobs: Submission) -> dict[str, str]:
    return (await c.service.runs.submit(RunSubmission(jobs=list(jobs))))[1]


async def succeed(c: Cluster, worker: str, lease: Lease, result: bytes) -> None:
    await c.queue.settle(worker, [report(lease, result=Raw(result))])


def test_results_are_in_what_a_worker_gets(live: Live):
    async def test(c: Cluster) -> None:
        worker = await c.register()
        ids = await submit(
            c, job("a"),
            job("b", "a", data=Raw(b'{"all": {"$result": "a"}, "one": {"$result": "a", "path": "/rows/1"}, "$$result": 3}')),
            job("c", "a", handler=None, script="echo {{x}} {{y}} {{z}}", variables={
                "x": ResultOf("a", "/name"), "y": ResultOf("a", "/rows"), "z": "it's"}),
            job("d", After("a", "any"), args=Raw(b'[[{"$result": "a", "path": "/no/such"}]]')),
        )  # fmt: skip
        shown = await c.job(ids["b"])
        assert bytes(shown.data) == b'{"all":{"$result":"%b"},"one":{"$result":"%b","path":"/rows/1"},"$$result":3}' % (
            (ids["a"].encode(),) * 2
        )
        await succeed(c, worker, await c.one(worker), b'{"rows": [1, 2.50], "name": "an \'a\'"}')
        leases = {lease.job: lease for lease in await c.claim(worker)}
        assert bytes(leases[ids["b"]].data) == b'{"all":{"rows": [1, 2.50], "name": "an \'a\'"},"one":2.50,"$result":3}'
        assert leases[ids["c"]].script == """echo 'an '"'"'a'"'"'' '[1, 2.50]' 'it'"'"'s'"""
        assert set(leases) == {ids["b"], ids["c"]}
        broken = await c.job(ids["d"])
        assert (broken.state, broken.reason) == ("failed", "refused")
        assert broken.error is not None
        assert broken.error.message == f"the result of job {ids['a']} has nothing at /no/such"

    live(test)


def test_what_cannot_be_filled_in_fails_and_the_next_job_is_claimed(live: Live):
    async def test(c: Cluster) -> None:
        worker = await c.register()
        big = b'"' + b"x" * 600_000 + b'"'
        ids = await submit(c, job("a"), job("b", "a", args=Raw(b'[{"$result": "a"}, {"$result": "a"}]')), job("c", "b"))
        await succeed(c, worker, await c.one(worker), big)
        other = await c.submit()
        assert [lease.job for lease in await c.claim(worker, total=1)] == [other]
        assert (await c.job(ids["c"])).state == "canceled"
        error = (await c.job(ids["b"])).error
        assert error is not None and "more than 1048576 bytes together" in error.message
        again = await c.service.jobs.retry(ids["b"])
        assert (again.after, again.after_on) == ([ids["a"]], {ids["a"]: "any"})

    live(test)


def test_what_did_not_succeed_has_no_result(live: Live):
    async def test(c: Cluster) -> None:
        worker = await c.register()
        ids = await submit(c, job("a"), job("b", After("a", "any"), data=Raw(b'{"x": {"$result": "a"}}')))
        await c.service.jobs.abort(ids["a"])
        assert bytes((await c.one(worker)).data) == b'{"x":null}'

    live(test)


def test_a_map_becomes_an_array_over_its_parents_list_and_its_results_go_on(live: Live):
    async def test(c: Cluster) -> None:
        worker = await c.register()
        ids = await submit(
            c, job("a"),
            job("b", "a", map=MapOver("a", "/rows"), parallel=2, data=Raw(b'{"k": {"$result": "a", "path": "/n"}}')),
            job("sum", "b", args=Raw(b'[{"$result": "b"}]')), job("again", "b", map=MapOver("b")),
        )  # fmt: skip
        waiting = await c.job(ids["b"])
        assert (waiting.state, waiting.array, waiting.map and waiting.map.over) == ("blocked", None, ids["a"])
        await succeed(c, worker, await c.one(worker), b'{"rows": [10, "x", {"y": 1}], "n": 7}')
        array = (await c.job(ids["b"])).array
        assert array is not None and (array.inputs, array.parallel) == (3, 2)
        while shards := await c.claim(worker):
            for shard in shards:
                assert shard.job in (ids["b"], ids["sum"], ids["again"])
                if shard.job == ids["sum"]:
                    assert bytes(shard.args) == b"[[0,11,22]]"
                    await succeed(c, worker, shard, b"33")
                    continue
                if shard.job == ids["b"]:
                    assert bytes(shard.data) == b'{"k":7}'
                else:
                    assert all(bytes(value) in (b"0", b"11", b"22") for value in shard.inputs)
                ends = [
                    InputReport(
                        job=shard.job, attempt=shard.attempt, index=(shard.first or 0) + at, outcome=Outcome.SUCCEEDED,
                        result=Raw(b"%d" % (11 * ((shard.first or 0) + at))),
                    )
                    for at in range(len(shard.inputs))
                ]  # fmt: skip
                await c.queue.tell(worker, [], [], [], ends)
                await c.queue.settle(worker, [report(shard)])
        assert {(await c.job(id_)).state for id_ in ids.values()} == {"succeeded"}

    live(test)


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (b'{"rows": 1}', "a map over what is no list: the result of job {a} is an object"),
        (b"null", "a map over what is no list: the result of job {a} is null"),
    ],
)
def test_a_map_over_what_is_no_list_fails_and_says_so(live: Live, result: bytes, says: str):
    async def test(c: Cluster) -> None:
        worker = await c.register()
        ids = await submit(c, job("a"), job("b", "a", map=MapOver("a")), job("c", "b"), job("d", After("b", "failed")))
        await succeed(c, worker, await c.one(worker), result)
        broken = await c.job(ids["b"])
        assert (broken.state, broken.reason) == ("failed", "refused")
        assert broken.error is not None and broken.error.message == says.format(a=ids["a"])
        assert [(await c.job(ids[ref])).state for ref in "cd"] == ["canceled", "queued"]
        late = await c.job(
            (await c.service.jobs.submit(Submission(handler="h", after=[ids["a"]], map=MapOver(ids["a"])))).id
        )
        assert (late.state, late.reason) == ("failed", "refused")

    live(test)


def test_a_map_over_nothing_succeeds_at_once(live: Live):
    async def test(c: Cluster) -> None:
        worker = await c.register()
        ids = await submit(c, job("a"), job("b", "a", map=MapOver("a")), job("c", "b", args=Raw(b'[{"$result": "b"}]')))
        await succeed(c, worker, await c.one(worker), b"[]")
        assert (await c.job(ids["b"])).state == "succeeded"
        assert bytes((await c.one(worker)).args) == b"[[]]"
        late = await c.service.jobs.submit(Submission(handler="h", after=[ids["a"]], map=MapOver(ids["a"])))
        assert late.state == "succeeded"

    live(test)


def test_an_array_whose_data_cannot_be_filled_in_fails(live: Live):
    async def test(c: Cluster) -> None:
        worker = await c.register()
        ids = await submit(
            c, job("a"), job("b", "a", inputs=Raw(b"[1, 2]"), data=Raw(b'{"k": {"$result": "a", "path": "/k"}}'))
        )
        await succeed(c, worker, await c.one(worker), b"1")
        assert await c.claim(worker) == []
        broken = await c.job(ids["b"])
        assert (broken.state, broken.reason, broken.open) == ("failed", "refused", False)

    live(test)


def test_a_result_stays_as_long_as_somebody_refers_to_it(live: Live):
    async def test(c: Cluster) -> None:
        worker = await c.register()
        ids = await submit(
            c, job("a"), job("plain", "a"), job("b", "a", delay=3600, data=Raw(b'{"x": {"$result": "a"}}'))
        )
        await succeed(c, worker, await c.one(worker), b"5")
        later = START + 1800 * SECOND
        old = await c.store.read(lambda tx: tx.over_before(later, 9))
        assert ids["a"] not in {row[0] for row in old}
        await c.service.jobs.abort(ids["b"])
        old = await c.store.read(lambda tx: tx.over_before(later, 9))
        assert ids["a"] in {row[0] for row in old}

    live(test)


def test_what_is_referred_to_while_it_is_about_to_be_pruned_stays_or_is_gone_for_whoever_refers(tmp_path: Path):
    """On PostgreSQL others write between the moment of which upkeep's listing is, and its hold on what it lists."""

    async def test(c: Cluster) -> None:
        worker = await c.register()
        first, second = (await submit(c, job("a"), job("b"))).values()
        for _ in range(2):
            lease = await c.one(worker)
            await succeed(c, worker, lease, b"5")
        later = START + 1800 * SECOND
        listed = await c.store.read(lambda tx: tx.over_before(later, 9))
        assert {row[0] for row in listed} == {first, second}
        uses = Submission(handler="h", after=[first], data=Raw(b'{"x": {"$result": "%s"}}' % first.encode()))
        child = await c.service.jobs.submit(uses)
        refused: list[asyncio.Task[Any]] = []

        async def prune(tx: Tx) -> None:
            await tx.lock_jobs([row[0] for row in listed])
            late = replace(uses, after=[second], data=Raw(b'{"x": {"$result": "%s"}}' % second.encode()))
            refused[:] = [asyncio.create_task(c.service.jobs.submit(late))]  # it waits for this transaction
            await tx.delete_jobs(listed)

        await c.store.write(prune)
        with pytest.raises(Invalid, match=f"there is no job '{second}'"):
            await refused[0]
        assert bytes((await c.one(worker)).data) == b'{"x":5}'
        assert ((await c.job(first)).state, (await c.job(child.id)).state) == ("succeeded", "running")

    run(test, tmp_path, "postgres")


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"data": Raw(b'{"x": {"$result": "b"}}')}, "data", "does not wait for"),
        ({"data": Raw(b'{"x": {"$result": 5}}')}, "data", "a reference is"),
        ({"data": Raw(b'{"x": {"$result": "a", "y": 1}}')}, "data", "a reference is"),
        ({"args": Raw(b'[{"$result": "a", "path": "rows"}]')}, "args", "no path"),
        ({"data": Raw(b'[{"$result": "a", "path": "/~2"}]')}, "data", "no path"),
        ({"map": MapOver("b")}, "map.over", "add it to after"),
        ({"map": MapOver("a", "x")}, "map.path", "no path"),
        ({"map": MapOver("a"), "inputs": Raw(b"[1]")}, "map", "name no others"),
        (
            {"handler": None, "script": "echo {{x}}", "variables": {"x": ResultOf("b")}},
            "variables.x",
            "does not wait for",
        ),
    ],
)
def test_references_that_make_no_sense_are_refused(fields: dict[str, Any], field: str, says: str, tmp_path: Path):
    async def test(c: Cluster) -> None:
        with pytest.raises(Invalid, match=says) as wrong:
            await submit(c, job("a"), job("c", "a", **fields), job("b"))
        assert wrong.value.field == f"jobs[1].{field}"

    run(test, tmp_path, "direct")
