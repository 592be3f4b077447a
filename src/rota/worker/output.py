"""What attempts write, how far they are, their own hook calls, and the ends of inputs, on the way to the server.

It goes in batches, in order, and bounded: past the bounds output is dropped, but never the end of an input. Instead a
shard starts no other input while too many of them wait.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from rota import log
from rota.core.checkpoints import CheckpointNote
from rota.core.jobs import Failure, HookCall, InputReport, LogChunk, ProgressNote
from rota.worker.queue import Key, WorkQueue
from rota.worker.reporting import INSTEAD

BATCH_S = 0.1
BATCH_SIZE = 256 << 10  # characters; more than this is sent at once, in several calls
PENDING_MOST = 8 << 20  # characters that may wait; of hook calls the same again
RESULTS_MOST = 4 << 20  # characters of ends of inputs that may wait before shards pause
_ITEM = 100  # what an item costs beside its text
_GAP = "\n[rota: output is missing here: the server did not take it in time]\n"
_UNTELLABLE = "the server refused the result of this input: "
_log = log.get("worker.output")
Item = TypeVar("Item", LogChunk, HookCall, InputReport, CheckpointNote)


class OutputBatch(Struct, frozen=True):
    """What one call tells: ends of inputs or the rest, never both, so that a refusal of one is none of the other."""

    logs: list[LogChunk] = []
    progress: list[ProgressNote] = []
    hooks: list[HookCall] = []
    results: list[InputReport] = []
    checkpoints: list[CheckpointNote] = []

    async def tell(self, queue: WorkQueue, worker: str) -> None:
        """Tell all this."""
        await queue.tell(worker, self.logs, self.progress, self.hooks, self.results, checkpoints=self.checkpoints)

    def keys(self) -> Counter[Key]:
        """Count the items of each attempt."""
        lists = (self.logs, self.progress, self.hooks, self.results, self.checkpoints)
        return Counter((item.job, item.attempt) for items in lists for item in items)


class Output:
    """What waits to be told. `put` never blocks: past the bounds progress is dropped first, then text, leaving a mark.

    Nor does `put_result`, which drops nothing: whoever calls it waits for room before.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._logs: list[LogChunk] = []
        self._progress: dict[Key, ProgressNote] = {}
        self._checkpoints: dict[Key, CheckpointNote] = {}
        self._hooks: list[HookCall] = []
        self._results: list[InputReport] = []
        self._pending: Counter[Key] = Counter()
        self._size = 0
        self._hook_size = 0
        self._result_size = 0
        self._due_at: float | None = None
        self._gaps: set[Key] = set()  # attempts whose last piece was dropped
        self._on_the_way: OutputBatch | None = None
        self._results_next = True
        self._instead: InputReport | None = None  # what goes in place of a result that was refused
        self._looked_at = asyncio.Event()
        self.changed = asyncio.Event()

    def put(self, item: LogChunk | ProgressNote | HookCall | CheckpointNote) -> None:
        """Take an item. Of progress and checkpoints only the newest of each attempt is kept; a checkpoint is never dropped."""
        key = (item.job, item.attempt)
        if isinstance(item, LogChunk):
            self._put_log(key, item)
        elif isinstance(item, ProgressNote):
            self._put_progress(key, item)
        elif isinstance(item, CheckpointNote):
            self._pending[key] += key not in self._checkpoints
            self._checkpoints[key] = item
        else:
            self._put_hook(key, item)
        self._note()

    def put_result(self, result: InputReport) -> None:
        """Take the end of an input."""
        self._results.append(result)
        self._result_size += _size_of_result(result) + _ITEM
        self._pending[result.job, result.attempt] += 1
        self._note()

    def is_full(self) -> bool:
        """Say whether so many ends of inputs wait that no more inputs are to be started."""
        return self._result_size >= RESULTS_MOST

    async def room(self) -> None:
        """Wait until there may be room for more ends of inputs, or until `look_again`."""
        await self._looked_at.wait()

    def look_again(self) -> None:
        """Wake all who wait for room: each looks whether it still has a reason to."""
        self._looked_at.set()
        self._looked_at.clear()

    def is_pending(self, key: Key) -> bool:
        """Say whether something of this attempt has not been told yet; its report has to wait for it."""
        return key in self._pending

    def urge(self) -> None:
        """Send what waits at once: somebody's report waits for it."""
        if self._rest() or self._results:
            self._due_at = self._clock()
            self.changed.set()

    def due_in_s(self) -> float | None:
        """Return after how many seconds there is something to tell; None when there is nothing."""
        if self._on_the_way is not None or self._waiting() >= BATCH_SIZE:
            return 0.0
        return None if self._due_at is None else max(self._due_at - self._clock(), 0.0)

    def batch(self) -> OutputBatch:
        """Return what to tell next: the same until it was `told`."""
        if self._on_the_way is None:
            if self._results and (self._results_next or not self._rest()):
                self._on_the_way = self._take_results()
                self._results_next = False
            else:
                self._on_the_way = self._take_rest()
                self._results_next = True
            # what did not fit goes next
            self._due_at = self._clock() if self._rest() or self._results else None
        return self._on_the_way

    def told(self) -> None:
        """Forget the batch on the way: it was told, or refused for good."""
        assert self._on_the_way is not None
        for key, items in self._on_the_way.keys().items():
            self._pending[key] -= items
            if self._pending[key] <= 0:
                del self._pending[key]
        self._on_the_way = None

    def refused(self, error: str) -> Counter[Key]:
        """Take a refusal of the batch on the way; return what is dropped, counted by attempt.

        Of several ends of inputs the bad one is sought by halves. In its place goes the news that it cannot be told, so
        that its input is over all the same, and not run again and again.
        """
        assert self._on_the_way is not None
        results = self._on_the_way.results
        if len(results) > 1:
            half = len(results) // 2
            self._on_the_way = OutputBatch(results=results[:half])
            self._results[:0] = results[half:]
            self._result_size += sum(_size_of_result(result) + _ITEM for result in results[half:])
            self._due_at = self._clock()
        elif results and results[0] is not self._instead:
            self._instead = _news_of_refusal(results[0], error)
            self._on_the_way = OutputBatch(results=[self._instead])
        else:
            dropped = self._on_the_way.keys()
            self.told()
            return dropped
        return Counter()

    def _take_results(self) -> OutputBatch:
        results, size = _first(self._results, _size_of_result)
        del self._results[: len(results)]
        self._result_size -= size
        self.look_again()
        return OutputBatch(results=results)

    def _take_rest(self) -> OutputBatch:
        logs, log_size = _first(self._logs, lambda chunk: len(chunk.text))
        hooks, hook_size = _first(self._hooks, _size_of)
        del self._logs[: len(logs)], self._hooks[: len(hooks)]
        checkpoints, _ = _first(list(self._checkpoints.values()), lambda note: len(memoryview(note.value)))
        for note in checkpoints:
            del self._checkpoints[note.job, note.attempt]
        batch = OutputBatch(logs, list(self._progress.values()), hooks, checkpoints=checkpoints)
        self._size -= log_size
        self._hook_size -= hook_size
        self._progress.clear()
        return batch

    def _rest(self) -> bool:
        """Say whether anything but ends of inputs waits."""
        return bool(self._logs or self._progress or self._hooks or self._checkpoints)

    def _waiting(self) -> int:
        return self._size + self._hook_size + self._result_size

    def _note(self) -> None:
        if self._due_at is None:
            self._due_at = self._clock() + BATCH_S
            self.changed.set()
        elif self._waiting() >= BATCH_SIZE:
            self.changed.set()

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


def _size_of_result(result: InputReport) -> int:
    return len(result.stdout) + len(result.stderr) + len(memoryview(result.result))


def _news_of_refusal(result: InputReport, error: str) -> InputReport:
    """Return a result that a server can always take, in place of one that it would not."""
    return InputReport(
        job=result.job,
        attempt=result.attempt,
        index=result.index,
        outcome=INSTEAD.get(result.outcome, result.outcome),
        duration_s=result.duration_s,
        error=Failure(type="BadResult", message=_UNTELLABLE + error),
    )


def _first(items: list[Item], size_of: Callable[[Item], int]) -> tuple[list[Item], int]:
    """Return the first items, as many as one call takes but at least one, and their size."""
    size = 0
    for at, item in enumerate(items):
        if at and size >= BATCH_SIZE:
            return items[:at], size
        size += size_of(item) + _ITEM
    return items[:], size
