"""Traces, in OpenTelemetry's terms: who submitted a job, and how each attempt of it went.

A server and its workers export spans when the environment asks for it by OpenTelemetry's own variables
(`OTEL_TRACES_EXPORTER`, `OTEL_EXPORTER_OTLP_ENDPOINT` ...) and the extra `rota[otel]` is installed. Otherwise nothing of
OpenTelemetry is imported here, and jobs carry on what their submitters named (`traceparent`, W3C Trace Context).

An attempt that starts at once is a child of the span that submitted its job. One that starts later (delayed, scheduled, a
retry) begins a trace of its own, with a link: a trace that goes on for days is of no use to anybody.

What spans tell of messages follows OpenTelemetry's conventions for messaging; the rest begins with `rota.`.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rota import log
from rota.core.jobs import Job, Lease, Report
from rota.core.states import Outcome
from rota.core.traces import read_traceparent

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

_FINE = frozenset({Outcome.SUCCEEDED, Outcome.SNOOZED, Outcome.INTERRUPTED})
_LAST_S = 2.0
_MOST_IN_A_STATUS = 300  # characters of an error's message
_log = log.get("tracing")
_provider: TracerProvider | None = None
_inside: ContextVar[str | None] = ContextVar("rota_span", default=None)


def is_on() -> bool:
    """Say whether this process exports spans."""
    return _provider is not None


def set_up(service: str, environ: Mapping[str, str] = os.environ) -> None:
    """Begin to export spans, under the name `service` unless the environment has another one, if it asks for spans."""
    global _provider  # noqa: PLW0603  # one a process, as the log is
    exporter = _exporter(environ)
    if exporter is None:
        return
    from importlib.metadata import entry_points

    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        _log.warning("traces_not_installed")
        return
    found = next(iter(entry_points(group="opentelemetry_traces_exporter", name=exporter)), None)
    if found is None:
        _log.warning("traces_unknown", exporter=exporter)
        return
    named = environ.get("OTEL_SERVICE_NAME") or "service.name=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    resource = Resource.create({} if named else {"service.name": service})
    _provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    _provider.add_span_processor(BatchSpanProcessor(found.load()()))


def shut_down() -> None:
    """Export what waits, and no more; a collector that does not answer is waited for a moment only."""
    global _provider  # noqa: PLW0603
    if _provider is not None:
        last = threading.Thread(target=_provider.shutdown, daemon=True)
        last.start()
        last.join(_LAST_S)
        _provider = None


def _exporter(environ: Mapping[str, str]) -> str | None:
    """Return the name of the exporter that the environment asks for, as OpenTelemetry's packages announce it."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    endpoint = environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    name = environ.get("OTEL_TRACES_EXPORTER", "").strip() or ("otlp" if endpoint else "none")
    if name != "otlp":
        return None if name == "none" else name
    protocol = environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") or ""
    return "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"


def current() -> str | None:
    """Return the name of the span that is active here: in the program's own OpenTelemetry, if it has that; else the
    attempt's in which this runs, by `enter` or by the environment. Imports nothing.
    """
    trace = sys.modules.get("opentelemetry.trace")
    active = None if trace is None else _name_of(trace.get_current_span())
    return active or _inside.get() or read_traceparent(os.environ.get("TRACEPARENT", ""))


def prepare(environ: Mapping[str, str] = os.environ) -> None:
    """Import what `enter` needs, where it will be needed: a process that is forked from this one need not."""
    if _exporter(environ) is not None or "opentelemetry.trace" in sys.modules:
        _propagator()


def enter(traceparent: str | None) -> None:
    """Make a span the active one of this task, or of this process; in OpenTelemetry too, if it is installed. None: none."""
    if traceparent is None and _inside.get() is None:
        return
    _inside.set(traceparent)
    if _propagator() is not None:
        from opentelemetry.context import attach

        attach(_parent(traceparent))


class Submitting:
    """The span of a submission, as a context. `traceparent` is what its jobs carry on: the span, or what `given` names."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, given: str | None) -> None:
        self.traceparent = None if given is None else read_traceparent(given)
        self._span: Span | None = None

    def __enter__(self) -> Self:
        if _provider is not None:
            from opentelemetry.trace import SpanKind

            attributes = {
                "messaging.system": "rota",
                "messaging.operation.type": "send",
                "messaging.operation.name": "submit",
            }
            parent = _parent(self.traceparent)
            self._span = _tracer(_provider).start_span("submit", parent, SpanKind.PRODUCER, attributes)
            self.traceparent = _name_of(self._span)
        return self

    def submitted(self, jobs: Sequence[Job]) -> None:
        """Say which jobs there are now."""
        if self._span is not None and jobs:
            queues = {job.queue for job in jobs}
            if len(queues) == 1:
                self._span.update_name(f"submit {jobs[0].queue}")
                self._span.set_attribute("messaging.destination.name", jobs[0].queue)
            if len(jobs) == 1:
                self._span.set_attribute("messaging.message.id", jobs[0].id)
            else:
                self._span.set_attribute("messaging.batch.message_count", len(jobs))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._span is not None:
            if error is not None:
                _fail(self._span, type(error).__name__, str(error))
            self._span.end()


class Running:
    """The span of an attempt on a worker, from its claim on. `traceparent` is its name."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, worker: str, lease: Lease) -> None:
        """Begin it: as a child of the span that the lease names, or with a link to it."""
        from opentelemetry.trace import Link, SpanKind, get_current_span

        assert _provider is not None, "spans are asked for only where they are exported"
        link = None if lease.trace_link is None else _context_of(lease.trace_link)
        self._span = _tracer(_provider).start_span(
            f"run {lease.handler or lease.kind}",
            _parent(lease.traceparent),
            SpanKind.CONSUMER,
            _attributes(worker, lease),
            links=[] if link is None else [Link(get_current_span(link).get_span_context())],
        )
        self.traceparent = _name_of(self._span)

    def ended(self, report: Report) -> None:
        """End it as its report says."""
        error = report.error
        self._span.set_attribute("rota.outcome", report.outcome.value)
        if report.exit_code is not None:
            self._span.set_attribute("process.exit.code", report.exit_code)
        if report.outcome not in _FINE:
            _fail(self._span, error.type if error else report.outcome.value, error.message if error else "")
        self._span.end()


def _attributes(worker: str, lease: Lease) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "messaging.system": "rota",
        "messaging.operation.type": "process",
        "messaging.operation.name": "run",
        "messaging.destination.name": lease.queue,
        "messaging.message.id": lease.job,
        "messaging.client.id": worker,
        "rota.attempt": lease.attempt,
        "rota.kind": lease.kind,
        "rota.owner": lease.owner,
    }
    if lease.handler is not None:
        attributes["rota.handler"] = lease.handler
    if lease.first is not None:
        attributes |= {"rota.array.first": lease.first, "messaging.batch.message_count": len(lease.inputs)}
    return attributes


def _fail(span: Span, kind: str, message: str) -> None:
    from opentelemetry.trace import StatusCode

    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR, message[:_MOST_IN_A_STATUS] or kind)


@cache
def _tracer(provider: TracerProvider) -> Any:
    from importlib.metadata import version

    return provider.get_tracer("rota", version("rota"))


def _name_of(span: Span) -> str | None:
    named = span.get_span_context()
    return f"00-{named.trace_id:032x}-{named.span_id:016x}-{named.trace_flags:02x}" if named.is_valid else None


def _parent(traceparent: str | None) -> Context:
    """Return a context in which this span, or none, is the active one, whatever is active here."""
    from opentelemetry.context import Context

    return (traceparent and _context_of(traceparent)) or Context()


def _context_of(traceparent: str) -> Context | None:
    """Return a context in which a span of this name is the active one; None where there is no OpenTelemetry."""
    propagator = _propagator()
    if propagator is None:
        return None
    context: Context = propagator.extract({"traceparent": traceparent})
    return context


@cache
def _propagator() -> Any:
    try:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    except ImportError:
        return None
    return TraceContextTextMapPropagator()
