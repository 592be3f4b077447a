"""`rota serve --processes`: several processes at one port, which are not missed when they die."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from tests import postgres
from tests.e2e.conftest import gone, wait_for
from tests.processes import PATIENCE_S, started


def clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("ROTA_")}


def shows_secrets(process: psutil.Process) -> bool:
    with suppress(psutil.AccessDenied):  # it has hidden itself, from all but root
        return "ROTA_STORE" in process.environ()
    return False


def submitted(url: str) -> float:
    """Return the counter, as whichever process answers says it."""
    text = httpx.get(f"{url}/metrics", timeout=PATIENCE_S).text
    found = re.search(r"^rota_jobs_submitted_total (\S+)$", text, re.MULTILINE)
    assert found is not None, text
    return float(found[1])


def run(url: str, script: str) -> str:
    """Run a script as a job, over a connection of its own; return how it ended."""
    with httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
        id_ = client.post("/v1/jobs", json={"script": script}).raise_for_status().json()["id"]
        state: str = wait_for(
            lambda: (job := client.get(f"/v1/jobs/{id_}", params={"wait": 10}).json())["finished_at"] and job["state"],
            "the job is over",
        )
        return state


def servers(parent: psutil.Process) -> list[psutil.Process]:
    return [child for child in parent.children() if "--heritage" in child.cmdline()]


def lines_of(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stderr is not None
    return iter(process.stderr)


@pytest.mark.timeout(400)
def test_a_process_that_is_killed_is_started_again_and_jobs_and_counts_outlive_it(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "rota",
        "serve",
        "--processes",
        "2",
        "--workers",
        "1",
        "--slots",
        "1",
        "--port",
        "0",
    ]
    environ = clean() | {"ROTA_STORE": postgres.cluster().new_store(), "ROTA_LOG_FORMAT": "json"}
    options = {"cwd": tmp_path, "env": environ, "stderr": subprocess.PIPE, "text": True}
    with started([*command], **options) as server:
        line = next(line for line in lines_of(server) if '"server_listening"' in line)
        url = json.loads(line)["url"]
        wait_for(lambda: httpx.get(f"{url}/readyz", timeout=PATIENCE_S).status_code == 200, "ready")
        parent = psutil.Process(server.pid)
        first = wait_for(lambda: len(found := servers(parent)) == 2 and found, "two processes")
        (worker,) = [child for child in parent.children() if child not in first]
        assert not any(shows_secrets(child) for child in (*first, worker)), "jobs could read it there"
        assert run(url, "true") == "succeeded"
        wait_for(lambda: submitted(url) == 1, "each process knows what all have counted")
        first[0].kill()
        second = wait_for(
            lambda: len(found := servers(parent)) == 2 and first[0] not in found and found, "it is started again"
        )
        assert run(url, "true") == "succeeded"
        wait_for(lambda: submitted(url) == 2, "the new process goes on from where the old one came to")
        assert worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE, "the workers are not the dead process's"
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE_S) == 0
        assert gone([process.pid for process in (*first, *second, worker)])


@pytest.mark.timeout(400)
def test_the_processes_end_with_their_parent(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rota", "serve", "--processes", "2", "--workers", "0", "--port", "0"]
    environ = clean() | {"ROTA_STORE": postgres.cluster().new_store(), "ROTA_LOG_FORMAT": "json"}
    options = {"cwd": tmp_path, "env": environ, "stderr": subprocess.PIPE, "text": True}
    with started([*command], **options) as server:
        next(line for line in lines_of(server) if '"server_listening"' in line)
        children = [child.pid for child in servers(psutil.Process(server.pid))]
        server.kill()
        server.wait(PATIENCE_S)
        wait_for(lambda: gone(children), "the processes have ended")


@pytest.mark.timeout(400)
def test_a_process_that_cannot_start_is_not_tried_again_and_again(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rota", "serve", "--processes", "2", "--workers", "0", "--port", "0"]
    command += ["--store", postgres.cluster().new_store(), "--tls-cert", "missing.pem"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, env=clean())
    assert done.returncode == 2
    assert "tls_cert: cannot be used" in done.stderr and "started again" not in done.stderr
