"""Logs: the code names events, and this is the only place that words them.

`WORDS` holds every event that Rota logs, with its sentence. On a terminal a line is a sentence for people; as JSON it is
one object a line, with the event's name, its fields and the sentence. What other libraries log takes the same road.
Nothing secret is written: see `_hide`. Nothing global changes before a command calls `set_up`: a program that imports
Rota keeps its own logs as they are, and reads our warnings through `logging`. structlog is imported with the first line
that is written: it takes as long as half of a short command, which writes none.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor

WORDS: Mapping[str, str] = {
    # a server
    "server_listening": "listening on {url}, the dashboard on {url}/ui/: store {store}, {workers} workers of its own",
    "store_awaited": "the store {store} is not there: {error}. {url} says that it is not ready; looked for again once a second",
    "no_tokens": "whoever reaches {host} may read, submit and stop every job: no token is asked for. No scripts, no images",
    "no_tls": "tokens and jobs travel in the open to {host}: give the server a certificate (--tls-cert), or a proxy with one",
    "server_draining": "stopping: running jobs get {drain_s:g} s to finish; a second signal ends them at once",
    "server_stopped": "stopped",
    "signals_lost": "hints from other servers do not come; until they do the store is looked at once a second: {error}",
    "upkeep_failed": "the upkeep step {step!r} failed, and is done again: {error}",
    "request_failed": "{method} {path} failed",
    "server_died": "{name}, one of the processes of this server, has ended with status {status}, and is started again",
    "worker_died": "{name} has ended with status {status}, and is started again",
    # traces
    "traces_not_installed": "the environment asks for traces, but OpenTelemetry is missing: pip install 'rota[otel]'",
    "traces_unknown": "the environment asks for traces, but no package brings the exporter {exporter!r}",
    # a worker and its server
    "registered": "registered as {worker}: {slots} slots for processes, {async_slots} for async jobs; {handlers} handlers",
    "server_unreachable": "the server does not answer, trying again: {error}",
    "server_back": "the server answers again after {away_s:.1f} s",
    "registration_refused": "the server refuses the registration, trying again: {error}",
    "worker_unknown": "the server does not know {worker} any more: ended what ran, registering again",
    "lease_over": "no heartbeat of {worker} was answered for so long that its lease may be over: ended what ran",
    "verb_refused": "the server refuses the call {verb!r}: {error}",
    "loop_failed": "the loop {loop!r} failed and goes on",
    # a worker and what its apps declare
    "schedules_deployed": "the schedules of {origin} are deployed: {done}",
    "schedules_older": "the schedules of {origin} were replaced by newer ones, which stay; to go back: "
    "rota schedule deploy --app {origin} --anyway",
    "schedules_not_deployed": "the schedules of {origin} are not deployed: {error}; it is done by: "
    "rota schedule deploy --app {origin}",
    # a worker and its processes
    "keeper_died": "the keeper has died; all that it kept is ended, and it is started again",
    "zygote_died": "the zygote has died with status {status}, and is started again",
    "threads_imported": "importing the handlers has started threads, which its children will not have: {threads}",
    "channel_broken": "what came from process {pid} makes no sense; it is ended: {error}",
    "stray_output": "process {pid} wrote, for no job, to {stream}: {text}",
    # a worker and its container engine
    "engine_missing": "no container engine answers at {engine}: this worker runs no images",
    "engine_unreachable": "the container engine at {engine} cannot be asked what dead workers have left: {error}",
    "engine_without_init": "the container engine at {engine} has no init program: some containers will not hear SIGTERM",
    "containers_swept": "removed {count} containers that dead workers had left: {names}",
    "container_left": "the container {container} may still be there, and is looked after: {error}",
    "container_cleared": "the container {container} is gone now",
    # attempts
    "abort_ordered": "aborting attempt {attempt} of job {job} ({why})",
    "lease_lost": "attempt {attempt} of job {job} is not ours any more: ended it",
    "report_stale": "the report of attempt {attempt} of job {job} changed nothing: the job is {state}",
    "report_refused": "the server refuses the report of attempt {attempt} of job {job}: {error}",
    "output_refused": "the server refuses output of {attempts} attempts, which is dropped: {error}",
    "hook_call_dropped": "a hook call of attempt {attempt} of job {job} is dropped: too many wait for the server",
    "survivors": "processes {pids} of job {job} outlived SIGKILL: this worker takes no more jobs",
    # a worker's end
    "draining": "taking no more jobs; {running} still run{patience}",
    "interrupting": "time is up: interrupting {running} jobs, which go back to the queue",
    "stopping_now": "stopping at once; {running} jobs go back to the queue",
    "left": "{worker} has left",
    "not_left": "{worker} could not say goodbye; the server will give back its jobs when its lease is over",
    "reloading": "the handlers are loaded again",
    "reload_failed": "the handlers do not import; waiting for the next change: {error}",
    "pool_failed": "what runs the jobs has failed and is started again",
}

_SECRET_NAMES = re.compile(r"token|secret|password|passwd|authorization|cookie|api_?key", re.IGNORECASE)
_CREDENTIALS = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@'\"]+@", re.IGNORECASE)
_BEARER = re.compile(r"\b(Bearer|Basic)\s+[^\s'\",]+", re.IGNORECASE)
_STARS = "***"
_OURS = "rota"


class Logger(Protocol):
    """What the code uses of a logger: `event` is a name in `WORDS`, the fields are what its sentence and JSON show."""

    def debug(self, event: str, **fields: Any) -> Any:
        """Log what only a developer asks for."""

    def info(self, event: str, **fields: Any) -> Any:
        """Log what is in order."""

    def warning(self, event: str, **fields: Any) -> Any:
        """Log what heals by itself, or that somebody should look at."""

    def error(self, event: str, **fields: Any) -> Any:
        """Log what somebody must look at."""

    def exception(self, event: str, **fields: Any) -> Any:
        """Log an error with the traceback of the exception that is being handled."""


def get(name: str) -> Logger:
    """Return the logger of a module; it may be made before `set_up`."""
    return _Lazy(logging.getLogger(f"{_OURS}.{name}"))


class _Lazy:
    """Says nothing, at no cost, below the level that is logged; else what structlog makes of it."""

    __slots__ = ("_bound", "_standard")

    def __init__(self, standard: logging.Logger) -> None:
        self._standard = standard
        self._bound: Any = None

    def debug(self, event: str, **fields: Any) -> None:
        self._say(logging.DEBUG, "debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._say(logging.INFO, "info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._say(logging.WARNING, "warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._say(logging.ERROR, "error", event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        self._say(logging.ERROR, "exception", event, fields)

    def _say(self, level: int, method: str, event: str, fields: dict[str, Any]) -> None:
        if self._standard.isEnabledFor(level):
            if self._bound is None:
                self._bound = _bind(self._standard)
            getattr(self._bound, method)(event, **fields)


def _bind(standard: logging.Logger) -> Any:
    import structlog

    if not _PROCESSORS:
        _PROCESSORS[:] = [
            structlog.stdlib.filter_by_level,
            structlog.processors.format_exc_info,
            _word,
            _hide,
            _only_message,
        ]
    return structlog.wrap_logger(standard, processors=_PROCESSORS, wrapper_class=structlog.stdlib.BoundLogger)


def everywhere(**fields: Any) -> None:
    """Give every line of this process these fields too, as JSON shows them."""
    _EVERYWHERE.update(fields)


def set_up(form: str = "auto", level: str = "info", stream: TextIO | None = None) -> None:
    """Send all logs to `stream` (standard error), from `level` on. `form`: `text`, `json`, or `auto`: text on a terminal.

    May be called again. Libraries are heard from `warning` on, unless `level` is `debug`.
    """
    import structlog

    stream = sys.stderr if stream is None else stream
    terminal = stream.isatty()
    as_json = form == "json" or (form == "auto" and not terminal)
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso" if as_json else "%H:%M:%S", utc=as_json, key="at"),
        structlog.processors.format_exc_info,
        _everywhere,
        _word,
        _hide,
    ]
    render: Processor = structlog.processors.JSONRenderer(default=str) if as_json else _Lines(colours=terminal)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    _PROCESSORS[:] = [
        structlog.stdlib.filter_by_level,
        *shared,
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ]
    threshold = logging.getLevelNamesMapping()[level.upper()]
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold if threshold <= logging.DEBUG else max(threshold, logging.WARNING))
    logging.getLogger(_OURS).setLevel(threshold)


def _everywhere(_logger: Any, _method: str, event: EventDict) -> EventDict:
    return {**_EVERYWHERE, **event}


def _word(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Add the event's sentence; what has none (a library's line) is its own."""
    name = str(event.get("event", ""))
    for key, value in event.items():
        if isinstance(value, BaseException):  # many a timeout has no words
            event[key] = str(value) or type(value).__name__
    try:
        event["message"] = WORDS.get(name, name).format_map(event) if name in WORDS else name
    except (KeyError, ValueError, IndexError, TypeError, AttributeError):  # a line is never lost to its wording
        event["message"] = WORDS[name]
    return event


def _hide(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Put stars for what is secret: fields named so, credentials in URLs and headers, wherever they stand."""
    for key, value in event.items():
        event[key] = _STARS if _SECRET_NAMES.search(key) and value is not None else _without_secrets(value)
    return event


def _without_secrets(value: Any) -> Any:
    if isinstance(value, str):
        return _BEARER.sub(rf"\1 {_STARS}", _CREDENTIALS.sub(rf"\1{_STARS}@", value))
    if isinstance(value, Mapping):
        return {k: _STARS if _SECRET_NAMES.search(str(k)) else _without_secrets(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_without_secrets(each) for each in value]
    if isinstance(value, BaseException):
        return _without_secrets(str(value))
    return value


def _only_message(_logger: Any, _method: str, event: EventDict) -> str:
    return str(event["message"])


# Read by every logger, and written by `set_up`. Without it: sentences, to wherever `logging` sends them (`_bind`).
_PROCESSORS: list[Processor] = []
_EVERYWHERE: dict[str, Any] = {}


class _Lines:
    """One line for people: when, how bad, what; then the traceback, if there is one."""

    _COLOURS = {"debug": "2", "warning": "33", "error": "31", "critical": "31"}  # noqa: RUF012  # never written to

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
        level = str(event.get("level", "info"))
        line = f"{event.get('at', '')} {level:<7} {event.get('message', '')}"
        if self._colours and level in self._COLOURS:
            line = f"\x1b[{self._COLOURS[level]}m{line}\x1b[0m"
        trace = event.get("exception")
        return f"{line}\n{trace}" if trace else line
