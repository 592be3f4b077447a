"""A pool for tests, and the eyes to see that nothing of it is left."""

import asyncio
import contextlib
import functools
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil
from msgspec import Raw

from rota.core.jobs import HookCall, Lease, LogChunk, ProgressNote, Report
from rota.core.states import Outcome
from rota.worker.pool import Pool
from rota.worker.shell import ARGUMENTS
from tests.processes import alive

APP = "tests.worker.executor_app:app"
PATIENCE_S = 60.0  # the machine may be busy
SOON_S = 10.0  # at once, on a busy machine: what it tells apart takes a minute, or does not end at all


class Rig:
    """A running pool and what it said."""

    def __init__(self, pool: Pool, output: list[Any]) -> None:
        self.pool = pool
        self.output = output
        self._count = 0

    def lease(self, handler: str, data: Any = None, *, args: Any = (), **more: Any) -> Lease:
        self._count += 1
        raw = Raw(msgspec.json.encode(data))
        return Lease(
            job=f"job-{self._count}",
            attempt=self._count,
            handler=handler,
            data=raw,
            args=Raw(msgspec.json.encode(list(args))),
            **{"grace_s": 0.3, **more},
        )

    def script(self, text: str, data: Any = None, **more: Any) -> Lease:
        self._count += 1
        raw = Raw(msgspec.json.encode(data))
        return Lease(
            job=f"job-{self._count}", attempt=1, kind="script", script=text, data=raw, **{"grace_s": 0.3, **more}
        )

    async def run(self, lease: Lease) -> Report:
        """Run an attempt as a registration does: it is begun at once if it can be."""
        told: asyncio.Future[Report] = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(PATIENCE_S):
            if self.pool.begin(lease, told.set_result):
                return await told
            return await self.pool.run(lease)

    def begin(self, lease: Lease) -> asyncio.Task[Report]:
        return asyncio.create_task(self.run(lease))

    async def stop(self, lease: Lease, task: asyncio.Task[Report], outcome: Outcome = Outcome.ABORTED, grace_s=0.3):
        began = time.monotonic()
        self.pool.stop(lease.job, lease.attempt, grace_s, outcome)
        report = await task
        return report, time.monotonic() - began

    def text(self, lease: Lease, stream: str) -> str:
        return "".join(c.text for c in self.chunks(lease) if c.stream == stream)

    def chunks(self, lease: Lease) -> list[LogChunk]:
        chunks = [c for c in self.output if isinstance(c, LogChunk) and c.job == lease.job]
        assert [c.n for c in chunks] == list(range(len(chunks)))
        return chunks

    def notes(self, lease: Lease) -> list[ProgressNote]:
        return [n for n in self.output if isinstance(n, ProgressNote) and n.job == lease.job]

    def hooks(self, lease: Lease) -> list[HookCall]:
        return [n for n in self.output if isinstance(n, HookCall) and n.job == lease.job]

    @property
    def keeper(self) -> psutil.Process:
        link = self.pool._nursery._link
        assert link is not None
        return psutil.Process(link.pid)

    def below(self) -> list[psutil.Process]:
        """Return all processes below the keeper that are alive."""
        return alive(self.keeper.children(recursive=True))

    def busy(self) -> list[psutil.Process]:
        """Return what belongs to jobs: no zygote, child, or shell of one, no child being born, nor what removes folders."""
        known = {c.pid for c in self.pool._nursery._children.values()}
        return [p for p in self.below() if p.pid not in known and not _is_own(p) and not _is_shell(p, known)]

    @property
    def zygote(self) -> psutil.Process:
        """Return the zygote: of the keeper's session, as no child is but at its birth, the oldest."""
        session = os.getsid(self.keeper.pid)
        alike = [p for p in alive(self.keeper.children()) if os.getsid(p.pid) == session]
        return min(alike, key=lambda process: process.create_time())


def _is_own(process: psutil.Process) -> bool:
    try:
        command = " ".join(process.cmdline())
    except psutil.Error:
        return True
    own = ("rota.worker.keeper", "rota.worker.zygote", "rm -rf -- ")  # of the first two: a child that is being born
    return not command or any(words in command for words in own)


def _is_shell(process: psutil.Process, children: set[int]) -> bool:
    """Say whether it is the shell that a script child keeps for inputs to come, with nothing running in it."""
    try:
        return process.cmdline() == [*ARGUMENTS] and process.ppid() in children and not alive(process.children())
    except psutil.Error:
        return True


@contextlib.asynccontextmanager
async def rigged(*apps: str, slots: int = 2, scripts: bool = True, **more: Any) -> AsyncIterator[Rig]:
    """Open a pool; afterwards make sure that no process and no folder of it is left."""
    output: list[Any] = []
    pool = Pool(list(apps) or [APP], slots=slots, scripts=scripts, on_output=output.append, **more)
    await pool.start()
    rig = Rig(pool, output)
    folder = pool._nursery._folder
    seen = {rig.keeper, *rig.keeper.children(recursive=True)}
    try:
        yield rig
        with contextlib.suppress(psutil.Error, AssertionError):
            seen |= {rig.keeper, *rig.keeper.children(recursive=True)}
    finally:
        await pool.close()
    left = alive(seen)
    assert not left, left
    assert not os.path.exists(folder)
    assert not [f for f in Path("/proc/self/fd").iterdir() if f.is_symlink() and "pidfd" in os.readlink(f)]


async def until(condition: Callable[[], Any], seconds: float = PATIENCE_S) -> Any:
    """Wait until a condition holds, and return it."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.005)
    return value


def live(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test on an event loop of its own."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


def value(report: Report) -> Any:
    assert report.outcome is Outcome.SUCCEEDED, report
    return msgspec.json.decode(report.result)
