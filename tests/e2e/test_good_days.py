"""Real processes on good days: results, retries, delays, dependencies, scripts, logs, hooks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from tests.e2e.conftest import Server, wait_for

Serve = Callable[..., Server]
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """Refuse the first call of each id, accept the second."""
    calls: list[tuple[dict[str, str], bytes]] = []
    seen: set[str] = set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            first = self.headers["webhook-id"] not in seen
            seen.add(self.headers["webhook-id"])
            calls.append(({k.lower(): v for k, v in self.headers.items()}, body))
            self.send_response(503 if first and b"job.succeeded" in body else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook", calls
    server.shutdown()
    server.server_close()
    thread.join()


def test_one_server_many_kinds_of_jobs(serve: Serve) -> None:
    server = serve()
    assert server.wait(server.submit("add", {"a": 2, "b": 3}))["result"] == 5
    assert server.wait(server.submit("aadd", args=[2], data=3))["result"] == 5
    assert server.wait(server.submit("add", "positional"))["state"] == "failed"
    failed = server.wait(server.submit("fail", {"message": "broken"}))
    assert (failed["reason"], failed["error"]["type"], failed["error"]["message"]) == ("error", "ValueError", "broken")
    assert "Traceback" in failed["error"]["traceback"]
    flaky = server.wait(server.submit("flaky", retries=2, backoff={"base": 0.05}))
    assert (flaky["state"], flaky["result"], flaky["failures"], flaky["attempt"]) == ("succeeded", 3, 2, 3)
    delayed = server.wait(server.submit("add", {"a": 1}, delay="700ms"))
    waited = datetime.fromisoformat(delayed["started_at"]) - datetime.fromisoformat(delayed["submitted_at"])
    assert 0.7 <= waited.total_seconds() < 1.7
    late = server.wait(server.submit("note", {"path": "/dev/null", "seconds": 60}, timeout=0.3, grace=0.2))
    assert (late["state"], late["reason"]) == ("failed", "timed_out")


def test_dependents_run_after_all_that_they_wait_for(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    path = str(tmp_path / "order")
    bulk = [
        {"handler": "note", "data": {"path": path, "text": "last"}, "after": ["a", "b"], "ref": "c"},
        {"handler": "note", "data": {"path": path, "text": "first", "seconds": 0.1}, "ref": "a"},
        {"handler": "note", "data": {"path": path, "text": "second"}, "after": ["a"], "ref": "b"},
    ]
    jobs = [job["id"] for job in server.post("/v1/jobs/bulk", bulk, 201)["items"]]
    assert server.wait(jobs[0])["state"] == "succeeded"
    assert (tmp_path / "order").read_text().split() == ["first", "second", "last"]
    parent = server.submit("fail")
    child = server.submit("add", {"a": 1}, after=[parent])
    assert (server.wait(child)["state"], server.wait(child)["reason"]) == ("canceled", "dependency")


def test_a_script_runs_in_a_clean_environment_and_is_heard(serve: Serve) -> None:
    server = serve(environ={"ROTA_TOKEN": "secret-token", "MY_SECRET": "secret-word"})
    body = {"script": "echo hello {{who}}; env; echo oops >&2; exit 3", "variables": {"who": "the world's end"}}
    over = server.wait(server.post("/v1/jobs", body, 201)["id"])
    assert (over["state"], over["error"]["type"]) == ("failed", "exit")
    assert "3" in over["error"]["message"]
    chunks = server.get(f"/v1/jobs/{over['id']}/logs")["items"]
    out = "".join(chunk["text"] for chunk in chunks if chunk["stream"] == "stdout")
    assert out.startswith("hello the world's end\n")
    assert f"ROTA_JOB_ID={over['id']}" in out and "secret" not in out
    assert "".join(chunk["text"] for chunk in chunks if chunk["stream"] == "stderr") == "oops\n"


def test_logs_and_progress_are_seen(serve: Serve) -> None:
    server = serve()
    over = server.wait(server.submit("talk"))
    assert over["progress"] == {"fraction": 1.0, "message": "step 4"}
    chunks = server.get(f"/v1/jobs/{over['id']}/logs")["items"]
    assert "".join(c["text"] for c in chunks if c["stream"] == "stdout") == "".join(f"line {n}\n" for n in range(5))
    assert "the end" in "".join(c["text"] for c in chunks if c["stream"] == "log")


def test_hooks_are_signed_tried_again_and_recorded(
    serve: Serve, receiver: tuple[str, list[tuple[dict[str, str], bytes]]]
) -> None:
    url, calls = receiver
    server = serve(environ={"ROTA_HOOK_SECRET": SECRET})
    job = server.submit("tell", hook=url)
    assert server.wait(job)["state"] == "succeeded"
    wait_for(lambda: len(calls) >= 3, "the call from the handler, the end, and the end once more", 15)
    for headers, body in calls:
        Webhook(SECRET).verify(body, headers)
    kinds = [json.loads(body)["type"] for _, body in calls]
    assert sorted(kinds) == ["job.called", "job.succeeded", "job.succeeded"]
    wait_for(
        lambda: all(d["done_at"] for d in server.get(f"/v1/jobs/{job}/deliveries")["items"]),
        "both are recorded as done",
    )
    tries = {d["id"]: d["tries"] for d in server.get(f"/v1/jobs/{job}/deliveries")["items"]}
    assert sorted(t if isinstance(t, int) else len(t) for t in tries.values()) == [1, 2]


def test_reload_takes_up_changed_handlers_and_survives_broken_ones(serve: Serve, tmp_path: Path) -> None:
    module = tmp_path / "changing.py"
    text = "import rota\napp = rota.App()\n@app.handler\ndef version():\n    return {}\n"
    module.write_text(text.format(1))
    server = serve("--app", "changing:app", "--workers", "1", "--reload")
    assert server.wait(server.submit("version"))["result"] == 1
    module.write_text("this is no Python\n")
    wait_for(lambda: any("reload_failed" in line for line in server.lines), "it says what is wrong")
    module.write_text(text.format(2))
    wait_for(lambda: server.wait(server.submit("version"))["result"] == 2, "the new code runs")


def test_a_script_that_is_waited_for_comes_out_where_it_would(serve: Serve, tmp_path: Path) -> None:
    server = serve("--workers", "1")
    command = [sys.executable, "-m", "rota", "script", "-", "--var", "who=you & me", "--server", server.url, "--wait"]
    text = "echo hello {{who}}; echo oops >&2; exit 3"
    done = subprocess.run(command, input=text, capture_output=True, text=True, cwd=tmp_path, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (1, "hello you & me\n")
    assert "oops\n" in done.stderr and "exit code 3" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can read the environment of what has hidden itself")
def test_the_workers_of_a_server_never_had_its_secrets(serve: Serve) -> None:
    server = serve("--workers", "1", environ={"ROTA_TOKEN": "of-nobody-else"})
    wait_for(server.worker_pids, "the worker")
    shown = {process.pid: Path(f"/proc/{process.pid}/environ").read_bytes() for process in server.family()}
    assert len(shown) > 2
    assert [pid for pid, environ in shown.items() if b"of-nobody-else" in environ] == [server.process.pid]
