"""The running half of `rota map`: signals, what is said on stderr, and the exit code."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress

import click
from msgspec import Raw

from rota.cli.joblog import JobLog
from rota.cli.main import BROKEN_PIPE, DONE, INTERRUPTED, JOB_FAILED
from rota.cli.map_options import Options, print_commands
from rota.cli.printing import Bar, Printer, Results
from rota.client.views import Result
from rota.settings import Settings
from rota.wiring.mapping import Plan, Run
from rota.wiring.ownership import Standing

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def dry_run(options: Options, inputs: Raw | list[str], settings: Settings) -> int:
    """Print the commands of the inputs that a resumed run would not leave out."""
    session = _Session(options, settings)
    print_commands(options.command, await session.run_of(inputs).remaining())
    return DONE


async def run(options: Options, inputs: Raw | list[str], settings: Settings) -> int:
    """Run all inputs, and return the exit code."""
    return await _Session(options, settings).run(inputs)


class _Session:
    """One run, from its first line of output to its exit code."""

    def __init__(self, options: Options, settings: Settings) -> None:
        self._options = options
        self._settings = settings
        self._results: Results | None = None
        self._printer: Printer | None = None
        self._run: Run | None = None
        self._job: str | None = None
        self._ended_by: int | None = None  # the first signal
        self._quiet = False
        self._task: asyncio.Task[Standing | None] | None = None

    def run_of(self, inputs: Raw | list[str]) -> Run:
        """Return the run of these inputs."""
        options = self._options
        plan = Plan(
            command=options.command, inputs=inputs, slots=options.slots, halt=options.halt, timeout=options.timeout,
            retries=options.retries, keep_order=options.keep_order, resume=options.resume,
            parallel=options.slots if options.slots_given and self._settings.server is not None else None,
        )  # fmt: skip
        return Run(plan, self._settings, self, self._begun)

    async def run(self, inputs: Raw | list[str]) -> int:
        """Run, obey signals, and return the exit code."""
        loop = asyncio.get_running_loop()
        self._run = self.run_of(inputs)
        self._task = asyncio.create_task(self._whole(self._run))
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            standing = await self._task
        except asyncio.CancelledError:
            return self._code_of_signal()
        if self._results is not None and not self._quiet:
            self._results.close()
        return self._end(standing)

    async def _whole(self, run: Run) -> Standing | None:
        standing = await run.run()
        if self._printer is not None:
            await self._printer.finish()
        return standing

    def put(self, results: Sequence[Result]) -> None:
        """Have results written."""
        assert self._printer is not None, "the run has begun"
        self._printer.put(results)

    async def room(self) -> None:
        """Wait until more may come."""
        if self._printer is not None:
            await self._printer.room()

    def _begun(self, count: int, job: str | None) -> None:
        self._job = job
        if self._printer is None:
            options = self._options
            joblog = None if options.joblog is None else JobLog(options.joblog, append=options.resume is not None)
            bar = Bar(count) if options.bar or os.isatty(2) else None
            self._results = Results(options.command, as_json=options.as_json, joblog=joblog, bar=bar)
            self._printer = Printer(self._results, self._nobody_reads)

    def _nobody_reads(self) -> None:
        """End quietly, as a program that SIGPIPE ended: `rota map … | head`."""
        self._quiet = True
        self._stop(signal.SIGPIPE)

    def _on_signal(self, number: int) -> None:
        if self._ended_by is None:
            self._say("stopping what runs; again to end at once")
        self._stop(number)

    def _stop(self, number: int) -> None:
        """Abort the run, and end it at once when it is asked for again, or when there is nothing to abort yet."""
        assert self._task is not None
        assert self._run is not None
        first = self._ended_by is None
        self._ended_by = self._ended_by or number
        if not first or not self._run.stop():
            self._task.cancel()

    def _end(self, standing: Standing | None) -> int:
        """Say what is worth saying, and return the exit code."""
        if standing is None:
            return DONE
        if self._ended_by is not None:
            unproven = "" if standing.confirmed else "; its worker was lost, nobody saw its processes end"
            self._say(f"stopped after {standing.done:,} of {standing.inputs:,} inputs{unproven}; --resume goes on")
            return self._code_of_signal()
        if standing.state == "succeeded":
            return DONE
        if standing.state != "failed":
            self._say(f"job {standing.id} was {standing.state} from elsewhere")
        else:
            self._say(f"{standing.error}; --resume-failed runs those again (job {standing.id})")
        return JOB_FAILED

    def _code_of_signal(self) -> int:
        if self._ended_by == signal.SIGPIPE:
            return BROKEN_PIPE
        return INTERRUPTED if self._ended_by in (None, signal.SIGINT) else 128 + (self._ended_by or 0)

    def _say(self, text: str) -> None:
        if not self._quiet:
            with suppress(OSError):
                click.echo(f"rota map: {text}", err=True)
