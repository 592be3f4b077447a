"""`rota.Flow`: what it is written as; and runs with both clients against the real server."""

from __future__ import annotations

import asyncio

import pytest

import rota
from rota.client import AsyncClient, Client
from rota.core.errors import Conflict, Invalid, NotFound
from tests.client.live import Hands, LiveServer
from tests.processes import PATIENCE_S


def test_arrows_after_and_results_are_what_the_api_takes() -> None:
    flow = rota.Flow("nightly", labels={"k": "v"})
    a = flow.job("load", {"day": 1}, retries=2)
    b, c = flow.job("resize"), flow.job("resize", {"$result": 1, "x": [a.result["rows"][0]["a/b~"], (a.result,)]})
    d = flow.job("publish", args=[c.result])
    assert a >> [b, c] >> d is d
    e = flow.map("square", over=a.result["rows"], data={"k": b.result}, parallel=3)
    flow.script("echo {{n}}", {"n": a.result["n"], "m": 1}, ref="say").after(d, e, "outside", on="any").join("any")
    flow.job("clean").after(a, on="failed").join(1)
    assert flow.body() == {
        "name": "nightly",
        "labels": {"k": "v"},
        "jobs": [
            {"ref": "load", "handler": "load", "data": {"day": 1}, "retries": 2},
            {"ref": "resize", "handler": "resize", "after": ["load"]},
            {
                "ref": "resize-2", "handler": "resize", "after": ["load"],
                "data": {"$$result": 1, "x": [{"$result": "load", "path": "/rows/0/a~1b~0"}, [{"$result": "load"}]]},
            },
            {"ref": "publish", "handler": "publish", "args": [{"$result": "resize-2"}], "after": ["resize-2", "resize"]},
            {
                "ref": "square", "handler": "square", "data": {"k": {"$result": "resize"}}, "parallel": 3,
                "map": {"over": "load", "path": "/rows"}, "after": ["resize", "load"],
            },
            {
                "ref": "say", "script": "echo {{n}}", "variables": {"n": {"$result": "load", "path": "/n"}, "m": "1"},
                "after": ["load", *({"job": ref, "on": "any"} for ref in ("publish", "square", "outside"))], "join": "any",
            },
            {"ref": "clean", "handler": "clean", "after": [{"job": "load", "on": "failed"}], "join": {"at_least": 1}},
        ],
    }  # fmt: skip


def test_jobs_of_two_flows_are_not_joined_and_results_are_not_walked() -> None:
    one, other = rota.Flow(), rota.Flow()
    a, b = one.job("a"), other.job("b")
    with pytest.raises(ValueError, match="another flow"):
        a >> b
    with pytest.raises(ValueError, match="another flow"):
        other.job("c", a.result)
    with pytest.raises(TypeError, match=r"Flow\.map"):
        list(a.result)


def test_a_flow_is_run(client: Client, hands: Hands) -> None:
    flow = rota.Flow("sum")
    start = flow.job("echo", {"rows": [1, 2, 3]})
    each = flow.job("echo", {"all": start.result["rows"]}, ref="each")
    never = flow.job("echo", ref="never").after(start, on="failed")
    run = client.runs.submit(flow, key="a-key")
    assert client.runs.submit(flow, key="a-key").id == run.id
    assert set(run.ids) == {"echo", "each", "never"}
    assert run.wait(PATIENCE_S) is run
    assert (run.state, run.over, run.name, run.counts["succeeded"]) == ("succeeded", True, "sum", 2)
    jobs = run.jobs
    assert jobs[each.ref].result == {"all": [1, 2, 3]}
    assert (jobs[never.ref].state, jobs["never"].after_on) == ("canceled", {run.ids["echo"]: "failed"})
    assert {(edge.source, edge.to, edge.on) for edge in run.graph.edges} == {
        (run.ids["echo"], run.ids["each"], "succeeded"), (run.ids["echo"], run.ids["never"], "failed")
    }  # fmt: skip
    assert [node.ref for node in run.graph.nodes] == ["echo", "each", "never"]
    assert [found.id for found in client.runs.find(name="sum", limit=5)] == [run.id]
    again = run.retry()
    assert (again.retry_of, again.size) == (run.id, 1)
    with pytest.raises(Conflict):
        run.abort()
    with pytest.raises(NotFound):
        client.runs.get("run-nobody")
    with pytest.raises(Invalid) as wrong:
        client.runs.submit(rota.Flow())
    assert wrong.value.field == "jobs"


def test_a_run_that_is_aborted_in_the_other_colour(server: LiveServer) -> None:
    async def main() -> None:
        async with AsyncClient(server.url) as client:
            flow = rota.Flow()
            flow.job("nobody-has-it") >> flow.job("nobody-has-it")
            run = await client.runs.submit(flow)
            with pytest.raises(TimeoutError, match="run run-"):
                await run.wait(0.01)
            await run.abort(wait=PATIENCE_S)
            await run.wait(PATIENCE_S)
            assert (run.state, run.counts["canceled"]) == ("canceled", 2)
            assert set(await run.jobs()) == {"nobody-has-it", "nobody-has-it-2"}
            assert len((await run.graph()).edges) == 1
            assert [found.id async for found in client.runs.find(limit=1)] == [run.id]
            again = await run.retry()
            assert (await again.refresh()).retry_of == run.id

    asyncio.run(main())
