"""What attempts write, how far they are and their own hook calls, on the way to the server: batched, bounded, in order."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from rota import log
from rota.core.jobs import HookCall, LogChunk, ProgressNote
from rota.worker.holdings import Key

BATCH_S = 0.1
BATCH_SIZE = 256 << 10  # characters; more than this is sent at once, in several calls
PENDING_MOST = 8 << 20  # characters that may wait; of hook calls the same again
_ITEM = 100  # what an item costs beside its text
_GAP = "\n[rota: output is missing here: the server did not take it in time]\n"
_log = log.get("worker.output")
Item = TypeVar("Item", LogChunk, HookCall)


class OutputBatch(Struct, frozen=True):
    """What one call tells."""

    logs: list[LogChunk]
    progress: list[ProgressNote]
    hooks: list[HookCall]

    def keys(self) -> Counter[Key]:
        """Count the items of each attempt."""
        return Counter((item.job, item.attempt) for items in (self.logs, self.progress, self.hooks) for item in items)


class Output:
    """What waits to be told. `put` never blocks: past the bounds progress is dropped first, then text, leaving a mark."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._logs: list[LogChunk] = []
        self._progress: dict[Key, ProgressNote] = {}
        self._hooks: list[HookCall] = []
        self._pending: Counter[Key] = Counter()
        self._size = 0
        self._hook_size = 0
        self._due_at: float | None = None
        self._gaps: set[Key] = set()  # attempts whose last piece was dropped
        self._on_the_way: OutputBatch | None = None
        self.changed = asyncio.Event()

    def put(self, item: LogChunk | ProgressNote | HookCall) -> None:
        """Take an item. Of progress only the newest of each attempt is kept."""
        key = (item.job, item.attempt)
        if isinstance(item, LogChunk):
            self._put_log(key, item)
        elif isinstance(item, ProgressNote):
            self._put_progress(key, item)
        else:
            self._put_hook(key, item)
        if self._due_at is None:
            self._due_at = self._clock() + BATCH_S
            self.changed.set()
        elif self._size + self._hook_size >= BATCH_SIZE:
            self.changed.set()

    def is_pending(self, key: Key) -> bool:
        """Say whether something of this attempt has not been told yet; its report has to wait for it."""
        return key in self._pending

    def urge(self) -> None:
        """Send what waits at once: somebody's report waits for it."""
        if self._logs or self._progress or self._hooks:
            self._due_at = self._clock()
            self.changed.set()

    def due_in_s(self) -> float | None:
        """Return after how many seconds there is something to tell; None when there is nothing."""
        if self._on_the_way is not None or self._size + self._hook_size >= BATCH_SIZE:
            return 0.0
        return None if self._due_at is None else max(self._due_at - self._clock(), 0.0)

    def batch(self) -> OutputBatch:
        """Return what to tell next: the same until it was `told`."""
        if self._on_the_way is None:
            logs, log_size = _first(self._logs, lambda chunk: len(chunk.text))
            hooks, hook_size = _first(self._hooks, _size_of)
            del self._logs[: len(logs)], self._hooks[: len(hooks)]
            self._on_the_way = OutputBatch(logs, list(self._progress.values()), hooks)
            self._size -= log_size
            self._hook_size -= hook_size
            self._progress.clear()
            self._due_at = self._clock() if self._logs or self._hooks else None  # what did not fit goes next
        return self._on_the_way

    def told(self) -> None:
        """Forget the batch on the way: it was told, or refused for good."""
        assert self._on_the_way is not None
        for key, items in self._on_the_way.keys().items():
            self._pending[key] -= items
            if self._pending[key] <= 0:
                del self._pending[key]
        self._on_the_way = None

    def _put_log(self, key: Key, chunk: LogChunk) -> None:
        if self._size + len(chunk.text) > PENDING_MOST:
            if key in self._gaps:
                return
            self._gaps.add(key)
            chunk = replace(chunk, text=_GAP)
        else:
            self._gaps.discard(key)
        self._logs.append(chunk)
        self._size += len(chunk.text) + _ITEM
        self._pending[key] += 1

    def _put_progress(self, key: Key, note: ProgressNote) -> None:
        if key not in self._progress:
            if self._size > PENDING_MOST // 2:
                return
            self._pending[key] += 1
        self._progress[key] = note

    def _put_hook(self, key: Key, call: HookCall) -> None:
        if self._hook_size > PENDING_MOST:
            _log.warning("hook_call_dropped", job=call.job, attempt=call.attempt)
            return
        self._hooks.append(call)
        self._hook_size += _size_of(call) + _ITEM
        self._pending[key] += 1


def _size_of(call: HookCall) -> int:
    return len(memoryview(call.data))


def _first(items: list[Item], size_of: Callable[[Item], int]) -> tuple[list[Item], int]:
    """Return the first items, as many as one call takes but at least one, and their size."""
    size = 0
    for at, item in enumerate(items):
        if at and size >= BATCH_SIZE:
            return items[:at], size
        size += size_of(item) + _ITEM
    return items[:], size
