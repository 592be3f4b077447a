"""Real processes on bad days: what is killed, refused, misconfigured; and every job is accounted for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import Server, gone, wait_for
from tests.processes import PATIENCE_S, started

Serve = Callable[..., Server]


def pids_in(path: Path) -> list[int]:
    def read() -> list[int] | None:
        lines = path.read_text().split() if path.exists() else []
        return [int(line) for line in lines if line != "ready"] if "ready" in lines and len(lines) >= 7 else None

    found: list[int] = wait_for(read, "the tree is up")
    return found


def test_an_abort_ends_the_whole_tree_and_proves_it(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    job = server.submit("tree", {"path": str(tmp_path / "pids")}, grace=0.3)
    pids = pids_in(tmp_path / "pids")
    assert len(pids) == 6 and not gone(pids[:1])
    over = server.post(f"/v1/jobs/{job}/abort?wait=50", status=200)
    assert (over["state"], over["confirmed"], over["reason"]) == ("aborted", True, "requested")
    assert gone(pids)
    (attempt,) = server.get(f"/v1/jobs/{job}/attempts")["items"]
    assert [name for name, _ in attempt["proof"]["signals"]] == ["TERM", "KILL"]
    assert attempt["proof"]["processes"] >= 6
    answer = server.http.post(f"{server.url}/v1/jobs/{job}/abort", json={})
    assert (answer.status_code, answer.json()["state"]) == (409, "aborted")


def test_a_killed_worker_leaves_nothing_and_its_jobs_run_again_within_the_lease(serve: Serve, tmp_path: Path) -> None:
    server = serve("--workers", "2", "--lease", "2")
    job = server.submit("tree", {"path": str(tmp_path / "pids")})
    pids = pids_in(tmp_path / "pids")
    name = server.get(f"/v1/jobs/{job}")["worker"]
    victim = next(w["pid"] for w in server.get("/v1/workers")["items"] if w["id"] == name)
    os.kill(victim, signal.SIGKILL)
    killed = time.monotonic()
    wait_for(lambda: gone(pids), "the tree of the dead worker is gone")
    wait_for(lambda: server.get(f"/v1/jobs/{job}")["attempt"] == 2, "it runs again")
    assert time.monotonic() - killed < 12, "the lease is 2 s here, and 15 s by default"
    found = server.get(f"/v1/jobs/{job}")
    assert (found["failures"], found["crashes"]) == (0, 1)
    wait_for(lambda: len(server.worker_pids()) == 2, "the worker is replaced")
    assert server.post(f"/v1/jobs/{job}/abort?wait=50")["state"] == "aborted"


def test_a_killed_child_is_a_lost_attempt_and_a_poison_job_ends(serve: Serve) -> None:
    server = serve()
    over = server.wait(server.submit("crash", backoff={"base": 0.01, "limit": 0.05}))
    assert (over["state"], over["reason"], over["crashes"], over["failures"]) == ("failed", "lost", 5, 0)


def test_a_killed_server_takes_all_along_and_loses_nothing(serve: Serve, tmp_path: Path) -> None:
    server = serve("--workers", "2", "--lease", "30")
    tree = server.submit("tree", {"path": str(tmp_path / "pids")})
    pids = pids_in(tmp_path / "pids")
    jobs = [server.submit("note", {"path": str(tmp_path / "notes"), "text": str(n)}) for n in range(60)]
    family = [process.pid for process in server.family()]
    server.kill()
    wait_for(lambda: gone(pids + family), "the dead server's family is gone")
    again = serve("--workers", "2", "--lease", "30")
    for job in jobs:
        assert again.wait(job)["state"] == "succeeded"
    texts = (tmp_path / "notes").read_text().split()
    assert sorted(set(texts), key=int) == [str(n) for n in range(60)]
    wait_for(lambda: again.get(f"/v1/jobs/{tree}")["attempt"] == 2, "no lease is waited for: the owner's lock is free")
    assert again.post(f"/v1/jobs/{tree}/abort?wait=50")["state"] == "aborted"


def test_kill_9_of_anything_under_load_accounts_for_every_job(serve: Serve, tmp_path: Path) -> None:
    server = serve("--lease", "2", "--workers", "2")
    keys = [f"key-{n}" for n in range(150)]
    jobs = {}
    for n, key in enumerate(keys):
        handler = ("add", "aadd", "note")[n % 3]
        data = {"path": str(tmp_path / "notes"), "text": key, "seconds": 0.01} if handler == "note" else {"a": n}
        body = {"handler": handler, "data": data}
        jobs[key] = server.post("/v1/jobs", body, 201, headers={"Idempotency-Key": key})["id"]
        if n == 50:
            os.kill(server.worker_pids()[0], signal.SIGKILL)
        if n == 75:
            victims = [p for p in server.family() if p.pid != server.process.pid and p.pid not in server.worker_pids()]
            for victim in reversed(victims):
                with suppress(psutil.NoSuchProcess):  # some come and go by themselves
                    victim.kill()
                    break
        if n == 100:
            server.kill()
            server = serve("--lease", "2", "--workers", "2")
    for key, job in jobs.items():
        over = server.wait(job)
        assert over["state"] == "succeeded", over
        body = {"handler": over["handler"], "data": over["data"]}
        answer = server.http.post(f"{server.url}/v1/jobs", json=body, headers={"Idempotency-Key": key})
        assert (answer.status_code, answer.json()["id"]) == (201, job), "the key is remembered across the crash"
    counts = server.get("/v1/stats")["jobs"]
    assert counts["succeeded"] == len(jobs) and sum(counts.values()) == len(jobs)


def test_a_graceful_stop_gives_back_what_does_not_finish_uncharged(serve: Serve, tmp_path: Path) -> None:
    server = serve("--drain", "0.3")
    quick = server.submit("note", {"path": str(tmp_path / "quick"), "seconds": 0.1})
    slow = server.submit("tree", {"path": str(tmp_path / "pids")}, grace=0.2)
    pids = pids_in(tmp_path / "pids")
    assert server.stop() == 0
    assert gone(pids)
    again = serve()
    assert again.wait(quick)["state"] == "succeeded"
    wait_for(lambda: again.get(f"/v1/jobs/{slow}")["attempt"] == 2, "it runs again at once")
    found = again.get(f"/v1/jobs/{slow}")
    assert (found["failures"], found["crashes"]) == (0, 0)
    assert [e["kind"] for e in again.get(f"/v1/jobs/{slow}/events")["items"]][:4] == [
        "submitted", "started", "interrupted", "started",
    ]  # fmt: skip
    assert again.post(f"/v1/jobs/{slow}/abort?wait=50")["state"] == "aborted"


def test_a_second_server_on_the_file_is_refused_naming_the_owner(serve: Serve) -> None:
    first = serve("--workers", "0")
    second = serve("--workers", "0", ready=False)
    assert second.process.wait(PATIENCE_S) == 2
    second._reader.join(PATIENCE_S)
    assert f"owned by process {first.process.pid}" in "".join(second.lines)


def test_handlers_that_do_not_import_stop_the_server_with_the_reason(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import rota\nimport no_such_module_at_all\napp = rota.App()\n")
    server = serve("--app", "broken:app", ready=False)
    assert server.process.wait(PATIENCE_S) == 2
    server._reader.join(PATIENCE_S)
    said = "".join(server.lines)
    assert "broken" in said and "no_such_module_at_all" in said and "Traceback (most" not in said


def test_a_taken_port_is_said_with_the_way_out(serve: Serve, tmp_path: Path) -> None:
    first = serve("--workers", "0")
    port = first.url.rpartition(":")[2]
    command = [sys.executable, "-m", "rota", "serve", "--port", port, "--store", "sqlite:///other.db", "--workers", "0"]
    refused = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert refused.returncode == 2
    assert port in refused.stderr and "--port" in refused.stderr and "Traceback" not in refused.stderr


@pytest.mark.parametrize("way", ["server", "store"])
def test_a_worker_from_outside_joins_runs_and_leaves(serve: Serve, tmp_path: Path, way: str) -> None:
    server = serve("--workers", "0", "--lease", "3")
    job = server.submit("add", {"a": 1, "b": 2})
    assert "no live worker offers handler 'add'" in server.get(f"/v1/jobs/{job}/explain")["summary"]
    command = [
        sys.executable,
        "-m",
        "rota",
        "worker",
        "--server",
        server.url,
        "--app",
        "e2e_handlers:app",
        "--name",
        "guest",
    ]
    with started(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as worker:
        over = server.wait(job)
        assert (over["state"], over["result"]) == ("succeeded", 3)
        assert over["worker"].startswith("guest.")
        assert psutil.pid_exists(worker.pid)
        worker.terminate()
        assert worker.wait(PATIENCE_S) == 0
        assert server.worker_pids() == []


def test_a_worker_that_is_stopped_past_its_lease_runs_nothing_beside_its_successor(
    serve: Serve, tmp_path: Path
) -> None:
    server = serve("--workers", "2", "--lease", "2")
    job = server.submit("tree", {"path": str(tmp_path / "pids")})
    pids = pids_in(tmp_path / "pids")
    name = server.get(f"/v1/jobs/{job}")["worker"]
    victim = next(w["pid"] for w in server.get("/v1/workers")["items"] if w["id"] == name)
    os.kill(victim, signal.SIGSTOP)
    try:
        wait_for(lambda: server.get(f"/v1/jobs/{job}")["attempt"] == 2, "another worker runs it")
        assert gone(pids), "what the stopped worker ran was ended before the successor began"
    finally:
        os.kill(victim, signal.SIGCONT)
    wait_for(lambda: "lease_over" in "".join(server.lines), "the worker notices")
    wait_for(lambda: len(server.worker_pids()) == 2, "and is back under a new id")
    found = server.get(f"/v1/jobs/{job}")
    assert (found["state"], found["attempt"], found["failures"]) == ("running", 2, 0)
    assert server.post(f"/v1/jobs/{job}/abort?wait=50")["state"] == "aborted"
