"""Where a check takes place: a server with a store of its own, faults in front of it, and the worker's process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Raw

from rota.client.hook_targets import LOOPBACK, Targets
from rota.client.hooks import HookSender
from rota.core.jobs import Job, Report, Submission
from rota.core.states import FINAL, Outcome, State
from rota.http.app import create_app
from rota.http.server import HttpServer
from rota.service.service import Service
from rota.store.sqlite.store import SqliteStore
from rota.wiring.check_worker.faults import CLAIM, REGISTER, Call, Faults

T = TypeVar("T")

LEASE_S = 4.0
START_S = 20.0  # how long a worker may take from its start to its registration
PATIENCE_S = 15.0  # for what has no time of its own: the machine may be busy
GRACE_S = 2.0
ECHO, SLEEP, FAIL = "rota.check.echo", "rota.check.sleep", "rota.check.fail"
_POLL_S = 0.02
_KILLED_S = 5.0


class Failed(Exception):
    """A check has failed: what was expected, and what was seen instead."""

    def __init__(self, expected: str, seen: str) -> None:
        super().__init__(f"expected {expected}; {seen}")
        self.expected = expected
        self.seen = seen


class Skipped(Exception):
    """A check does not concern this worker; the text says why."""


class Ground:
    """A private server, with `folder` for its own. `patience_s` is for what has no time of its own."""

    def __init__(self, folder: Path, *, lease_s: float = LEASE_S, patience_s: float = PATIENCE_S) -> None:
        self.folder = folder
        self.lease_s = lease_s
        self.patience_s = patience_s
        self.faults = Faults()
        self._port = 0

    async def open(self) -> None:
        """Start the server, again on the same port and store if it ran before."""
        self.store = SqliteStore(self.folder / "rota.db")
        await self.store.open()
        self._sender = HookSender(Targets(LOOPBACK))
        self.service = Service(self.store, sender=self._sender, lease_s=self.lease_s)
        self.faults.app = create_app(self.service)
        self._http = HttpServer(self.service, self.faults, port=self._port)
        self._port = self._http.port
        self.url = self._http.url
        await self.service.start()
        await self._http.start()

    async def close(self) -> None:
        """Stop the server; the store stays."""
        self.faults.clear()
        await self._http.stop()
        await self.service.stop()
        await self._sender.close()
        await self.store.close()

    async def submit(self, handler: str, data: Any = None, **fields: Any) -> str:
        """Submit a job for a handler (None: `fields` say what runs) and return its id."""
        job = await self.service.jobs.submit(
            Submission(handler=handler or None, data=Raw(json.dumps(data).encode()), grace=GRACE_S, **fields)
        )
        return job.id

    async def job(self, job: str) -> Job:
        """Return a job."""
        return await self.service.jobs.get(job)

    async def over(self, job: str, state: State, *, within_s: float | None = None, attempts: int | None = None) -> Job:
        """Wait until a job is over. Raises Failed unless it is in this state then, after so many attempts."""
        within_s = self.patience_s if within_s is None else within_s
        found = await self.service.jobs.wait(job, within_s)
        if found.state is not state or (attempts is not None and found.attempt != attempts):
            times = "" if attempts is None else f" in {attempts} attempt{'s' * (attempts != 1)}"
            raise Failed(f"a job that is {state}{times} within {within_s:g} s", await self.describe(found))
        return found

    async def describe(self, job: Job) -> str:
        """Say where a job stands."""
        tries = [f"{one.attempt}: {one.outcome or 'running'}" for one in await self.service.jobs.attempts(job.id)]
        error = f", {job.error.type}: {job.error.message[:200]}" if job.error else ""
        return f"it is {job.state}{error} (attempts: {', '.join(tries) or 'none'})"

    async def steal(self, job: str) -> None:
        """Let a running job be over, behind its worker's back."""
        await self._end(job, Outcome.SUCCEEDED)

    async def lose(self, job: str) -> None:
        """End a running job's attempt behind its worker's back, and put the job back into its queue."""
        await self._end(job, Outcome.INTERRUPTED)

    async def _end(self, job: str, outcome: Outcome) -> None:
        found = await self.job(job)
        if found.state is State.RUNNING and found.worker:
            await self.service.work.settle(found.worker, [Report(job=job, attempt=found.attempt, outcome=outcome)])

    async def queued_again_at(self, job: str, within_s: float) -> float:
        """Wait until an attempt of a job has ended and it is waiting again; return when that was (Unix time)."""

        async def ended() -> float | None:
            events = await self.service.jobs.events(job)
            started = [event for event in events if event.kind == "started"]
            after = [event for event in events if started and event.seq > started[0].seq and event.state not in FINAL]
            back = [event for event in after if event.state is not State.RUNNING]
            return back[0].at / 1e6 if back else None

        return await until(ended, within_s, "the lease of a worker that is cut off runs out")


async def until(condition: Callable[[], Awaitable[T | None]], within_s: float, expected: str, seen: str = "") -> T:
    """Return the condition's value once it is true. Raises Failed after `within_s` seconds."""
    deadline = time.monotonic() + within_s
    while not (value := await condition()):
        if time.monotonic() >= deadline:
            raise Failed(expected, seen or f"it did not happen within {within_s:g} s")
        await asyncio.sleep(_POLL_S)
    return value


class Ticks:
    """The file to which `rota.check.sleep` appends a line ten times a second while it runs."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def count(self) -> int:
        """Return how many lines there are."""
        with suppress(FileNotFoundError):
            return self.path.read_bytes().count(b"\n")
        return 0

    def last_at(self) -> float:
        """Return when something was last written (Unix time)."""
        return self.path.stat().st_mtime

    async def running(self, within_s: float) -> None:
        """Wait until something runs that writes: for two more lines."""
        least = self.count() + 2

        async def grown() -> bool | None:
            return self.count() >= least

        await until(grown, within_s, f"{SLEEP} appends a line to data.file every 0.1 s")

    async def silent(self, within_s: float, why: str) -> None:
        """Wait until nothing is written for 0.7 s; Raises Failed when something still is after `within_s` seconds."""
        deadline = time.time() + within_s
        while time.time() - self.last_at() < 0.7:
            if time.time() > deadline + 0.7:
                raise Failed(why, f"it was still running {within_s:g} s later")
            await asyncio.sleep(_POLL_S)


class Worker:
    """The command's process, in a session of its own; what it writes goes to a file."""

    def __init__(self, command: Sequence[str], ground: Ground, slots: int | None) -> None:
        self._command = command
        self._ground = ground
        self._slots = slots
        self._output = ground.folder / "worker.txt"
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        """Return the process, which has been started."""
        assert self._process is not None, "it has not been started"
        return self._process

    async def start(self) -> None:
        """Start the command. Raises Failed."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ROTA_")}
        environment |= {"ROTA_SERVER": self._ground.url, "ROTA_TOKEN": "", "ROTA_DRAIN": "1s"}
        if self._slots is not None:
            environment["ROTA_SLOTS"] = str(self._slots)
        with self._output.open("ab") as output:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *self._command, env=environment, stdin=DEVNULL, stdout=output, stderr=output, start_new_session=True
                )
            except OSError as error:
                raise Failed("a command that can be started", str(error)) from None

    async def registered(self, times: int = 1, within_s: float | None = None) -> Call:
        """Wait until it has registered so often, with success; return that call."""
        within_s = max(START_S, self._ground.patience_s) if within_s is None else within_s
        what = "it registers" if times == 1 else "it registers again"

        async def found() -> Call | None:
            if self.process.returncode is not None:
                raise Failed(what, f"the command ended with status {self.process.returncode}")
            calls = [call for call in self._ground.faults.of(REGISTER) if call.answer and call.answer.status == 201]
            return calls[times - 1] if len(calls) >= times else None

        return await until(found, within_s, f"{what} within {within_s:g} s")

    async def ended(self, within_s: float, why: str) -> int:
        """Wait until the process has ended and return its status. Raises Failed."""
        try:
            return await asyncio.wait_for(self.process.wait(), within_s)
        except TimeoutError:
            raise Failed(why, f"the process still runs {within_s:g} s later") from None

    def terminate(self) -> None:
        """Ask it to end."""
        with suppress(ProcessLookupError):
            self.process.terminate()

    async def kill(self) -> None:
        """End it, politely for a moment and then with its whole session, as far as that can be found."""
        if self._process is None:
            return
        if self.process.returncode is None:
            self.terminate()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.process.wait(), _KILLED_S)
        for pid in _session(self.process.pid):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        await self.process.wait()

    def last_words(self, lines: int = 12) -> list[str]:
        """Return the last lines that the command wrote."""
        with suppress(FileNotFoundError):
            return self._output.read_text(errors="replace").splitlines()[-lines:]
        return []


def leased_to(calls: list[Call], worker: str) -> set[tuple[str, int]]:
    """Return every attempt (job, number) that a worker was ever leased, whether it heard of it or not."""
    given: set[tuple[str, int]] = set()
    for call in calls:
        if call.verb == CLAIM and call.worker == worker and call.done is not None and call.done.status == 200:
            given |= {(lease["job"], lease["attempt"]) for lease in call.done.value["leases"]}
    return given


def _session(leader: int) -> list[int]:
    """Return the processes of a session."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with suppress(OSError, ValueError, IndexError):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == leader:
                    found.append(int(folder.name))
    return found
