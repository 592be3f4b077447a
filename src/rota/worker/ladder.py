"""Ending processes: SIGTERM to all at once, SIGKILL after the grace, and looking until nobody is left.

Pure but for signals: who is to end is looked up anew at each step, and the time comes from outside.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from rota.worker import proctree

_PASSES = 3  # over a tree within one step: what forks while it is swept is found by the next pass
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.0005, 0.02
_WATCH_FOR_S = 0.1  # so long are late ones looked for
_GIVE_UP_S = 10.0  # after SIGKILL; what is left by then is stuck in the kernel


class Ladder:
    """The end of some processes. `look` returns those that are alive; `told` hears the proof when there are none.

    While the grace lasts the ladder looks every `watch_s` seconds; None: a few times after SIGTERM, and then when a child
    of the keeper has died. `is_stray` says of a process that came after SIGTERM whether it should have had it too.
    """

    def __init__(
        self,
        look: Callable[[], list[int]],
        grace_s: float,
        now: float,
        told: Callable[[dict[str, Any]], None],
        *,
        watch_s: float | None = None,
        is_stray: Callable[[int], bool] = lambda _pid: False,
    ) -> None:
        self._look = look
        self._began = now
        self._kill_at = now + grace_s
        self._told = told
        self._watch_s = watch_s
        self._is_stray = is_stray
        self._programs: dict[int, bytes] = {}  # what those ran that had SIGTERM, when they had it
        self._signals: list[tuple[str, float]] = []
        self._seen: set[int] = set()
        self._wait_s = _FIRST_WAIT_S
        self.due = now

    def hurry(self, now: float) -> None:
        """End the grace now."""
        self._kill_at = min(self._kill_at, now)
        self.due = now

    def step(self, now: float, clock: Callable[[], float]) -> bool:
        """Do what is due, and say whether nobody is left; else `due` is when to step again, at the latest."""
        over = self._term(now) if now < self._kill_at else self._kill(now)
        if over or now > self._kill_at + _GIVE_UP_S:
            survivors = [] if over else self._look()
            self._told(
                {
                    "signals": self._signals,
                    "processes": len(self._seen),
                    "survivors": survivors,
                    "took_s": round(clock() - self._began, 6),
                }
            )
            return True
        return False

    def _term(self, now: float) -> bool:
        live = self._see()
        if not self._signals and live:
            self._signals.append(("TERM", round(now - self._began, 6)))
            for _ in range(_PASSES):
                self._tell_to_end([pid for pid in live if pid not in self._programs])
                live = self._see()
                if all(pid in self._programs for pid in live):
                    break
        else:
            self._tell_to_end([pid for pid in live if self._has_missed_it(pid)])
        self.due = self._kill_at
        if self._watch_s is not None or self._wait_s < _WATCH_FOR_S:
            self.due = min(self._kill_at, now + (self._watch_s or self._wait_s))
            self._wait_s *= 2
        return not live

    def _tell_to_end(self, pids: list[int]) -> None:
        for pid in pids:
            self._programs[pid] = proctree.program(pid)
        proctree.send(pids, signal.SIGTERM)
        proctree.send(pids, signal.SIGCONT)  # a stopped process hears nothing else

    def _has_missed_it(self, pid: int) -> bool:
        """Say whether SIGTERM has not reached who it was for.

        A shell's fork takes the signal with the shell's handler, and forgets it when it becomes its program; or it is
        born when all had been told, of a shell that then ends. What is started to clean up is neither.
        """
        told = self._programs.get(pid)
        return self._is_stray(pid) if told is None else told != proctree.program(pid)

    def _kill(self, now: float) -> bool:
        live = self._see()
        if live and not any(name == "KILL" for name, _ in self._signals):
            self._wait_s = _FIRST_WAIT_S
            self._signals.append(("KILL", round(now - self._began, 6)))
        for _ in range(_PASSES):
            if not live:
                return True
            proctree.send(live, signal.SIGKILL)
            live = self._see()
        self.due = now + self._wait_s
        self._wait_s = min(self._wait_s * 2, _LONGEST_WAIT_S)
        return not live

    def _see(self) -> list[int]:
        live = self._look()
        self._seen.update(live)
        return live
