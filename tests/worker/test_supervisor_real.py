"""The supervisor with a real pool: real processes, real time, and a work queue in memory."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from msgspec import Raw

from rota.core.jobs import HookCall, Lease, LogChunk, ProgressNote, WorkerHello
from rota.core.states import Outcome
from rota.worker.pool import Pool
from rota.worker.supervisor import Supervisor
from tests.worker.fakes import FakeQueue

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="process trees are ended through /proc")

HANDLERS = """
import os, subprocess, sys, time
import rota
app = rota.App()

@app.handler
def double(n):
    print("doubling", n)
    return 2 * n

@app.handler
async def triple(n):
    return 3 * n

@app.handler
def family(path, seconds=3600):
    child = subprocess.Popen(["setsid", "sleep", "3600"])
    with open(path + ".new", "w") as file:
        file.write(f"{os.getpid()} {child.pid}")
    os.rename(path + ".new", path)
    time.sleep(seconds)
    return "slept"
"""


class Fixture:
    def __init__(self, queue: FakeQueue, pool: Pool, supervisor: Supervisor, life: asyncio.Task[None]) -> None:
        self.queue = queue
        self.pool = pool
        self.supervisor = supervisor
        self.life = life

    async def until(self, condition: Callable[[], object], limit_s: float = 60.0) -> None:
        deadline = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < deadline, f"it did not happen within {limit_s} s"
            if self.life.done():
                self.life.result()
            await asyncio.sleep(0.005)


@asynccontextmanager
async def worker(folder: Path, *, lease_s: float = 15.0, drain_s: float = 10.0) -> AsyncIterator[Fixture]:
    (folder / "real_handlers.py").write_text(HANDLERS)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), before]))
    supervisor: Supervisor | None = None

    def output(item: LogChunk | ProgressNote | HookCall) -> None:
        assert supervisor is not None
        supervisor.on_output(item)

    queue = FakeQueue(lease_s=lease_s)
    pool = Pool(["real_handlers:app"], slots=2, scripts=True, on_output=output)
    try:
        handlers = await pool.start()
        hello = WorkerHello(name="real", handlers=handlers, scripts=True, arrays=True, slots=2, async_slots=20)
        supervisor = Supervisor(queue, pool, hello, drain_s=drain_s)
        life = asyncio.create_task(supervisor.run())
        yield Fixture(queue, pool, supervisor, life)
        if not life.done():
            supervisor.request_stop_now()
        async with asyncio.timeout(60):
            await life
    finally:
        await pool.close()
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def lease(job: str, handler: str, data: str, **more: float) -> Lease:
    return Lease(job=job, attempt=1, handler=handler, data=Raw(data.encode()), **more)  # type: ignore[arg-type]


def is_alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


async def family(fixture: Fixture, job: str, path: Path, **more: float) -> list[int]:
    fixture.queue.add(lease(job, "family", f'{{"path": "{path}"}}', **more))
    await fixture.until(path.exists)
    pids = [int(pid) for pid in path.read_text().split()]
    assert all(map(is_alive, pids))
    return pids


def test_200_jobs_run_one_is_aborted_and_a_drain_gives_back(tmp_path: Path) -> None:
    async def main() -> None:
        async with worker(tmp_path, drain_s=0.3) as it:
            pids = await family(it, "victim", tmp_path / "victim")
            for n in range(100):
                it.queue.add(lease(f"p{n}", "double", f'{{"n": {n}}}'), lease(f"a{n}", "triple", str(n)))
            await it.until(lambda: len(it.queue.settled) == 200)
            for n in range(100):
                assert bytes(it.queue.settled[f"p{n}", 1].result) == b"%d" % (2 * n)
                assert bytes(it.queue.settled[f"a{n}", 1].result) == b"%d" % (3 * n)
            texts = {chunk.job: chunk.text for chunk in it.queue.logs}
            assert texts == {f"p{n}": f"doubling {n}\n" for n in range(100)}

            it.queue.abort("victim", grace_s=1.0)
            await it.until(lambda: ("victim", 1) in it.queue.settled)
            report = it.queue.settled["victim", 1]
            assert report.outcome is Outcome.ABORTED and report.proof is not None
            assert report.proof.survivors == [] and not any(map(is_alive, pids))

            pids = await family(it, "slow", tmp_path / "slow", grace_s=1.0)
            it.supervisor.request_drain()
            await it.life
            assert it.queue.settled["slow", 1].outcome is Outcome.INTERRUPTED
            assert not any(map(is_alive, pids))
            assert it.queue.left == ["real.0"] and not it.queue.holder

    asyncio.run(main())


def test_what_runs_is_dead_before_its_lease_ends_when_the_server_is_cut_off(tmp_path: Path) -> None:
    async def main() -> None:
        async with worker(tmp_path, lease_s=2.0) as it:
            pids = await family(it, "cut off", tmp_path / "pids")
            it.queue.go_down()
            await it.until(lambda: not any(map(is_alive, pids)), 5)
            assert asyncio.get_running_loop().time() < it.queue.lease_until["real.0"]
            it.queue.come_back()
            await it.until(lambda: "real.1" in it.queue.workers)
            assert it.queue.outcomes == {"cut off": Outcome.LOST}
            it.queue.add(lease("next", "double", "4"))
            await it.until(lambda: ("next", 1) in it.queue.settled)

    asyncio.run(main())


def test_a_reload_brings_new_code(tmp_path: Path) -> None:
    async def main() -> None:
        async with worker(tmp_path) as it:
            it.queue.add(lease("old", "double", "4"))
            await it.until(lambda: ("old", 1) in it.queue.settled)
            (tmp_path / "real_handlers.py").write_text(HANDLERS.replace("return 2 * n", "return 20 * n  # changed"))
            await it.supervisor.reload()
            it.queue.add(lease("new", "double", "4"))
            await it.until(lambda: ("new", 1) in it.queue.settled)
            assert bytes(it.queue.settled["old", 1].result) == b"8"
            assert bytes(it.queue.settled["new", 1].result) == b"80"

    asyncio.run(main())


def test_the_death_of_the_keeper_costs_what_ran_and_no_more(tmp_path: Path) -> None:
    async def main() -> None:
        async with worker(tmp_path) as it:
            pids = await family(it, "witness", tmp_path / "pids")
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            keepers = [
                int(pid) for pid in children if b"rota.worker.keeper" in Path(f"/proc/{pid}/cmdline").read_bytes()
            ]
            assert len(keepers) == 1
            os.kill(keepers[0], signal.SIGKILL)
            await it.until(lambda: it.queue.outcomes == {"witness": Outcome.LOST})
            assert not any(map(is_alive, pids))
            it.queue.add(lease("next", "double", "4"))
            await it.until(lambda: it.queue.outcomes.get("next") is Outcome.SUCCEEDED)

    asyncio.run(main())
