"""Output on its way to the server: batched, bounded, complete before the report of its attempt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from msgspec import Raw

from rota.core.errors import Invalid, Unavailable
from rota.core.jobs import HookCall, LogChunk, Progress, ProgressNote
from rota.core.states import Outcome
from rota.worker.output import BATCH_SIZE, PENDING_MOST, Output
from tests.worker.fakes import Scene, lease, now
from tests.worker.test_supervisor import virtual


def log(job: str, n: int, text: str = "line\n") -> LogChunk:
    return LogChunk(job=job, attempt=1, n=n, stream="stdout", text=text)


def note(job: str, fraction: float) -> ProgressNote:
    return ProgressNote(job=job, attempt=1, progress=Progress(fraction))


async def running(*jobs: str) -> Scene:
    scene = await Scene(slots=len(jobs)).begin()
    for job in jobs:
        scene.executor.lasts[job] = None
    scene.queue.add(*map(lease, jobs))
    await asyncio.sleep(1)
    return scene


@virtual
async def test_output_travels_ten_times_a_second_in_order() -> None:
    scene = await running("a")
    for n in range(100):
        scene.supervisor.on_output(log("a", n))
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    assert [chunk.n for chunk in scene.queue.logs] == list(range(100))
    assert 9 <= len(scene.queue.of("tell")) <= 11


@virtual
async def test_much_output_does_not_wait() -> None:
    scene = await running("a")
    for n in range(6):
        scene.supervisor.on_output(log("a", n, "x" * (BATCH_SIZE // 2)))
    began = now()
    await scene.until(lambda: len(scene.queue.logs) == 6)
    assert now() - began <= 0.002
    assert len(scene.queue.of("tell")) == 3


@virtual
async def test_of_progress_only_the_newest_is_told() -> None:
    scene = await running("a", "b")
    for percent in range(100):
        scene.supervisor.on_output(note("a", percent / 100))
    scene.supervisor.on_output(note("b", 0.5))
    await asyncio.sleep(0.2)
    assert [(n.job, n.progress.fraction) for n in scene.queue.progress] == [("a", 0.99), ("b", 0.5)]


@virtual
async def test_a_finished_jobs_output_is_complete_before_its_report_is_sent() -> None:
    scene = await running("a", "b")
    scene.queue.delay["tell"] = 0.3
    scene.executor.on_run = lambda _: None
    scene.supervisor.on_output(log("a", 0))
    await asyncio.sleep(0.15)  # the first call is on its way
    scene.supervisor.on_output(log("a", 1))
    scene.supervisor.on_output(HookCall(job="a", attempt=1, n=0, data=Raw(b"1")))
    scene.queue.abort("a")
    scene.queue.abort("b")
    await scene.until(lambda: "b" in scene.queue.outcomes, 0.01)  # it has no output: it waits for nothing
    await scene.until(lambda: scene.queue.of("tell")[1:])
    await scene.until(lambda: "a" in scene.queue.outcomes)
    assert [chunk.n for chunk in scene.queue.logs] == [0, 1] and len(scene.queue.hooks) == 1
    verbs = [verb for _, verb, _ in scene.queue.calls if verb in ("tell", "settle")]
    assert verbs == ["tell", "settle", "tell", "settle"]


@virtual
async def test_the_end_of_an_attempt_hurries_its_output() -> None:
    scene = await running("a")
    scene.supervisor.on_output(log("a", 0))
    scene.queue.abort("a")
    assert await scene.until(lambda: scene.queue.settled) <= 0.003
    assert len(scene.queue.logs) == 1


@virtual
async def test_output_is_sent_again_until_it_is_answered() -> None:
    scene = await running("a")
    scene.queue.fault["tell"] = lambda: Unavailable("the disk is full")
    scene.supervisor.on_output(log("a", 0))
    scene.queue.abort("a")
    await asyncio.sleep(8)
    assert scene.queue.settled == {}
    scene.queue.come_back()
    scene.queue.lose_reply["tell"] = 1
    await scene.until(lambda: scene.queue.outcomes == {"a": Outcome.ABORTED}, 5)
    assert [chunk.n for chunk in scene.queue.logs] == [0]


@virtual
async def test_output_that_the_server_refuses_is_dropped_and_the_job_ends_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = await running("a")
    scene.queue.fault["tell"] = lambda: Invalid("logs", "too many")
    scene.supervisor.on_output(log("a", 0))
    scene.queue.abort("a")
    await scene.until(lambda: scene.queue.outcomes == {"a": Outcome.ABORTED}, 5)
    assert "too many" in caplog.text


@virtual
async def test_output_without_a_registration_is_dropped() -> None:
    scene = Scene()
    scene.supervisor.on_output(log("a", 0))
    scene.queue.go_down("register")
    await scene.begin()
    scene.supervisor.on_output(log("a", 0))
    await asyncio.sleep(10)
    assert scene.queue.of("tell") == []


# Bounds, without a supervisor


def clock() -> Callable[[], float]:
    return lambda: 0.0


def drained(output: Output) -> list[LogChunk]:
    chunks: list[LogChunk] = []
    while output.due_in_s() is not None:
        chunks += output.batch().logs
        output.told()
    return chunks


def test_past_its_bound_text_is_dropped_and_leaves_one_mark() -> None:
    output = Output(clock())
    piece = "x" * (1 << 20)
    for n in range(12):
        output.put(log("a", n, piece))
    chunks = drained(output)
    assert [chunk.n for chunk in chunks] == list(range(8))
    assert all(chunk.text == piece for chunk in chunks[:7])
    assert "output is missing" in chunks[7].text
    output.put(log("a", 12, "again"))
    assert [chunk.text for chunk in drained(output)] == ["again"]
    assert not output.is_pending(("a", 1)) and output.due_in_s() is None


def test_progress_is_dropped_before_text() -> None:
    output = Output(clock())
    output.put(note("early", 0.1))
    output.put(log("a", 0, "x" * (PENDING_MOST // 2 + 1)))
    output.put(note("late", 0.2))
    output.put(note("early", 0.3))
    output.put(log("a", 1, "kept"))
    batch = output.batch()
    assert [(n.job, n.progress.fraction) for n in batch.progress] == [("early", 0.3)]
    assert not output.is_pending(("late", 1))
    output.told()
    assert [chunk.text for chunk in drained(output)] == ["kept"]


def test_hook_calls_have_a_bound_of_their_own(caplog: pytest.LogCaptureFixture) -> None:
    output = Output(clock())
    output.put(log("a", 0, "x" * PENDING_MOST))
    data = Raw(b'"' + b"x" * (1 << 20) + b'"')
    for n in range(12):
        output.put(HookCall(job="a", attempt=1, n=n, data=data))
    kept = 0
    while output.due_in_s() is not None:
        kept += len(output.batch().hooks)
        output.told()
    assert kept == 8 and "is dropped" in caplog.text


def test_a_batch_stays_the_same_until_it_was_told() -> None:
    output = Output(clock())
    output.put(log("a", 0))
    output.put(note("a", 0.1))
    first = output.batch()
    output.put(log("a", 1))
    output.put(note("a", 0.2))
    assert output.batch() is first and output.due_in_s() == 0
    output.told()
    assert output.is_pending(("a", 1))
    second = output.batch()
    assert [c.n for c in second.logs] == [1] and second.progress[0].progress.fraction == 0.2
    output.told()
    assert not output.is_pending(("a", 1))
