"""The tour itself, as `make run` starts it: on a terminal, without one, twice on one store, with a port that is taken."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
END = "The server goes on until Ctrl-C"
OVER = "\x1b[1A"  # what goes up a line: the board is drawn over itself
PATIENCE_S = 90.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def environment(port: int) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ROTA_")}
    return clean | {"PYTHONPATH": str(ROOT), "ROTA_PORT": str(port), "COLUMNS": "110", "LINES": "45"}


@contextmanager
def tour(folder: Path, *arguments: str, port: int = 0) -> Iterator[subprocess.Popen[bytes]]:
    """Run the tour without a terminal; whatever is left of it in the end is killed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "examples.tour", *arguments],
        cwd=folder,
        env=environment(port),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    with ending(process):
        yield process


@contextmanager
def ending(process: subprocess.Popen[bytes]) -> Iterator[None]:
    family: list[psutil.Process] = []
    try:
        yield
    finally:
        with suppress(psutil.NoSuchProcess):
            family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        for one in family:
            with suppress(psutil.NoSuchProcess):
                one.kill()


def pieces(descriptor: int) -> Iterator[bytes]:
    """Yield what comes from a terminal, until nobody is left who might write there, and for so long at most."""
    deadline = time.monotonic() + PATIENCE_S
    while (left_s := deadline - time.monotonic()) > 0 and select.select([descriptor], [], [], left_s)[0]:
        try:
            piece = os.read(descriptor, 65536)
        except OSError:  # as a terminal's other end says that it is gone
            return
        if not piece:
            return
        yield piece


def read_until(descriptor: int, text: str) -> str:
    """Read until some text has come. Fails with what came in its place."""
    output = b""
    for piece in pieces(descriptor):
        output += piece
        if text.encode() in output:
            return output.decode(errors="replace")
    raise AssertionError(f"{text!r} did not come:\n{output.decode(errors='replace')}")


def read_to_the_end(descriptor: int) -> None:
    """Read until all who might write have ended."""
    for _ in pieces(descriptor):
        pass


def wait_for_server(folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not (folder / "rota.db.sock").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def all_end(process: subprocess.Popen[bytes], number: signal.Signals) -> int:
    """Send a signal to the tour alone; wait for the end of all its processes."""
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) > 3, "a server and its workers"
    process.send_signal(number)
    status = process.wait(PATIENCE_S)
    _, left = psutil.wait_procs(family, timeout=PATIENCE_S)
    assert left == []
    return status


FEW = ("--quiet", "--packages", "40"), 40, signal.SIGINT
ALL = (), 1000, signal.SIGTERM


@pytest.mark.parametrize(
    "tours", [[FEW], pytest.param([ALL, FEW], marks=pytest.mark.long)], ids=["few", "all, then few"]
)
def test_the_tour_keeps_its_promises_each_time_on_one_store(
    folder: Path, tours: list[tuple[tuple[str, ...], int, signal.Signals]]
) -> None:
    for options, least, number in tours:
        with tour(folder, *options) as process:
            assert process.stdout is not None
            output = read_until(process.stdout.fileno(), END)
            assert "✗" not in output, output
            assert output.count("✓") == 8, output
            if options:
                assert len(output.strip().splitlines()) == 9, "quiet: how it ended, no more"
            assert all_end(process, number) == 0
        document = json.loads((folder / "report.json").read_text())
        assert document["total"]["files"] >= least
        assert "<table>" in (folder / "report.html").read_text()
        (folder / "report.json").unlink()
    with sqlite3.connect(folder / "rota.db") as con:
        states = dict(con.execute("SELECT state, count(*) FROM rota_jobs GROUP BY state"))
    con.close()
    assert states.pop("aborted") == len(tours)
    assert set(states) == {"succeeded"}


def test_on_a_terminal_it_is_drawn_and_ctrl_c_ends_it(folder: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "examples.tour"],
        cwd=folder,
        env=environment(0) | {"TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: os.set_inheritable(theirs, True),
    )
    os.close(theirs)
    with ending(process):
        output = read_until(ours, "packages measured")
        output += read_until(ours, "The process tree of the hour's run: ")
        if OVER not in output:
            read_until(ours, OVER)
        family = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to all of its foreground
        read_to_the_end(ours)  # who writes to a terminal that nobody reads waits
        assert process.wait(PATIENCE_S) == 0
        _, left = psutil.wait_procs(family, timeout=PATIENCE_S)
        assert left == [], "Ctrl-C in the middle of it leaves nothing running"
    os.close(ours)


def test_a_port_that_is_taken_is_told_with_the_way_out(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with tour(folder, port=port) as process:
            assert process.stdout is not None
            output = process.stdout.read().decode()
            assert process.wait(PATIENCE_S) == 1
    assert f"cannot listen on 127.0.0.1:{port}" in output
    assert f"ROTA_PORT={port + 1} make run" in output
    assert "Traceback" not in output


def test_a_store_that_is_in_use_is_told(folder: Path) -> None:
    with tour(folder, "--quiet"):
        wait_for_server(folder)
        with tour(folder, "--quiet") as second:
            assert second.stdout is not None
            output = second.stdout.read().decode()
            assert second.wait(PATIENCE_S) == 1
        assert "Traceback" not in output
        assert re.search(r"process \d+", output), output


def test_make_that_is_interrupted_alone_ends_all(folder: Path) -> None:
    (folder / "Makefile").write_text(f"run:\n\t@{sys.executable} -m examples.tour --quiet\n")
    process = subprocess.Popen(["make", "run"], cwd=folder, env=environment(0), start_new_session=True)
    with ending(process):
        wait_for_server(folder)
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) != 0, "make says that it was interrupted"
        _, left = psutil.wait_procs(family, timeout=PATIENCE_S)
        assert left == []


def test_the_server_dies_with_the_tour(folder: Path) -> None:
    with tour(folder, "--quiet") as process:
        wait_for_server(folder)
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        _, left = psutil.wait_procs(family, timeout=PATIENCE_S)
        assert left == []
