"""Images from the command line to the container and back, with a real server, its workers and a real engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from rota.client import Client
from tests.e2e.conftest import Server, gone, wait_for
from tests.engines import IMAGE, Engine, engine

__all__ = ["engine"]
pytestmark = pytest.mark.xdist_group("engine")

Serve = Callable[..., Server]


def served(serve: Serve, engine: Engine, *arguments: str) -> Server:
    server = serve("--workers", "1", *arguments, environ={"ROTA_ENGINE": engine.url})
    wait_for(lambda: server.get("/v1/workers")["items"], "a worker")
    return server


def rota(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rota", *arguments]
    environ = os.environ | {"ROTA_SERVER": server.url}
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=100, check=False)


def submit(server: Server, *arguments: str, **fields: Any) -> str:
    body = {"image": IMAGE, "args": list(arguments), "pull": "never", **fields}
    job: str = server.post("/v1/jobs", body, 201)["id"]
    return job


def running(engine: Engine, job: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        return next((c for c in engine.containers(f"rota.job={job}") if c["State"] == "running"), None)

    found: dict[str, Any] = wait_for(look, "its container runs", 60)
    return found


def test_an_image_runs_and_is_seen_from_the_command_line(serve: Serve, engine: Engine):
    server = served(serve, engine)
    assert [worker["images"] for worker in server.get("/v1/workers")["items"]] == [True]
    script = 'echo "$GREETING $1"; echo wrong >&2; exit 3'
    options = ["--env", "GREETING=hello", "--memory", "64M", "--cpus", "0.5", "--pull", "never", "--wait"]
    done = rota(server, "image", IMAGE, *options, "--", "sh", "-c", script, "sh", "you and me")
    assert done.returncode == 1, done.stderr
    assert done.stdout == "hello you and me\n"
    assert "wrong\n" in done.stderr
    assert "exit code 3: wrong" in done.stderr
    job = server.get("/v1/jobs")["items"][0]
    assert (job["image"], job["reason"], job["env"]) == (IMAGE, "error", {"GREETING": "hello"})
    assert server.get(f"/v1/jobs/{job['id']}/attempts")["items"][0]["exit_code"] == 3
    assert engine.containers() == []


def test_the_sdk_submits_images_one_and_an_array(serve: Serve, engine: Engine):
    server = served(serve, engine)
    with Client(server.url) as client:
        one = client.submit_image(IMAGE, ["echo", "hi"], pull="never").wait(60)
        assert (one.state, [log.text for log in one.logs()]) == ("succeeded", ["hi\n"])
        inputs = ["a b", {"n": 1}, "c"]
        many = client.submit_image(IMAGE, ["sh", "-c", 'echo "$ROTA_INDEX $0"; [ "$0" != c ]'], inputs=inputs).wait(90)
        assert many.state == "failed"
        found = [(r.index, r.state, r.stdout, r.exit_code) for r in many.results(follow=False)]
        assert found == [
            (0, "succeeded", "0 a b\n", 0),
            (1, "succeeded", '1 {"n":1}\n', 0),
            (2, "failed", "2 c\n", 1),
        ]
    assert engine.containers() == []


def test_an_abort_is_confirmed_when_the_container_is_gone(serve: Serve, engine: Engine):
    server = served(serve, engine)
    job = submit(server, "sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done", grace=1)
    container = running(engine, job)
    answer = server.post(f"/v1/jobs/{job}/abort?wait=50")
    assert (answer["state"], answer["confirmed"]) == ("aborted", True)
    assert container["Id"] not in [found["Id"] for found in engine.containers()]
    proof = server.get(f"/v1/jobs/{job}/attempts")["items"][0]["proof"]
    assert [name for name, _ in proof["signals"]] == ["TERM", "KILL"]
    assert not proof.get("survivors")


def test_a_timeout_removes_the_container(serve: Serve, engine: Engine):
    server = served(serve, engine)
    job = submit(server, "sleep", "60", timeout=3)
    ended = server.wait(job, 60)
    assert (ended["state"], ended["reason"]) == ("failed", "timed_out")
    assert engine.containers() == []


def test_a_worker_that_is_killed_leaves_no_container_and_the_job_runs_again(serve: Serve, engine: Engine):
    server = served(serve, engine, "--lease", "2")
    job = submit(server, "sh", "-c", '[ "$ROTA_ATTEMPT" = 2 ] || sleep 60')
    first = running(engine, job)
    [pid] = server.worker_pids()
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: gone([pid]), "the worker is gone")
    ended = server.wait(job, 60)
    assert (ended["state"], ended["attempt"]) == ("succeeded", 2)
    assert first["Id"] not in [found["Id"] for found in engine.containers()]
    assert engine.containers() == []


def test_a_server_that_is_killed_takes_the_containers_of_its_workers_along(serve: Serve, engine: Engine):
    server = served(serve, engine)
    running(engine, submit(server, "sh", "-c", "trap '' TERM; while :; do sleep 1; done"))
    server.kill()
    assert engine.containers() == []  # the last heir of its standard error has ended: the keeper


def test_without_an_engine_no_images_are_offered_and_explain_says_so(serve: Serve):
    server = serve("--workers", "1", environ={"ROTA_ENGINE": "none"})
    wait_for(lambda: server.get("/v1/workers")["items"], "a worker")
    assert [worker["images"] for worker in server.get("/v1/workers")["items"]] == [False]
    job = submit(server, "true")
    why = server.get(f"/v1/jobs/{job}/explain")
    assert (why["reasons"][0]["code"], why["summary"]) == ("no-worker", "no live worker has a container engine")
    assert "ROTA_ENGINE" in why["reasons"][0]["way_out"]
    shown = rota(server, "explain", job)
    assert "no live worker has a container engine" in shown.stdout


def test_an_engine_that_does_not_answer_is_said_loudly(serve: Serve, tmp_path):
    server = serve("--workers", "1", environ={"ROTA_ENGINE": f"unix://{tmp_path}/nobody.sock"})
    wait_for(lambda: server.get("/v1/workers")["items"], "a worker")
    assert server.get("/v1/workers")["items"][0]["images"] is False
    said = [json.loads(line) for line in server.lines if line.startswith("{")]
    assert [line["event"] for line in said if line["level"] == "warning"].count("engine_missing") == 1
