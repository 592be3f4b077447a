"""Spans of attempts, however an attempt ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from rota import tracing
from rota.core.jobs import Failure, Free, Held, Lease, Orders, Report, RunOptions, WorkerHello
from rota.core.states import Outcome
from rota.worker.container import config_of
from rota.worker.queue import WorkQueue
from rota.worker.traces import TracedQueue

GIVEN = f"00-{'a' * 32}-{'b' * 16}-01"
FREE = Free(process=9, asynchronous=0, total=9)


class Queue:
    """Gives what it has, and breaks at will."""

    def __init__(self, *leases: Lease) -> None:
        self.leases = list(leases)
        self.lost: list[Held] = []
        self.settled: list[Report] = []
        self.broken = False

    async def register(self, hello: WorkerHello) -> None:
        pass

    async def claim(self, worker: str, free: Free, wait_s: float) -> list[Lease]:
        leases, self.leases = self.leases, []
        return leases

    async def heartbeat(self, worker: str, held: list[Held]) -> Orders:
        return Orders(lost=self.lost)

    async def settle(self, worker: str, reports: list[Report]) -> list[Any]:
        if self.broken:
            raise ConnectionError
        self.settled += reports
        return []

    async def leave(self, worker: str) -> None:
        pass


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_provider", provider)
    yield exporter
    provider.shutdown()


def outcomes(exporter: InMemorySpanExporter) -> dict[str, Any]:
    spans: tuple[ReadableSpan, ...] = exporter.get_finished_spans()
    return {str((s.attributes or {})["messaging.message.id"]): (s.attributes or {})["rota.outcome"] for s in spans}


def test_every_span_ends_once(exported: InMemorySpanExporter) -> None:
    jobs = ("done", "lost", "left", "again")
    queue = Queue(*(Lease(job=job, attempt=1, handler="h", traceparent=GIVEN) for job in jobs))

    async def main() -> None:
        traced = TracedQueue(cast(WorkQueue, queue))
        leases = await traced.claim("w", FREE, 0)
        assert len({lease.traceparent for lease in leases}) == 4
        assert all(lease.traceparent and lease.traceparent.startswith("00-" + "a" * 32) for lease in leases)
        queue.broken = True
        wrong = Report(job="done", attempt=1, outcome=Outcome.ERRORED, error=Failure("Boom", "x" * 999), exit_code=3)
        for _ in range(2):  # a report whose answer was lost is sent again
            with pytest.raises(ConnectionError):
                await traced.settle("w", [wrong])
        queue.broken = False
        await traced.settle("w", [wrong])
        queue.lost = [Held(job="lost", attempt=1), Held(job="unknown", attempt=2)]
        await traced.heartbeat("w", [])
        await traced.settle("w", [Report(job="lost", attempt=1, outcome=Outcome.SUCCEEDED)])
        assert outcomes(exported) == {"done": "errored", "lost": "lost"}
        await traced.leave("w")
        queue.leases = [Lease(job="again", attempt=2, kind="script", trace_link=GIVEN)]
        (lease,) = await traced.claim("w", FREE, 0)
        assert lease.trace_link is None and "a" * 32 not in str(lease.traceparent)
        await traced.register(WorkerHello(name="w"))

    asyncio.run(main())
    assert [report.job for report in queue.settled] == ["done", "lost"]
    spans = exported.get_finished_spans()
    assert [span.name for span in spans] == ["run h"] * 4 + ["run script"]
    assert outcomes(exported) == {"done": "errored", "lost": "lost", "left": "interrupted", "again": "lost"}
    first, last = spans[0], spans[-1]
    assert first.status.description == "x" * 300 and dict(first.attributes or {})["process.exit.code"] == 3
    assert last.parent is None and [f"{link.context.trace_id:032x}" for link in last.links] == ["a" * 32]


def test_a_container_has_the_span_in_its_environment() -> None:
    lease = Lease(job="j", attempt=1, kind="image", image="i", options=RunOptions(env={"TRACEPARENT": "own", "A": "b"}))
    traced = Lease(job="j", attempt=1, kind="image", image="i", options=lease.options, traceparent=GIVEN)
    assert "TRACEPARENT=own" in config_of(lease, "w", init=True)["Env"]
    assert {f"TRACEPARENT={GIVEN}", "A=b"} <= set(config_of(traced, "w", init=True)["Env"])
