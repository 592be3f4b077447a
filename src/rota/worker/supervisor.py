"""One worker's life: it registers, works, registers anew when it was cut off, loads its code again, drains and leaves.

What happens between two registrations stands in `registration`. No user code runs in this process.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from msgspec.structs import replace

from rota import log
from rota.core.checkpoints import CheckpointNote
from rota.core.errors import Invalid, NotFound, RotaError
from rota.core.jobs import HookCall, LogChunk, ProgressNote, Welcome, WorkerHello
from rota.core.retry import Backoff
from rota.worker.contact import Away, Contact
from rota.worker.end import End
from rota.worker.executor import Executor
from rota.worker.queue import WorkQueue
from rota.worker.registration import ANSWER_S, Registration

T = TypeVar("T")

_PAUSES = Backoff(base=0.2, factor=2, limit=5)  # between two tries to register
_GOODBYE_S = 2.0  # how long a worker that stops tries to give back what it holds; the end of its lease does it too
_log = log.get("worker.supervisor")


def monotonic() -> float:
    """Return seconds of a clock that never goes back and, where there is such a one, goes on while the machine sleeps."""
    return time.clock_gettime(_CLOCK)


_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Supervisor:
    """A worker. `hello` says what it offers, `drain_s` how long a drain lets jobs finish; `executor` has been started.

    `clock` is monotonic, in seconds, and `jitter` in [0, 1) spreads retries: both come from outside for the tests. All
    calls belong to one event loop.
    """

    def __init__(
        self,
        queue: WorkQueue,
        executor: Executor,
        hello: WorkerHello,
        *,
        drain_s: float = 10.0,
        clock: Callable[[], float] = monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._queue = queue
        self._executor = executor
        self._hello = hello
        self._drain_s = drain_s
        self._clock = clock
        self._jitter = jitter
        self._contact = Contact(clock)
        self._registration: Registration | None = None
        self._former: Registration | None = None  # ended without a goodbye
        self._draining = False
        self._stopping = False
        self._reload: asyncio.Future[None] | None = None
        self._asked = asyncio.Event()  # to drain, to stop or to reload

    @property
    def draining(self) -> bool:
        """Say whether this process was asked to drain (not whether the server asked for it)."""
        return self._draining

    async def run(self) -> None:
        """Work until asked to stop, then leave. Raises Invalid when the server says that `hello` is wrong."""
        try:
            while not self._draining:
                if self._reload is not None and not await self._load_again():
                    continue
                registration = await self._unless_asked(self._register())
                if registration is not None and await self._work(registration):
                    break
            if self._former is not None:
                await self._say_goodbye(self._former)
        finally:
            self._reloaded()

    def request_drain(self) -> None:
        """Claim no more, give what runs `drain_s` to finish, interrupt the rest, and leave: SIGTERM."""
        self._draining = True
        self._asked.set()
        if self._registration is not None:
            _log.info("draining", running=self._registration.running, patience=f", for at most {self._drain_s:g} s")
            self._registration.drain(self._drain_s)

    def request_stop_now(self) -> None:
        """Kill what runs, give it back, and leave: the second signal."""
        self._draining = self._stopping = True
        self._asked.set()
        if self._registration is not None:
            _log.warning("stopping_now", running=self._registration.running)
            self._registration.stop()

    async def reload(self) -> None:
        """Drain, load the handlers again and register anew; return when that is done, or has failed and was logged.

        After a failure the worker takes no jobs until the next reload.
        """
        if self._reload is None:
            self._reload = asyncio.get_running_loop().create_future()
            self._asked.set()
            if self._registration is not None:
                self._registration.drain(self._drain_s)
        await asyncio.shield(self._reload)

    def on_output(self, item: LogChunk | ProgressNote | HookCall | CheckpointNote) -> None:
        """Take what an attempt has written; for the executor to call, on the event loop."""
        if self._registration is not None:
            self._registration.output.put(item)

    async def _register(self) -> Registration:
        """Make the worker known, however long it takes. Says goodbye under the former registration first."""
        failures = 0
        while True:
            try:
                if self._former is not None:
                    await self._part(self._former)
                    self._former = None
                since = self._clock()
                welcome = await self._contact.ask(self._queue.register(self._hello), ANSWER_S)
                return self._begin(welcome, since)
            except Away:
                pass
            except Invalid:
                raise
            except RotaError as refusal:
                _log.error("registration_refused", error=str(refusal))
            failures += 1
            await asyncio.sleep(_PAUSES.delay_s(failures, self._jitter()))

    def _begin(self, welcome: Welcome, since: float) -> Registration:
        hello = self._hello
        _log.info(
            "registered",
            worker=welcome.worker,
            slots=hello.slots,
            async_slots=hello.async_slots,
            handlers=len(hello.handlers),
        )
        return Registration(
            self._queue,
            self._executor,
            contact=self._contact,
            hello=hello,
            welcome=welcome,
            since=since,
            clock=self._clock,
            jitter=self._jitter,
        )

    async def _work(self, registration: Registration) -> bool:
        """Work under a registration to its end; return whether the worker's life ends with it."""
        self._registration = registration
        if self._asked.is_set():  # just now
            registration.drain(self._drain_s)
        try:
            end = await registration.run()
        finally:
            self._registration = None
        match end:
            case End.DRAINED | End.STOPPED:
                await self._say_goodbye(registration)
                return self._reload is None
            case End.UNKNOWN:
                _log.warning("worker_unknown", worker=registration.id)
            case End.FENCED:
                _log.error("lease_over", worker=registration.id)
                self._former = registration
            case (
                End.BROKEN
            ):  # no goodbye: a job that breaks its executor must be charged for it, as when it kills its worker
                await self._executor.close()
                await self._executor.start()
        return False

    async def _say_goodbye(self, registration: Registration) -> None:
        """Try for a moment to give back what is held; without an answer the server does it when the lease is over."""
        try:
            async with asyncio.timeout(_GOODBYE_S):
                await self._part(registration)
        except (Away, TimeoutError):
            _log.warning("not_left", worker=registration.id)
        else:
            _log.info("left", worker=registration.id)
        self._former = None

    async def _part(self, registration: Registration) -> None:
        """Tell what had ended under a registration, and leave: what is not reported goes back to the queue, uncharged.

        Also when its leases may be over: nothing of it runs, and the server refuses what is not its own any more.
        """
        with suppress(RotaError):
            await self._tell_rest(registration)
            while batch := registration.reports.batch():
                try:
                    await self._contact.ask(self._queue.settle(registration.id, batch), ANSWER_S)
                except NotFound:
                    raise
                except RotaError as refusal:
                    registration.reports.refused(batch, str(refusal))
                    continue
                for report in batch:
                    registration.reports.forget((report.job, report.attempt))
            await self._contact.ask(self._queue.leave(registration.id), ANSWER_S)

    async def _tell_rest(self, registration: Registration) -> None:
        """Tell the output and the ends of inputs that still wait: an input whose end is not told runs again."""
        output = registration.output
        while output.due_in_s() is not None:
            batch = output.batch()
            try:
                await self._contact.ask(batch.tell(self._queue, registration.id), ANSWER_S)
            except NotFound:
                raise
            except RotaError as refusal:
                output.refused(str(refusal))
            else:
                output.told()

    async def _load_again(self) -> bool:
        """Start the executor anew, with fresh code; return whether it has worked, else after the next wish."""
        await self._executor.close()
        try:
            self._hello = replace(self._hello, handlers=await self._executor.start())
        except Exception as error:
            _log.error("reload_failed", error=str(error))
            self._reloaded()
            await self._asked.wait()
            return False
        _log.info("reloading")
        self._reloaded()
        return True

    def _reloaded(self) -> None:
        if self._reload is not None:
            if not self._draining:
                self._asked.clear()
            self._reload.set_result(None)
            self._reload = None

    async def _unless_asked(self, work: Awaitable[T]) -> T | None:
        """Do something that a wish (to drain, stop or reload) ends before its time; None says that one did."""
        task = asyncio.ensure_future(work)
        asked = asyncio.ensure_future(self._asked.wait())
        try:
            await asyncio.wait((task, asked), return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            asked.cancel()
            task.cancel()
            await asyncio.gather(task, asked, return_exceptions=True)
