"""`rota map` that is stopped, killed, or run beside another, and what --resume makes of it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.cli.maps import Folder, folder, until

__all__ = ["folder"]

GATED = "echo {} >>ran; while ! test -e open; do sleep 0.02; done; echo done {}"


def ran(folder: Folder, name: str = "ran") -> list[str]:
    return folder.lines(name)


def stop(process: subprocess.Popen[str], *signals: int) -> tuple[str, str]:
    for number in signals:
        process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err, err
    return out, err


def jobs_of(folder: Folder) -> list[tuple[str, str]]:
    with sqlite3.connect(folder.path / "rota.db") as con:
        found = con.execute("SELECT id, state FROM rota_jobs ORDER BY id").fetchall()
    con.close()
    return found


def alive_with(folder: Folder) -> list[str]:
    """Return the processes whose working folder is this one."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if Path(os.readlink(link)) == folder.path and link.parent.name != str(os.getpid()):
                found.append((link.parent / "cmdline").read_bytes().decode())
        except OSError:
            continue
    return found


def test_resume_runs_what_is_left_and_resume_failed_also_what_failed(folder: Folder) -> None:
    command = "echo {} >>ran; test {} != bad || test -e better"
    assert folder.map(command, ":::", "a", "bad", "b").returncode == 1
    (folder.path / "ran").unlink()
    assert folder.map("--resume", command, ":::", "a", "bad", "b", "c").returncode == 0
    assert ran(folder) == ["c"]
    (folder.path / "better").touch()
    assert folder.map("--resume-failed", command, ":::", "a", "bad", "b", "c").returncode == 0
    assert ran(folder) == ["c", "bad"]
    assert folder.map("--resume-failed", command, ":::", "a", "bad", "b", "c").returncode == 0
    assert ran(folder) == ["c", "bad"]


def test_resume_goes_by_the_input_and_counts_those_that_are_there_more_than_once(folder: Folder) -> None:
    command = "echo {} >>ran"
    folder.map(command, ":::", "x", "y", "x")
    (folder.path / "ran").unlink()
    folder.map("--resume-failed", command, ":::", "new", "x", "x", "x", "y")
    assert Counter(ran(folder)) == {"new": 1, "x": 1}
    folder.map("--resume-failed", command, ":::", "y", "x", "x", "x", "x", "new", "new")
    assert Counter(ran(folder)) == {"new": 2, "x": 2}


def test_resume_looks_at_runs_of_this_command_in_this_folder_since_it_was_begun_afresh(folder: Folder) -> None:
    folder.map("echo one {}", ":::", "a")
    assert folder.map("--resume", "echo two {}", ":::", "a").stdout == "two a\n"
    (folder.path / "sub").mkdir()
    store = {"ROTA_STORE": f"sqlite:///{folder.path}/rota.db"}
    elsewhere = Folder(folder.path / "sub")
    assert elsewhere.map("--resume", "echo one {}", ":::", "a", env=store).stdout == "one a\n"
    assert folder.map("echo one {}", ":::", "b").stdout == "one b\n"  # afresh: what was before counts no more
    assert folder.map("--resume", "echo one {}", ":::", "a", "b").stdout == "one a\n"


def test_dry_run_of_a_resumed_run_leaves_out_what_is_over(folder: Folder) -> None:
    folder.map("echo {}", ":::", "a", "b")
    assert folder.map("--dry-run", "--resume", "echo {}", ":::", "b", "c", "a").stdout == "echo c\n"


def test_the_joblog_of_a_resumed_run_goes_on(folder: Folder) -> None:
    folder.map("--joblog", "log", "echo {}", ":::", "a")
    folder.map("--joblog", "log", "--resume", "echo {}", ":::", "a", "b")
    assert [line.rpartition("\t")[2] for line in folder.lines("log")] == ["Command", "echo a", "echo b"]
    folder.map("--joblog", "log", "echo {}", ":::", "c")
    assert [line.rpartition("\t")[2] for line in folder.lines("log")] == ["Command", "echo c"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_all_with_proof_and_leaves_it_resumable(folder: Folder, number: int, code: int) -> None:
    command = "echo {} >>ran; test {} -lt 3 || sleep 1000"
    running = folder.start("-j2", command, ":::", *map(str, range(10)))
    until(lambda: {"0", "1", "2"} < set(ran(folder)) and len(ran(folder)) >= 5, "five to be started")
    out, err = stop(running, number)
    assert running.returncode == code
    assert out == ""
    assert "stopping what runs" in err
    assert "stopped after" in err
    assert "--resume goes on" in err
    assert alive_with(folder) == []
    assert [state for _, state in jobs_of(folder)] == ["aborted"]
    dry = folder.map("--dry-run", "--resume", command, ":::", *map(str, range(10)))
    assert [line.split()[1] for line in dry.stdout.splitlines()] == [str(n) for n in range(3, 10)]


def test_a_second_ctrl_c_ends_it_at_once(folder: Folder) -> None:
    running = folder.start("trap '' TERM; echo {} >>ran; while :; do sleep 0.1; done", ":::", "a")
    until(lambda: ran(folder), "the command to be started")
    running.send_signal(signal.SIGINT)
    time.sleep(0.1)  # two signals that come together are one
    began = time.monotonic()
    stop(running, signal.SIGINT)
    assert running.returncode == 130
    assert time.monotonic() - began < 4  # less than the grace, 5 s
    assert alive_with(folder) == []


def test_a_killed_run_is_resumed_without_running_again_what_was_over(folder: Folder) -> None:
    inputs = [str(n) for n in range(200)]
    command = "echo {} >>ran; sleep 0.01; echo {}"
    (folder.path / "list").write_text("\n".join(inputs))
    running = folder.start("-j2", command, "-a", "list")
    until(lambda: len(ran(folder)) > 60, "a part to be over")
    os.kill(running.pid, signal.SIGKILL)
    printed, _ = running.communicate(timeout=60)
    until(lambda: alive_with(folder) == [], "its processes to be gone")
    before = Counter(ran(folder))
    assert max(before.values()) == 1
    (folder.path / "ran").unlink()
    began = time.monotonic()
    rest = folder.map("--resume", "-j2", command, "-a", "list")
    assert rest.returncode == 0
    assert time.monotonic() - began < 12  # it waits for no lease of the dead
    again = Counter(ran(folder))
    assert set(before) | set(again) == set(inputs)
    assert set(printed.splitlines()) & set(rest.stdout.splitlines()) == set(), "what was printed was stored before"
    assert len(set(before) & set(again)) < 60  # what ran when it was killed, and what had not been told
    assert jobs_of(folder)[-1][1] == "succeeded"
    assert "running" not in [state for _, state in jobs_of(folder)]


def test_head_ends_it_quietly(folder: Folder) -> None:
    (folder.path / "list").write_text("\n".join(map(str, range(5000))))
    running = folder.start("-j2", "echo {} >>ran; echo {}; sleep 0.02", "-a", "list")
    assert running.stdout is not None
    running.stdout.readline()
    running.stdout.close()
    assert running.stderr is not None
    assert running.stderr.read() == ""
    assert running.wait(60) == 141
    assert len(ran(folder)) < 1000
    assert alive_with(folder) == []


def test_two_runs_on_one_store_share_it_and_the_second_goes_on_when_the_first_leaves(folder: Folder) -> None:
    first = folder.start("-j1", "-k", GATED, ":::", "a", "b")
    until(lambda: ran(folder), "the first to run")
    second = folder.start("-j1", "-k", GATED.replace("ran", "second").replace("open", "later"), ":::", *"cdef")
    until(lambda: ran(folder, "second"), "the second to run")
    assert first.poll() is None
    (folder.path / "open").touch()
    out, err = first.communicate(timeout=60)
    assert (first.returncode, out, err) == (0, "done a\ndone b\n", "")
    (folder.path / "later").touch()
    out, err = second.communicate(timeout=60)
    assert (second.returncode, out) == (0, "done c\ndone d\ndone e\ndone f\n")
    assert ran(folder, "second") == list("cdef"), "nothing ran twice"
    assert [state for _, state in jobs_of(folder)] == ["succeeded", "succeeded"]


def test_the_second_takes_over_from_a_first_that_is_killed(folder: Folder) -> None:
    first = folder.start("-j1", GATED, ":::", "a")
    until(lambda: ran(folder), "the first to run")
    second = folder.start("-j1", "-k", GATED.replace("ran", "second").replace("open", "later"), ":::", *"cd")
    until(lambda: ran(folder, "second"), "the second to run")
    os.kill(first.pid, signal.SIGKILL)
    (folder.path / "later").touch()
    out, _ = second.communicate(timeout=60)
    assert (second.returncode, out) == (0, "done c\ndone d\n")
    assert ran(folder, "second") == ["c", "d"]


def test_a_run_that_goes_on_is_not_resumed_beside_itself(folder: Folder) -> None:
    first = folder.start("-j1", GATED, ":::", "a", "b")
    until(lambda: ran(folder), "the first to run")
    second = folder.start("--resume", "-j1", GATED, ":::", "a", "b")
    _, err = second.communicate(timeout=60)
    assert second.returncode == 1
    assert "goes on" in err
    (folder.path / "open").touch()
    assert first.wait(60) == 0
    assert ran(folder) == ["a", "b"]


def test_a_reader_that_pauses_loses_nothing(folder: Folder) -> None:
    running = folder.start(
        "-k", "-j2", "head -c 200000 /dev/zero | tr '\\0' x; echo; echo {} >>ran", ":::", *map(str, range(30))
    )
    until(lambda: len(ran(folder)) == 30, "all to be run while nobody reads")
    out, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (0, "")
    assert [len(line) for line in out.splitlines()] == [200000] * 30
