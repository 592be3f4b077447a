"""Arrays over real worker processes: one that is killed, one that leaves, and an abort of all that runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Server, gone, wait_for

Serve = Callable[..., Server]
Join = Callable[..., "subprocess.Popen[bytes]"]
LEASE_S = 2
SCRIPT = """echo "$1" >> {0}; sleep 0.005; echo "did $1" """
SLEEPS = """trap '' TERM; setsid sleep 601 & echo $! >> {0}; sleep 602 & echo $! >> {0}; echo $$ >> {0}; wait"""


@pytest.fixture
def join(tmp_path: Path) -> Iterator[Join]:
    """Return a function that starts a worker with two slots, and returns when it is known to the server."""
    started: list[subprocess.Popen[bytes]] = []

    def start(server: Server) -> subprocess.Popen[bytes]:
        name = f"worker{len(started)}"
        command = [sys.executable, "-m", "rota", "worker", "--server", server.url, "--name", name, "--slots", "2"]
        env = {k: v for k, v in os.environ.items() if not k.startswith("ROTA_")}
        with (tmp_path / f"{name}.log").open("wb") as errors:
            process = subprocess.Popen([*command, "--app", "e2e_handlers:app"], cwd=tmp_path, stderr=errors, env=env)
        started.append(process)
        wait_for(lambda: process.pid in server.worker_pids(), "the worker joins")
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def results(server: Server, job: str) -> list[dict[str, Any]]:
    answer = server.http.get(f"{server.url}/v1/jobs/{job}/results")
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def done(server: Server, job: str) -> int:
    over: int = server.get(f"/v1/jobs/{job}")["array"]["done"]
    return over


def runs(path: Path) -> Counter[str]:
    """Count how often each input was begun, as they have noted themselves."""
    return Counter(path.read_text().split()) if path.exists() else Counter()


def submit(server: Server, kind: str, n: int, path: Path) -> str:
    inputs = [str(number) for number in range(n)]
    body: dict[str, Any] = {"script": SCRIPT.format(path), "inputs": inputs}
    if kind == "handler":
        data = {"path": str(path), "seconds": 0.005}
        body = {"handler": "note", "data": data, "inputs": [{"text": text} for text in inputs]}
    job: str = server.post("/v1/jobs", body, 201)["id"]
    return job


@pytest.mark.parametrize("kind", ["handler", "script"])
def test_a_killed_worker_costs_an_array_nothing_that_was_stored(
    serve: Serve, join: Join, tmp_path: Path, kind: str
) -> None:
    server = serve("--workers", "0", "--lease", str(LEASE_S))
    victim, _ = join(server), join(server)
    inputs, notes = 2000, tmp_path / "notes"
    job = submit(server, kind, inputs, notes)
    wait_for(lambda: done(server, job) >= inputs // 10, "it has begun")
    attempts = server.get(f"/v1/jobs/{job}")["attempt"]
    before = {line["index"] for line in results(server, job)}  # later the other worker may have run what was not stored
    os.kill(victim.pid, signal.SIGKILL)
    assert len(before) < inputs, "it was killed in the middle"
    over = server.wait(job, 60)
    assert (over["state"], over["array"]["done"], over["array"]["failed"]) == ("succeeded", inputs, 0)
    assert over["attempt"] > attempts
    lines = results(server, job)
    assert [line["index"] for line in lines] == list(range(inputs)), "one result each, in the order of the inputs"
    assert {line["state"] for line in lines} == {"succeeded"}
    if kind == "script":
        assert [line["stdout"] for line in lines] == [f"did {number}\n" for number in range(inputs)]
    else:
        assert [line["result"] for line in lines] == [str(number) for number in range(inputs)]
    counts = runs(notes)
    assert set(counts) == {str(number) for number in range(inputs)}
    twice = {int(text) for text, n in counts.items() if n > 1}
    assert not twice & before, "what was stored has not run again"
    assert max(counts.values()) <= 2 and len(twice) <= inputs // 5, "only what the victim had not told"


def test_a_killed_server_costs_an_array_nothing_that_was_stored(serve: Serve, tmp_path: Path) -> None:
    server = serve("--workers", "2", "--lease", "100")
    inputs, notes = 1500, tmp_path / "notes"
    job = submit(server, "handler", inputs, notes)
    wait_for(lambda: done(server, job) >= inputs // 10, "it has begun")
    before = {line["index"] for line in results(server, job)}
    family = [process.pid for process in server.family()]
    server.kill()
    wait_for(lambda: gone(family), "the dead server's family is gone")
    again = serve("--workers", "2", "--lease", "100")
    over = again.wait(job, 80)  # no lease is waited for: the owner's lock is free
    assert (over["state"], over["array"]["done"], over["array"]["failed"]) == ("succeeded", inputs, 0)
    assert [line["index"] for line in results(again, job)] == list(range(inputs))
    twice = {int(text) for text, n in runs(notes).items() if n > 1}
    assert not twice & before


def test_workers_that_join_and_leave_run_each_input_once(serve: Serve, join: Join, tmp_path: Path) -> None:
    server = serve("--workers", "0", "--lease", "60")
    leaver = join(server)
    inputs, notes, gate = 800, tmp_path / "notes", tmp_path / "gate"
    script = f'while [ "$1" -ge 100 ] && [ ! -e {gate} ]; do sleep 0.01; done; echo "$1" >> {notes}; sleep 0.005'
    job = server.post("/v1/jobs", {"script": script, "inputs": [str(n) for n in range(inputs)]}, 201)["id"]
    wait_for(lambda: done(server, job) >= 50, "it has begun")
    join(server)
    gate.touch()
    leaver.terminate()
    assert leaver.wait(60) == 0
    over = server.wait(job, 60)
    assert (over["state"], over["array"]["failed"]) == ("succeeded", 0)
    assert runs(notes) == Counter(str(number) for number in range(inputs)), "a drain tells all that has ended"
    workers = {each["worker"].partition(".")[0] for each in server.get(f"/v1/jobs/{job}/attempts")["items"]}
    assert workers == {"worker0", "worker1"}


def test_an_abort_of_an_array_ends_all_its_processes_and_proves_it(serve: Serve, join: Join, tmp_path: Path) -> None:
    server = serve("--workers", "0")
    for _ in range(2):
        join(server)
    pids_file = tmp_path / "pids"
    body = {"script": SLEEPS.format(pids_file), "inputs": [str(n) for n in range(5000)], "grace": 0.3}
    job = server.post("/v1/jobs", body, 201)["id"]
    pids = wait_for(
        lambda: pids_file.exists() and len(found := pids_file.read_text().split()) == 12 and found, "all slots run"
    )
    assert not gone([int(pid) for pid in pids])
    over = server.post(f"/v1/jobs/{job}/abort?wait=50", status=200)
    assert (over["state"], over["confirmed"], over["reason"]) == ("aborted", True, "requested")
    assert gone([int(pid) for pid in pids_file.read_text().split()])
    assert len(pids_file.read_text().split()) == 12, "no other input was started"
    proofs = [attempt["proof"] for attempt in server.get(f"/v1/jobs/{job}/attempts")["items"]]
    assert len(proofs) == 4
    for proof in proofs:
        assert [name for name, _ in proof["signals"]] == ["TERM", "KILL"] and proof["processes"] >= 3
    answer = server.http.post(f"{server.url}/v1/jobs/{job}/abort", json={})
    assert (answer.status_code, answer.json()["state"]) == (409, "aborted")


def test_inputs_that_fail_crash_hang_or_leave_things_behind_are_over_alone(
    serve: Serve, join: Join, tmp_path: Path
) -> None:
    server = serve("--workers", "0")
    join(server)
    left = tmp_path / "left"
    script = f"""case $1 in
        bad) echo out; echo err >&2; exit 3;;
        killed) kill -9 $$;;
        hangs) echo begun; sleep 600;;
        leaves) setsid sleep 605 & echo $! > {left};;
        *) cat;;
    esac"""
    inputs = ["a", "bad", "b", "killed", "c", "hangs", "d", "leaves", {"x": 1}]
    body = {"script": script, "inputs": inputs, "timeout": 1, "grace": 0.2}
    over = server.wait(server.post("/v1/jobs", body, 201)["id"], 60)
    assert (over["state"], over["array"]["done"], over["array"]["failed"]) == ("failed", 9, 3)
    lines = {json.dumps(line["input"]): line for line in results(server, over["id"])}
    states = {name: line["state"] for name, line in lines.items()}
    assert [name for name, state in states.items() if state != "succeeded"] == ['"bad"', '"killed"', '"hangs"']
    assert (lines['"bad"']["exit_code"], lines['"bad"']["stdout"], lines['"bad"']["stderr"]) == (3, "out\n", "err\n")
    assert (lines['"hangs"']["stdout"], lines['"hangs"']["error"]["type"]) == ("begun\n", "TimedOut")
    assert [lines[f'"{name}"']["stdout"] for name in "abcd"] == ["a\n", "b\n", "c\n", "d\n"]
    assert lines['{"x": 1}']["stdout"] == '{"x":1}\n'
    assert gone([int(left.read_text())])
    again = server.http.get(f"{server.url}/v1/jobs/{over['id']}/results?state=failed").text.splitlines()
    assert len(again) == 3
