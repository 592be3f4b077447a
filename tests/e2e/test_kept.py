"""Processes that are kept: those that end are started again, and none waits for a thread."""

from __future__ import annotations

import asyncio
import subprocess

import pytest

from rota.wiring.fleet import Fleet
from rota.wiring.kept import Kept
from rota.wiring.stopping import Stop, until_stopped


class Sleepers(Kept):
    """Processes that sleep; those that are told to `fail` end at once."""

    def __init__(self, count: int) -> None:
        self.deaths: list[tuple[str, int]] = []
        self.died = asyncio.Event()
        self.changed = asyncio.Event()
        self.started = 0
        super().__init__([f"s{n}" for n in range(count)], self._note)

    def _note(self, name: str, status: int) -> None:
        self.deaths.append((name, status))
        self.died.set()

    def kill(self) -> None:
        self._stopping.set()
        for process in self._running.values():
            process.kill()

    async def until(self, started: int) -> None:
        while self.started < started:
            self.changed.clear()
            await self.changed.wait()

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        self.started += 1
        self.changed.set()
        return subprocess.Popen(["sleep", "600"])


@pytest.fixture
def patience() -> float:
    return 60.0


def test_each_of_many_is_missed_and_they_leave_threads_to_others(patience: float) -> None:
    """There are as many threads as the loop has, and more: with a thread each, the last ones would wait for the first."""

    async def test() -> None:
        kept = Sleepers(40)
        running = asyncio.create_task(kept.run())
        try:
            async with asyncio.timeout(patience):
                await kept.until(40)
                await asyncio.to_thread(lambda: None)
                kept._running["s39"].kill()
                await kept.died.wait()
                assert kept.deaths == [("s39", -9)]
                await kept.until(41)
                await kept.stop(patience)
                await running
        finally:
            kept.kill()
        assert kept.pids() == {}

    asyncio.run(test())


def test_a_stop_waits_for_no_pause(patience: float) -> None:
    async def test() -> None:
        kept = Sleepers(1)
        kept._start = lambda name: subprocess.Popen(["false"])  # type: ignore[method-assign]
        running = asyncio.create_task(kept.run())
        async with asyncio.timeout(patience):
            await kept.died.wait()
            kept.died.clear()
            await kept.died.wait()
            await kept.stop(patience)
            await running

    asyncio.run(test())


class Stubborn(Fleet):
    """Workers that do not drain: they end when they are ended."""

    def __init__(self) -> None:
        super().__init__(0, ["unix:/nowhere"], [])
        self.ended = asyncio.Event()
        self.draining = asyncio.Event()
        self.patience_s = 0.0

    async def run(self) -> None:
        await self.ended.wait()

    async def stop(self, patience_s: float) -> None:
        self.patience_s = patience_s
        self.draining.set()
        await self.ended.wait()

    def kill(self) -> None:
        super().kill()
        self.ended.set()


def test_the_first_signal_lets_workers_drain_and_the_second_ends_them(patience: float) -> None:
    async def test() -> None:
        fleet, stop = Stubborn(), Stop()
        stopped = asyncio.create_task(until_stopped(fleet, 10.0, stop))
        stop._on_signal()
        async with asyncio.timeout(patience):
            await fleet.draining.wait()
            assert fleet.patience_s > 10 and not fleet.ended.is_set()
            stop._on_signal()
            await stopped
        assert fleet.ended.is_set()

    asyncio.run(test())
