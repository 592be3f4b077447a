"""/metrics, and what is made of it: the documents' table, the dashboard and the alerts name what is there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from rota.core.states import Outcome, State
from rota.http.metrics import MAX_QUEUES, OTHERS, Metrics
from rota.service.observer import Step
from rota.service.service import Stats

from .live import Live

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
MODES = ("process", "async")
STEPS = get_args(Step)
ADDED = {"job", "instance", "le"}  # labels that Prometheus adds
WITH_SERIES = re.compile(r"(\b(?:rota_[a-z_]+|up)\b)(?:\{([^}]*)\})?")

Samples = dict[str, list[dict[str, str]]]  # by the names of series, the labels of each


def read(text: str) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


@pytest.fixture(scope="module")
def figures(live: Live) -> str:
    """Return what a server says that has seen an abort, and has jobs that wait."""
    live.submit(handler="counted", queue="figures")
    worker = live.worker("counted")
    (lease,) = live.claim(worker)
    live.client.post(f"/v1/jobs/{lease['job']}/abort")
    live.report(worker, lease, "aborted")
    live.submit(handler="nobody-offers-this", queue="figures")  # without a job that waits there is no age of the oldest
    answer = live.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return answer.text


def value(text: str, series: str) -> float:
    return float(next(line for line in text.splitlines() if line.startswith(series + " ")).split()[-1])


def test_what_has_happened_is_counted(figures: str) -> None:
    assert value(figures, 'rota_queue_depth{queue="figures",state="aborted"}') == 1
    assert value(figures, "rota_abort_seconds_count") == 1
    assert value(figures, 'rota_jobs_finished_total{state="aborted"}') == 1
    assert value(figures, 'rota_attempts_total{outcome="aborted"}') == 1
    assert value(figures, "rota_jobs_submitted_total") == 2
    assert value(figures, 'rota_signals{mode="local"}') == 1
    for operation in ("submit", "claim", "settle"):
        assert value(figures, f'rota_store_seconds_count{{operation="{operation}"}}') >= 1
        assert value(figures, f'rota_store_seconds_bucket{{le="+Inf",operation="{operation}"}}') >= 1


def test_no_label_has_values_without_bound(figures: str) -> None:
    samples = read(figures)
    labels = {label for series in samples.values() for each in series for label in each}
    assert labels == {"state", "queue", "outcome", "step", "result", "operation", "mode", "version", "le"}
    assert {each["outcome"] for each in samples["rota_attempts_total"]} == {outcome.value for outcome in Outcome}
    assert not [name for name in samples if name.endswith("_created")]


def test_queues_beyond_the_fullest_are_shown_together() -> None:
    counts = dict.fromkeys((state.value for state in State), 0)
    many = {f"q{n}": counts | {"queued": n, "succeeded": 10**6 - n} for n in range(MAX_QUEUES + 3)}
    oldest = {"q0": 5_000_000, "q1": 7_000_000, f"q{MAX_QUEUES}": 9_000_000}
    stats = Stats(
        now=10_000_000, jobs=counts, queues=many, oldest_ready=oldest, workers=0, slots=0, running=0, signals="local"
    )
    text = Metrics().render(stats, []).decode()
    samples = read(text)
    assert {each["queue"] for each in samples["rota_queue_depth"]} == {f"q{n}" for n in range(3, MAX_QUEUES + 3)} | {
        OTHERS
    }
    assert value(text, f'rota_queue_depth{{queue="{OTHERS}",state="queued"}}') == 0 + 1 + 2
    assert value(text, f'rota_oldest_ready_age_seconds{{queue="{OTHERS}"}}') == 5


def test_a_fault_of_the_server_and_of_upkeep_is_counted(
    fresh: Live, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("rota.http.routes.admin.stats_view", broken)
    with caplog.at_level("ERROR"):
        answer = fresh.client.get("/v1/stats", headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})
    assert answer.status_code == 500 and "GET /v1/stats failed" in caplog.text
    assert value(fresh.client.get("/metrics").text, "rota_request_failures_total") == 1
    metrics = Metrics()
    metrics.step_failed("promote")
    metrics.workers_lost(2)
    metrics.hook_called("gave_up")
    stats = fresh.run(fresh.service.stats())
    text = metrics.render(stats, []).decode()
    assert value(text, 'rota_upkeep_failures_total{step="promote"}') == 1
    assert value(text, 'rota_hook_tries_total{result="gave_up"}') == 1 and value(text, "rota_workers_lost_total") == 2


def test_whatever_step_of_upkeep_fails_is_counted(fresh: Live) -> None:
    upkeep, metrics = fresh.service.upkeep, Metrics()
    steps = upkeep._steps(fresh.run(upkeep._store.read(upkeep._look)))
    assert sorted([*steps, "look", "signals"]) == sorted(STEPS)
    for step in STEPS:
        metrics.step_failed(step)
    text = metrics.render(fresh.run(fresh.service.stats()), []).decode()
    assert [value(text, f'rota_upkeep_failures_total{{step="{step}"}}') for step in STEPS] == [1] * len(STEPS)


def test_the_documents_tell_of_every_figure_and_of_no_other(figures: str) -> None:
    exported = dict(re.findall(r"^# TYPE (\w+) (\w+)$", figures, re.MULTILINE))
    rows = re.findall(
        r"^\| `(rota_\w+)(?:\{(.*)\})?` \| (\w+) \|", (ROOT / "docs" / "telemetry.md").read_text("utf-8"), re.MULTILINE
    )
    assert {name: kind for name, _, kind in rows} == exported
    samples = read(figures)
    for name, labels, _ in rows:
        series = samples.get(name) or samples[f"{name}_bucket"]
        assert set(filter(None, labels.split(","))) == {label for each in series for label in each} - {"le"}, name


def expressions() -> Iterator[tuple[str, str]]:
    """Return what the dashboard and the rules ask Prometheus: where, and the expression."""
    board = json.loads((ROOT / "deploy" / "grafana" / "rota.json").read_text("utf-8"))
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


def test_the_dashboard_and_the_alerts_ask_for_what_is_there(figures: str) -> None:
    samples = read(figures) | {"up": [{}]}
    for where, expression in expressions():
        asked = WITH_SERIES.findall(expression)
        assert asked, where
        known = set(ADDED)
        for name, matchers in asked:
            assert name in samples, f"{where}: there is no {name}"
            values = {label: {each[label] for each in samples[name] if label in each} for label in samples[name][0]}
            known |= set(values)
            for label, operator, wanted in re.findall(r'(\w+)(=~|!=|=)"([^"]*)"', matchers):
                assert label in known, f"{where}: {name} has no label {label}"
                if label in ("job", "queue", "mode"):
                    continue
                for one in wanted.split("|") if operator == "=~" else [wanted]:
                    assert one in values[label], f"{where}: {name} has no {label} {one}"
        for by in re.findall(r"\bby \(([^)]*)\)", expression):
            assert {label.strip() for label in by.split(",")} <= known, f"{where}: by {by}"


def test_panels_have_places_of_their_own() -> None:
    board = json.loads((ROOT / "deploy" / "grafana" / "rota.json").read_text("utf-8"))
    places = [panel["gridPos"] for panel in board["panels"]]
    cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in board["panels"]}) == len(places)


@pytest.fixture
def promtool() -> str:
    path = shutil.which("promtool")
    if path is None:
        assert not os.environ.get("CI"), "CI has promtool: see .ci/run"
        pytest.skip("needs promtool (Debian's package prometheus)")
    return path


def test_prometheus_understands_the_files_and_the_alerts_fire_when_they_should(promtool: str, tmp_path: Path) -> None:
    for command in (["check", "config", "prometheus.yml"], ["test", "rules", "rules.test.yml"]):
        done = subprocess.run([promtool, *command], cwd=RULES.parent, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
    plain = [expression.replace("$__rate_interval", "5m").replace("$", "") for _, expression in expressions()]
    rules = [{"record": f"rota:{n}", "expr": expression} for n, expression in enumerate(plain)]
    (tmp_path / "all.yml").write_text(json.dumps({"groups": [{"name": "all", "rules": rules}]}))
    done = subprocess.run(
        [promtool, "check", "rules", tmp_path / "all.yml"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tried() -> None:
    tried = (RULES.parent / "rules.test.yml").read_text("utf-8")
    for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"]:
        assert [rule["alert"] for rule in group["rules"] if rule["alert"] not in tried] == []


def test_slots_are_counted_by_what_they_are_for(fresh: Live) -> None:
    handlers = [{"name": "p"}, {"name": "a", "mode": "async"}]
    worker = fresh.worker(handlers=handlers, slots=2, async_slots=100)
    fresh.worker(handlers=handlers, slots=3, async_slots=100, max_jobs=2)
    for handler in ("p", "a", "a"):
        fresh.submit(handler=handler)
    free = {"process": 2, "asynchronous": 100, "total": 102}
    assert len(fresh.client.post(f"/v1/workers/{worker}/claim", json={"free": free}).json()["leases"]) == 3
    text = fresh.client.get("/metrics").text
    slots = {(s, m): value(text, f'rota_slots{{mode="{m}",state="{s}"}}') for s in ("used", "free") for m in MODES}
    assert slots == {("used", "process"): 1, ("free", "process"): 3, ("used", "async"): 2, ("free", "async"): 100}
    fresh.client.post(f"/v1/workers/{worker}/drain")
    assert value(fresh.client.get("/metrics").text, 'rota_slots{mode="async",state="free"}') == 2
