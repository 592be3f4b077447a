"""An event loop whose time is virtual: it stands still while anything can run, and jumps to the next timer when nothing can.

So a test of hours takes milliseconds and is the same every time. Only what really waits for a file descriptor or a thread
has no place here: a loop with nothing left to happen raises Deadlock instead of hanging.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class Deadlock(Exception):
    """Everything waits, and no timer is set: nothing will ever happen again."""


class _Jump(selectors.BaseSelector):
    """A selector that never waits: it moves the loop's time on instead."""

    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self.now = 0.0
        self.limit = float("inf")

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise Deadlock("everything waits, and no timer is set")
        self.now += timeout
        if self.now > self.limit:
            raise Deadlock(f"not over at virtual time {self.limit:g}")
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop with a clock of its own, which starts at `start` seconds."""

    def __init__(self, start: float = 1000.0) -> None:
        self._jump = _Jump()
        self._jump.now = start
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now

    def jump(self, seconds: float) -> None:
        """Let time pass while nothing runs: what SIGSTOP, a suspended machine or a long garbage collection does."""
        self._jump.now += seconds

    def limit(self, seconds: float) -> None:
        """Raise Deadlock when the time goes beyond `seconds` from now."""
        self._jump.limit = self._jump.now + seconds


def run(main: Callable[[], Coroutine[Any, Any, T]], *, limit_s: float = 3600.0) -> T:
    """Run `main()` in a new virtual loop and return its result; what it leaves behind is canceled.

    Raises Deadlock when nothing can happen any more, or after `limit_s` virtual seconds.
    """
    loop = VirtualLoop()
    loop.limit(limit_s)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main())


def loop() -> VirtualLoop:
    """Return the running virtual loop."""
    running = asyncio.get_running_loop()
    assert isinstance(running, VirtualLoop)
    return running


async def settle() -> None:
    """Let everything run that can, without time passing."""
    for _ in range(50):
        await asyncio.sleep(0)
