"""Tracing that is off, or cannot be had; tests/e2e/test_traces.py has it on."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

GIVEN = f"00-{'a' * 32}-{'b' * 16}-01"
ABSENT = "import sys; sys.modules['opentelemetry'] = None\n"  # as if it were not installed


def run(code: str, **environ: str) -> tuple[Any, list[dict[str, Any]]]:
    """Return what a program prints, as JSON, and what it logs."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", **environ},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), [json.loads(line) for line in done.stderr.splitlines()]


def test_nothing_is_imported_where_nobody_asks_for_traces() -> None:
    code = """import json, sys
import rota, rota.wiring.server, rota.wiring.worker, rota.wiring.inside
from rota import tracing
from rota.client import calls
tracing.set_up("here"); tracing.prepare(); tracing.enter(None)
request = calls.submit({"handler": "h"}, "key", dict).request
with tracing.Submitting("00-nonsense") as span: pass
loaded = [m for m in sys.modules if m.startswith("opentelemetry")]
print(json.dumps([*loaded, request.traceparent, span.traceparent, tracing.is_on()]))
"""
    for environ in ({}, {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}):
        assert run(code, **environ) == ([None, None, False], [])
    disabled = {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    assert run(code, **disabled) == ([None, None, False], [])


@pytest.mark.parametrize(
    ("absent", "exporter", "event"),
    [(True, "otlp", "traces_not_installed"), (False, "pigeon", "traces_unknown"), (False, "otlp", None)],
)
def test_what_is_missing_is_said_and_stops_nothing(absent: bool, exporter: str, event: str | None) -> None:
    code = f"""import json
from rota import log, tracing
log.set_up("json")
tracing.set_up("here"); tracing.prepare(); tracing.enter({GIVEN!r}); tracing.enter(None)
print(json.dumps(tracing.is_on()))
tracing.shut_down()
assert not tracing.is_on()
"""
    on, said = run((ABSENT if absent else "") + code, OTEL_TRACES_EXPORTER=exporter)
    assert (on, [line["event"] for line in said]) == (event is None, [] if event is None else [event])


def test_an_attempt_leaves_its_span_when_the_next_one_has_none() -> None:
    code = f"""import json
from opentelemetry import trace
from rota import tracing
seen = []
for name in ({GIVEN!r}, None):
    tracing.enter(name)
    seen.append([tracing.current(), trace.get_current_span().get_span_context().is_valid])
print(json.dumps(seen))
"""
    assert run(code)[0] == [[GIVEN, True], [None, False]]


def test_what_an_attempt_submits_belongs_to_its_trace_also_where_opentelemetry_is_not_installed() -> None:
    code = f"""import json
from rota import tracing
seen = [tracing.current()]
tracing.enter({GIVEN!r})
seen.append(tracing.current())
tracing.enter(None)
print(json.dumps([*seen, tracing.current()]))
"""
    assert run(ABSENT + code)[0] == [None, GIVEN, None]
    script = GIVEN.replace("a", "c")
    assert run(ABSENT + code, TRACEPARENT=script)[0] == [script, GIVEN, script]
    assert run(code, TRACEPARENT="nonsense")[0] == [None, GIVEN, None]
