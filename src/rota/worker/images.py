"""Runs images: a container for each attempt, from its creation to the proof that it is gone.

The supervisor's loop drives the engine; there is no process in between. The keeper knows each container's name from before
it is created until it is gone, and removes it when this process dies, or stands still beyond its lease. What even that
leaves behind (the keeper was killed too, the machine went down) is swept by the next worker of this machine that starts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import Any, Protocol

from msgspec.structs import replace

from rota import log
from rota.core.jobs import Failure, HandlerSpec, Lease, LogChunk, Proof, Report, RunOptions
from rota.core.states import Outcome
from rota.worker import container, reaper
from rota.worker.capture import Capture, Collected, capture_of
from rota.worker.container import BadContainer
from rota.worker.engine import Engine, EngineError, EngineGone
from rota.worker.verdict import exit_failure, timeout_failure

_REACH_S = 10.0  # how long an engine that does not answer is waited for
_PAUSE_S, _LONG_PAUSE_S = 0.2, 5.0  # between two tries to reach it; when its attempt is over
_STUCK_S = 10.0  # after SIGKILL
_DRAIN_S = 10.0  # for what a container has written and we have not read when it has ended
_NO_INIT = ("docker-init", "catatonit", "container-init")  # what engines call the program that they do not find
_BAD_REQUEST, _MISSING, _CONFLICT = 400, 404, 409
_log = log.get("worker.images")


class Guard(Protocol):
    """Who removes containers when this process cannot."""

    def guard(self, engine: str, name: str) -> None:
        """Remove this container when the worker dies, or stands still beyond its lease."""
        ...

    def unguard(self, name: str) -> None:
        """Forget a container that is gone."""
        ...


class _Stopped(Exception):
    """The attempt was stopped before its container ran."""


class _Attempt:
    """An attempt on its way. Times are those of the loop's clock."""

    def __init__(self, lease: Lease, tell: Callable[[LogChunk], None], loop: asyncio.AbstractEventLoop) -> None:
        self.lease = lease
        self.name = container.name_of(lease)
        self.options = lease.options or RunOptions()
        self.capture = capture_of(lease, tell, loop)
        self.started = False
        self.stopped_as: Outcome | None = None
        self.stopped_at = 0.0
        self.kill_at = 0.0
        self.signals: list[tuple[str, float]] = []
        self.wake = asyncio.Event()  # set when the above has changed


class ImageRunner:
    """An executor (see `rota.worker.executor`) of images, on the engine whose socket is the file `place`."""

    def __init__(
        self, place: str, guard: Guard, on_output: Callable[[LogChunk], None], clock: Callable[[], float]
    ) -> None:
        self._place = place
        self._guard = guard
        self._tell = on_output
        self._clock = clock  # the one that `leased_until` is told by
        self._leased_until: float | None = None
        self._who = reaper.whoami()
        self._init = True
        self._engine: Engine | None = None
        self._running: dict[tuple[str, int], _Attempt] = {}
        self._work: set[asyncio.Task[Report]] = set()
        self._leftovers: set[str] = set()
        self._clearing: asyncio.Task[None] | None = None

    async def start(self) -> list[HandlerSpec]:
        """Remove what dead workers of this machine have left behind."""
        try:
            swept = await asyncio.to_thread(reaper.sweep, self._place)
        except (OSError, ValueError) as error:
            _log.warning("engine_unreachable", engine=self._place, error=str(error))
        else:
            if swept:
                _log.warning("containers_swept", count=len(swept), names=", ".join(swept[:10]))
        return []

    async def run(self, lease: Lease, following: Lease | None = None) -> Report:
        """Run an attempt until its container is removed. Its timeout counts from here: getting the image is part of it.

        Nothing begins before its own `run`.
        """
        del following
        loop = asyncio.get_running_loop()
        attempt = _Attempt(lease, self._tell, loop)
        self._running[lease.job, lease.attempt] = attempt
        work = loop.create_task(self._through(attempt))
        self._work.add(work)
        work.add_done_callback(self._work.discard)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            self._stop(attempt, 0.0, Outcome.INTERRUPTED)
            raise

    def begin(self, lease: Lease, done: Callable[[Report], None]) -> bool:
        """Say no: a container takes its time."""
        del lease, done
        return False

    def holds(self, job: str, attempt: int) -> bool:
        """Say no: see `run`."""
        del job, attempt
        return False

    def recall(self, job: str, attempt: int) -> None:
        """Do nothing: see `run`."""

    def stop(self, job: str, attempt: int, grace_s: float, outcome: Outcome) -> None:
        """Start to end an attempt: SIGTERM, after the grace SIGKILL. Unknown: no effect."""
        running = self._running.get((job, attempt))
        if running is not None:
            self._stop(running, grace_s, outcome)

    def leased_until(self, at: float | None) -> None:
        """Start no container from `at` on. (Those that run are the keeper's to end then.)"""
        self._leased_until = at

    async def kill_all(self) -> None:
        """End everything that runs, without grace; return when it is gone, or the engine could not be reached for long."""
        for attempt in self._running.values():
            self._stop(attempt, 0.0, Outcome.LOST)
        if self._work:
            await asyncio.wait(self._work, timeout=_STUCK_S + _REACH_S)

    async def close(self) -> None:
        """End everything. Idempotent."""
        await self.kill_all()
        unfinished = [*self._work, *([self._clearing] if self._clearing is not None else [])]
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.close()

    # --- the walk of an attempt

    async def _through(self, attempt: _Attempt) -> Report:
        lease, loop = attempt.lease, asyncio.get_running_loop()
        timer = None
        if lease.timeout_s is not None:
            timer = loop.call_later(lease.timeout_s, self._stop, attempt, lease.grace_s, Outcome.TIMED_OUT)
        self._guard.guard(self._place, attempt.name)
        try:
            try:
                report = await self._run(attempt)
            except (BadContainer, EngineError) as wrong:
                report = _refused(attempt, wrong)
            except EngineGone as gone:
                why = f"the container engine at {self._place} is gone: {gone}"
                report = _lost(attempt, why, charged=attempt.started)
            except _Stopped:
                report = _stopped(attempt)
            return attempt.capture.finish(await self._leave_nothing(attempt, report))
        finally:
            self._running.pop((lease.job, lease.attempt), None)
            if timer is not None:
                timer.cancel()

    async def _run(self, attempt: _Attempt) -> Report:
        if self._engine is None:
            self._engine = Engine(self._place)
        try:
            return await self._once(self._engine, attempt)
        except EngineError as refusal:
            if not self._init or not any(name in str(refusal) for name in _NO_INIT):
                raise
        self._init = False
        _log.warning("engine_without_init", engine=self._place)
        await self._engine.remove(attempt.name)
        return await self._once(self._engine, attempt)

    async def _once(self, engine: Engine, attempt: _Attempt) -> Report:
        """Create, start and watch the container, and read what it writes."""
        await self._create(engine, attempt)
        async with engine.output(attempt.name) as output:
            if self._leased_until is not None and self._clock() >= self._leased_until:
                self._stop(attempt, 0.0, Outcome.LOST)
            if attempt.stopped_as is not None:
                raise _Stopped
            await engine.start(attempt.name)
            attempt.started = True
            reading = asyncio.create_task(_read(output, attempt.capture))
            ending = asyncio.create_task(engine.wait(attempt.name))
            try:
                await self._until_ended(engine, attempt, ending)
                await asyncio.wait((reading,), timeout=_DRAIN_S)
            finally:
                ending.cancel()
                reading.cancel()
                await asyncio.gather(ending, reading, return_exceptions=True)
        if ending.cancelled():  # it has outlived SIGKILL
            return _stopped(attempt)
        if (seen := await engine.inspect(attempt.name)) is not None:
            return _report(attempt, ending.result(), seen)
        if attempt.signals:
            return _stopped(attempt)
        return _lost(attempt, "somebody else removed its container", charged=True)

    async def _create(self, engine: Engine, attempt: _Attempt) -> None:
        image, pull = attempt.lease.image or "", attempt.options.pull
        config = container.config_of(attempt.lease, self._who, init=self._init)
        if pull == "always":
            await self._pull(engine, attempt, image)
        try:
            await self._create_anew(engine, attempt, config)
        except EngineError as refusal:
            if refusal.status != _MISSING:
                raise
            if pull == "never":
                why = f"this worker's engine has no image {image!r}, and may not pull it"
                raise EngineError(_MISSING, why) from None
            if pull == "always":
                raise
            await self._pull(engine, attempt, image)
            await self._create_anew(engine, attempt, config)

    async def _create_anew(self, engine: Engine, attempt: _Attempt, config: dict[str, Any]) -> None:
        """Create the container; one of the same attempt that is left from before goes first."""
        try:
            await engine.create(attempt.name, config)
        except EngineError as refusal:
            if refusal.status != _CONFLICT:
                raise
            await engine.remove(attempt.name)
            await engine.create(attempt.name, config)

    async def _pull(self, engine: Engine, attempt: _Attempt, image: str) -> None:
        if attempt.lease.index is None:
            attempt.capture.feed("log", f"pulling {image}\n".encode())
        try:
            await _unless_stopped(attempt, engine.pull(image))
        except EngineError as refusal:
            raise EngineError(refusal.status, f"cannot pull {image!r}: {refusal}") from None

    async def _until_ended(self, engine: Engine, attempt: _Attempt, ending: asyncio.Task[int]) -> None:
        """Wait for the container's end; when the attempt is stopped, see to it. Returns with `ending` undone if it is stuck."""
        now = asyncio.get_running_loop().time
        while not ending.done():
            attempt.wake.clear()
            left_s = None
            if attempt.stopped_as is not None:
                sent = [name for name, _ in attempt.signals]
                if "KILL" in sent:
                    left_s = attempt.kill_at + _STUCK_S - now()
                    if left_s <= 0:
                        return
                else:
                    left_s = attempt.kill_at - now()
                    name = "KILL" if left_s <= 0 else "TERM"
                    if name not in sent:
                        attempt.signals.append((name, round(now() - attempt.stopped_at, 6)))
                        with suppress(EngineError):  # what it will not signal it may still remove
                            await engine.signal(attempt.name, f"SIG{name}")
                        continue
            woken = asyncio.ensure_future(attempt.wake.wait())
            await asyncio.wait((ending, woken), timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            woken.cancel()

    def _stop(self, attempt: _Attempt, grace_s: float, outcome: Outcome) -> None:
        kill_at = asyncio.get_running_loop().time() + grace_s
        if attempt.stopped_as is None:
            attempt.stopped_as = outcome
            attempt.stopped_at = kill_at - grace_s
            attempt.kill_at = kill_at
        attempt.kill_at = min(attempt.kill_at, kill_at)
        attempt.wake.set()

    # --- the end of an attempt

    async def _leave_nothing(self, attempt: _Attempt, report: Report) -> Report:
        """Remove the container, look that it is gone, and complete the report by what was seen."""
        now = asyncio.get_running_loop().time
        give_up_at = now() + _REACH_S
        while True:
            trouble, pid = await self._remove(attempt.name)
            if trouble is None:
                return replace(report, proof=_proof(attempt, now(), [])) if attempt.stopped_as else report
            if now() > give_up_at:
                break
            await asyncio.sleep(_PAUSE_S)
        _log.error("container_left", container=attempt.name, error=trouble)
        self._leftovers.add(attempt.name)
        if self._clearing is None or self._clearing.done():
            self._clearing = asyncio.create_task(self._clear())
        report = _lost(attempt, f"its container could not be removed: {trouble}", charged=attempt.started)
        return replace(report, proof=_proof(attempt, now(), [pid] if pid else []))

    async def _remove(self, name: str) -> tuple[str | None, int]:
        """Remove a container, if there is one, and look that it is gone; else return what was wrong, and its process."""
        try:
            if self._engine is not None:
                await self._engine.remove(name)
                if there := await self._engine.inspect(name):
                    return "the engine has removed it, and still has it", there["State"].get("Pid", 0)
        except (EngineError, EngineGone) as error:
            return str(error), 0
        self._guard.unguard(name)
        return None, 0

    async def _clear(self) -> None:
        """Go on trying to remove what could not be removed: an engine that was away or hung comes back."""
        while self._leftovers:
            await asyncio.sleep(_LONG_PAUSE_S)
            for name in sorted(self._leftovers):
                if (await self._remove(name))[0] is None:
                    self._leftovers.discard(name)
                    _log.info("container_cleared", container=name)


async def _read(output: AsyncIterator[tuple[bool, bytes]], capture: Capture | Collected) -> None:
    async for is_error, data in output:
        capture.feed("stderr" if is_error else "stdout", data)


async def _unless_stopped(attempt: _Attempt, work: Coroutine[Any, Any, None]) -> None:
    """Do something that can be dropped at any time. Raises _Stopped when the attempt was stopped meanwhile."""
    task = asyncio.ensure_future(work)
    stopped = asyncio.ensure_future(attempt.wake.wait())
    try:
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
        if attempt.stopped_as is not None:
            raise _Stopped
        await task
    finally:
        task.cancel()
        stopped.cancel()
        await asyncio.gather(task, stopped, return_exceptions=True)


def _report(attempt: _Attempt, code: int, seen: dict[str, Any]) -> Report:
    """Return the report of a container that has ended with `code`; `seen` is what the engine says of it."""
    lease = attempt.lease
    if attempt.signals:
        return replace(_stopped(attempt), exit_code=code)
    if code == 0:
        return Report(job=lease.job, attempt=lease.attempt, outcome=Outcome.SUCCEEDED, exit_code=0)
    if seen["State"].get("OOMKilled"):
        error = Failure("OutOfMemory", "its container used more memory than it may, and was ended")
        return Report(job=lease.job, attempt=lease.attempt, outcome=Outcome.OUT_OF_MEMORY, error=error, exit_code=code)
    error = exit_failure(code << 8, attempt.capture)
    return Report(job=lease.job, attempt=lease.attempt, outcome=Outcome.ERRORED, error=error, exit_code=code)


def _stopped(attempt: _Attempt) -> Report:
    assert attempt.stopped_as is not None, "somebody stopped it"
    error = None
    if attempt.stopped_as is Outcome.TIMED_OUT:
        error = timeout_failure(attempt.lease)
    if attempt.stopped_as is Outcome.LOST:
        error = Failure("Lost", "killed with all that its worker ran")
    return Report(job=attempt.lease.job, attempt=attempt.lease.attempt, outcome=attempt.stopped_as, error=error)


def _refused(attempt: _Attempt, wrong: BadContainer | EngineError) -> Report:
    """Return the report of a container that the engine would not have; again it would not want it either, if it is wrong."""
    hopeless = isinstance(wrong, BadContainer) or wrong.status == _BAD_REQUEST
    error = Failure("Image", str(wrong))
    return Report(
        job=attempt.lease.job, attempt=attempt.lease.attempt, outcome=Outcome.ERRORED, error=error, refused=hopeless
    )


def _lost(attempt: _Attempt, why: str, *, charged: bool) -> Report:
    lease, error = attempt.lease, Failure("Lost", why)
    return Report(job=lease.job, attempt=lease.attempt, outcome=Outcome.LOST, error=error, charged=charged)


def _proof(attempt: _Attempt, now: float, survivors: list[int]) -> Proof:
    took_s = round(now - attempt.stopped_at, 6) if attempt.stopped_as is not None else 0.0
    return Proof(signals=attempt.signals, processes=int(attempt.started), survivors=survivors, took_s=took_s)
