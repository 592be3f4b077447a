"""`rota map --server`, `rota script --inputs` and `rota results` against a real server with workers of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from rota.client import Client, ServerUnreachable
from rota.core.errors import RotaError
from tests.cli.maps import ROTA, Folder, folder, until
from tests.processes import PATIENCE_S, started

__all__ = ["folder"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a server with two workers, and return its URL."""
    home = tmp_path_factory.mktemp("server")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = {name: value for name, value in os.environ.items() if not name.startswith("ROTA_")} | {"SECRET": "s"}
    command = [*ROTA, "serve", "--port", str(port), "--workers", "2", "--slots", "1"]
    url = f"http://127.0.0.1:{port}"
    with started(command, cwd=home, env=env, stderr=subprocess.DEVNULL) as process:
        with Client(url, tries=1, timeout=2) as client:

            def there() -> bool:
                with suppress(ServerUnreachable, RotaError):
                    return sum(worker.state == "present" for worker in client.workers()) == 2
                return False

            until(there, "the workers")
        yield url
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)


def rota(folder: Folder, server: str, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("ROTA_")} | {"ROTA_SERVER": server}
    return subprocess.run(
        [*ROTA, *words], cwd=folder.path, env=env, input=stdin, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_servers_workers_run_the_commands_in_a_clean_environment(folder: Folder, server: str) -> None:
    done = folder.map("--server", server, "echo {} ${SECRET-clean} $ROTA_INDEX", ":::", "a", "b", "c")
    assert (done.returncode, done.stdout, done.stderr) == (0, "a clean 0\nb clean 1\nc clean 2\n", "")
    assert list(folder.path.iterdir()) == []
    assert folder.map("echo {}; exit {}", ":::", "0", "1", env={"ROTA_SERVER": server}).returncode == 1


def test_a_run_on_a_server_is_resumed_too(folder: Folder, server: str) -> None:
    command = f"test {{}} != bad || test -e {folder.path}/better; echo {{}}"
    assert folder.map("--server", server, f"{command} && test -e {folder.path}/better", ":::", "bad").returncode == 1
    (folder.path / "better").touch()
    done = folder.map(
        "--server", server, "--resume-failed", f"{command} && test -e {folder.path}/better", ":::", "bad", "a"
    )
    assert (done.returncode, done.stdout) == (0, "bad\na\n")
    done = folder.map("--server", server, "--resume", f"{command} && test -e {folder.path}/better", ":::", "bad", "a")
    assert (done.returncode, done.stdout) == (0, "")


def test_ctrl_c_aborts_the_array_on_the_server(folder: Folder, server: str) -> None:
    started = folder.path / "started"
    running = folder.start("--server", server, f"echo {{}} >>{started}; sleep 1000", ":::", *"abcd")
    until(lambda: folder.lines("started"), "a command to be started")
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "stopped after 0 of 4 inputs; --resume goes on" in err
    with Client(server) as client:
        assert next(client.jobs(limit=1)).state == "aborted"


def test_nobody_there_is_exit_3(folder: Folder) -> None:
    done = rota(folder, "unix:/nowhere/rota.sock", "results", "x")
    assert done.returncode == 3


def test_a_script_over_lines(folder: Folder, server: str) -> None:
    (folder.path / "s.sh").write_text('read line; echo "$1/$line $MODE"; test $1 != b\n')
    words = (
        "script",
        "s.sh",
        "--inputs",
        "-",
        "--env",
        "MODE=fast",
        "--parallel",
        "1",
        "--limit",
        "files=64",
        "--wait",
    )
    done = rota(folder, server, *words, stdin="a\nb\nc\n")
    assert (done.returncode, done.stdout) == (1, "a/a fast\nb/b fast\nc/c fast\n")
    job = done.stderr.splitlines()[0]
    shown = rota(folder, server, "job", job).stdout
    assert re.search(r"array +3 of 3 inputs, 1 failed\n", shown)
    assert re.search(r"parallel +1\n", shown)
    assert "limits       files=64" in re.sub(r"limits +", "limits       ", shown)
    assert re.search(rf"{job} .*failed .*3 of 3 inputs, 1 failed", rota(folder, server, "jobs").stdout)


def test_results_of_an_array(folder: Folder, server: str) -> None:
    (folder.path / "s.sh").write_text("echo out $1; echo err $1 >&2; exit $1\n")
    (folder.path / "list").write_text("0\n7\n")
    job = rota(folder, server, "script", "s.sh", "--inputs", "list").stdout.strip()
    lines = [line.split("  ") for line in rota(folder, server, "results", job, "-f").stdout.splitlines()]
    assert [(n, state, text) for n, state, _, text, _ in lines] == [("0", "succeeded", "0"), ("1", "failed", "7")]
    output = rota(folder, server, "results", job, "--output")
    assert (output.stdout, output.stderr) == ("out 0\nout 7\n", "err 0\nerr 7\n")
    (failed,) = map(json.loads, rota(folder, server, "results", job, "--failed", "--json").stdout.splitlines())
    assert (failed["index"], failed["input"], failed["exit_code"]) == (1, "7", 7)
    assert rota(folder, server, "results", job, "--after", "1").stdout == ""


def test_a_handler_over_json_values(folder: Folder, server: str) -> None:
    (folder.path / "list.json").write_text('[\n  1,\n  {"n": 2}\n]\n')
    (folder.path / "list.ndjson").write_text("[1]\n[2]\n")
    for name, inputs in (("list.json", [1, {"n": 2}]), ("list.ndjson", [[1], [2]])):
        done = rota(folder, server, "submit", "nobody-has-it", "--inputs", name, "--json")
        assert json.loads(done.stdout)["array"]["inputs"] == len(inputs), done.stderr
    (folder.path / "bad").write_text("1\nx\n")
    done = rota(folder, server, "submit", "h", "--inputs", "bad")
    assert done.returncode == 2
    assert "--inputs: is neither" in done.stderr


def test_map_on_a_store_whose_server_runs_is_its_guest(folder: Folder, tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("ROTA_")}
    command = [*ROTA, "serve", "--port", "0", "--workers", "0"]
    with started(command, cwd=tmp_path, env=env, stderr=subprocess.DEVNULL) as serving:
        until(lambda: (tmp_path / "rota.db.sock").exists(), "the server")
        done = folder.map("-k", "echo {} $MINE", ":::", "a", "b", env={"MINE": "here"})
        assert (done.returncode, done.stdout, done.stderr) == (0, "a here\nb here\n", "")
        found = rota(folder, f"sqlite:///{tmp_path}/rota.db", "jobs", "--json").stdout
        assert [job["command"] for job in json.loads(found)["items"]] == ["echo {} $MINE"]
        serving.send_signal(signal.SIGTERM)
        serving.wait(PATIENCE_S)
