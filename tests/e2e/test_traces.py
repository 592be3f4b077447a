"""Traces of a real server and its workers, as a collector gets them, and as handlers, scripts and programs see them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider

import rota
from tests.e2e.conftest import Server, wait_for
from tests.otlp import Collector, Span, collecting

APP = """
import os
import rota
from opentelemetry import trace

app = rota.App()

def here(ctx):
    active = trace.get_current_span().get_span_context()
    return [f"00-{active.trace_id:032x}-{active.span_id:016x}-{active.trace_flags:02x}", ctx.traceparent]

@app.handler
def seen(*, ctx: rota.Context):
    return here(ctx)

@app.handler
async def aseen(*, ctx: rota.Context):
    return here(ctx)

@app.handler(retries=1)
def second_time(*, ctx: rota.Context):
    if ctx.attempt == 1:
        raise rota.Retry("not yet", after=0)
    return here(ctx)

@app.handler
def bad():
    raise ValueError("no")

@app.handler
def over(x, *, ctx: rota.Context):
    return here(ctx)[0]
"""
NO_SPAN = f"00-{'0' * 32}-{'0' * 16}-00"
GIVEN = f"00-{'a' * 32}-{'b' * 16}-01"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


@pytest.fixture
def start(serve: Callable[..., Server], tmp_path: Path) -> Callable[..., Server]:
    (tmp_path / "traced.py").write_text(APP)
    return lambda **environ: serve("--app", "traced:app", "--workers", "1", environ=environ)


def inputs(shards: list[Span]) -> int:
    return sum(shard.attributes["messaging.batch.message_count"] for shard in shards)


def plain(*names: str | None) -> str:
    """Return the one name that all of these are, but for the flag that OpenTelemetry has added since: random."""
    (name,) = set(names)
    assert name is not None and name[-2:] in ("01", "03")
    return name[:-2] + "01"


def runs(collector: Collector, job: str, n: int = 1) -> list[Span]:
    return wait_for(lambda: found if len(found := collector.of(job)) == n else None, f"{n} spans of {job}")


def first_run(collector: Collector, job: str) -> Span:
    return wait_for(lambda: collector.of(job), f"spans of {job}")[0]


def submission(collector: Collector, job: str) -> Span:
    return wait_for(lambda: collector.of(job, "submit"), "the span of the submission")[0]


def test_a_trace_goes_from_the_program_through_the_server_to_the_handler(
    start: Callable[..., Server], collector: Collector
) -> None:
    server = start(**collector.environ)
    client = rota.Client(server.url)
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("a program")
    with tracer.start_as_current_span("of the program") as active:
        mine = active.get_span_context()
        jobs = {name: client.submit(name) for name in ("seen", "aseen", "second_time")}
        jobs["script"] = client.submit_script("echo $TRACEPARENT")
        jobs["array"] = client.submit("over", inputs=[1, 2])
        later = client.submit("seen", delay=0.05)
        after = client.submit("seen", after=later)
        bulk = client.submit_many([{"handler": "seen"}, {"handler": "seen", "traceparent": GIVEN}])
    for job in (*jobs.values(), later, after, *bulk):
        job.wait(60)
    for job in (*jobs.values(), after):  # at once: one trace
        submitted = submission(collector, job.id)
        assert (submitted.trace, submitted.parent) == (f"{mine.trace_id:032x}", f"{mine.span_id:016x}")
        assert (
            submitted.kind == 4
            and submitted.service == "rota-server"
            and plain(job.traceparent) == submitted.traceparent
        )
        first = first_run(collector, job.id)
        assert (first.trace, first.parent, first.links) == (submitted.trace, submitted.id, [])
        assert first.kind == 5 and first.service == "rota-worker"
    (only,) = runs(collector, jobs["seen"].id)
    assert plain(*jobs["seen"].result) == only.traceparent and not only.failed
    assert only.name == "run seen" and only.attributes["messaging.destination.name"] == "default"
    assert (only.attributes["rota.outcome"], only.attributes["rota.attempt"]) == ("succeeded", 1)
    assert plain(*jobs["aseen"].result) == runs(collector, jobs["aseen"].id)[0].traceparent
    (printed,) = jobs["script"].logs()
    assert plain(printed.text.strip()) == runs(collector, jobs["script"].id)[0].traceparent
    shards = wait_for(
        lambda: inputs(collector.of(jobs["array"].id)) == 2 and collector.of(jobs["array"].id), "all shards"
    )
    assert {shard.parent for shard in shards} == {submission(collector, jobs["array"].id).id}
    assert {plain(line.result) for line in jobs["array"].results()} == {shard.traceparent for shard in shards}

    failed, again = runs(collector, jobs["second_time"].id, 2)  # a retry: a trace of its own
    assert failed.failed and (failed.attributes["error.type"], failed.message) == ("Retry", "not yet")
    submitted = submission(collector, jobs["second_time"].id)
    assert not again.parent and again.trace != submitted.trace and again.links == [(submitted.trace, submitted.id)]
    assert plain(*jobs["second_time"].result) == again.traceparent

    (late,) = runs(collector, later.id)  # as is what was delayed
    submitted = submission(collector, later.id)
    assert not late.parent and late.trace != submitted.trace and late.links == [(submitted.trace, submitted.id)]
    assert plain(*later.result) == late.traceparent

    assert runs(collector, bulk[0].id)[0].trace == f"{mine.trace_id:032x}"
    (given,) = runs(collector, bulk[1].id)
    assert (given.trace, given.parent, bulk[1].traceparent) == ("a" * 32, "b" * 16, GIVEN)


def test_what_nobody_traces_has_traces_of_its_own_and_a_stop_loses_none(
    start: Callable[..., Server], collector: Collector
) -> None:
    server = start(**collector.environ | {"OTEL_BSP_SCHEDULE_DELAY": "600000", "OTEL_SERVICE_NAME": "ours"})
    job = server.submit("bad", queue="q")
    unsampled = server.post("/v1/jobs", {"handler": "seen"}, headers={"traceparent": GIVEN[:-1] + "0"})["id"]
    strange = server.post("/v1/jobs", {"handler": "seen"}, headers={"traceparent": "00-nonsense"})["id"]
    assert server.wait(job)["state"] == "failed"
    assert server.wait(unsampled)["result"][0].startswith("00-" + "a" * 32) and server.wait(strange)["traceparent"]
    assert collector.spans == []
    server.stop()
    (submitted,), (ran,) = collector.of(job, "submit"), collector.of(job)
    assert submitted.name == "submit q" and not submitted.parent and submitted.service == "ours"
    assert ran.parent == submitted.id and ran.failed and ran.attributes["messaging.destination.name"] == "q"
    assert collector.of(unsampled) == [] == collector.of(unsampled, "submit"), "whoever asked wants no spans"
    assert len(collector.of(strange)) == 1


def test_without_a_collector_jobs_carry_the_trace_on(start: Callable[..., Server], tmp_path: Path) -> None:
    server = start()
    headers = {"traceparent": GIVEN}
    at_once = server.post("/v1/jobs", {"handler": "seen"}, headers=headers)
    assert at_once["traceparent"] == GIVEN
    script = server.post("/v1/jobs", {"script": "echo $TRACEPARENT"}, headers=headers)["id"]
    retried = server.post("/v1/jobs", {"handler": "second_time"}, headers=headers)["id"]
    none = server.submit("seen")
    assert server.wait(at_once["id"])["result"] == [GIVEN, GIVEN]
    assert server.wait(none)["result"] == [NO_SPAN, None] and server.get(f"/v1/jobs/{none}")["traceparent"] is None
    server.wait(script)
    assert [line["text"] for line in server.get(f"/v1/jobs/{script}/logs")["items"]] == [GIVEN + "\n"]
    assert server.wait(retried)["result"] == [NO_SPAN, None], "a link is no parent"
    again = server.post(f"/v1/jobs/{at_once['id']}/retry", headers={"traceparent": "00-" + GIVEN[3:-1] + "0"})
    assert again["traceparent"] == GIVEN[:-1] + "0"
    answer = server.http.post(server.url + "/v1/jobs", json={"handler": "seen", "traceparent": "no"})
    assert answer.status_code == 422 and "traceparent" in answer.text
    with sqlite3.connect(tmp_path / "e2e.db") as connection:  # a program's own transaction
        tracer = TracerProvider(shutdown_on_exit=False).get_tracer("a program")
        with tracer.start_as_current_span("of the program") as active:
            job = rota.submit_in(connection, "seen")
        mine = active.get_span_context()
    connection.close()
    assert plain(*server.wait(job)["result"]) == f"00-{mine.trace_id:032x}-{mine.span_id:016x}-01"


def test_a_worker_in_another_language_is_told_which_span_to_join_or_to_link(start: Callable[..., Server]) -> None:
    server = start()
    worker = server.post("/v1/workers", {"name": "w", "handlers": [{"name": "elsewhere"}]}, 201)["worker"]
    headers = {"traceparent": GIVEN}
    server.post("/v1/jobs", {"handler": "elsewhere", "queue": "q"}, headers=headers)
    (lease,) = server.post(f"/v1/workers/{worker}/claim", {"free": 1, "wait": 5})["leases"]
    assert (lease["traceparent"], lease["queue"], "trace_link" in lease) == (GIVEN, "q", False)
    report = {"job": lease["job"], "attempt": 1, "outcome": "interrupted"}
    server.post(f"/v1/workers/{worker}/report", {"reports": [report]})
    (lease,) = server.post(f"/v1/workers/{worker}/claim", {"free": 1, "wait": 5})["leases"]
    assert (lease["trace_link"], "traceparent" in lease) == (GIVEN, False)
