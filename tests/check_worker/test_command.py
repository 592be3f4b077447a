"""`rota check-worker` as a person, or a program, uses it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = ["env", f"PYTHONPATH={ROOT}:{ROOT / 'src'}", sys.executable, "-m", "tests.check_worker.broken"]


def rota(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rota", "check-worker", *words], capture_output=True, text=True, timeout=100
    )


def test_a_good_worker_is_told_so() -> None:
    done = rota("--only", "registers", "--only", "leaves", "--slots", "2", "--", *SMALL, "none")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in sorted(lines[:2])] == [["ok", "leaves"], ["ok", "registers"]]
    assert lines[2] == "all 2 checks passed"


def test_a_bad_worker_is_told_what_was_expected_and_what_was_seen() -> None:
    done = rota("--only", "registers", "--", *SMALL, "OffersLess")
    assert done.returncode == 1
    assert "FAIL  registers" in done.stdout
    assert "expected: that it offers rota.check.fail\n" in done.stdout
    assert "seen: it offers rota.check.echo, rota.check.sleep\n" in done.stdout
    assert done.stdout.endswith("1 of 1 checks failed\n")


def test_programs_get_json() -> None:
    done = rota("--json", "--only", "registers", "--handler", "resize", "--", *SMALL, "none")
    report = json.loads(done.stdout)
    assert (done.returncode, report["passed"], report["command"]) == (1, False, [*SMALL, "none"])
    (check,) = report["checks"]
    assert (check["name"], check["passed"], check["expected"]) == ("registers", False, "that it offers resize")


def test_slots_and_handlers_that_are_expected_are_looked_for() -> None:
    done = rota("--json", "--only", "registers", "--slots", "5", "--", *SMALL, "none")
    (check,) = json.loads(done.stdout)["checks"]
    assert (check["expected"], check["seen"]) == ("5 slots", "it registered 2")


def test_a_worker_that_ends_at_once_shows_its_last_words() -> None:
    done = rota("--only", "registers", "--", "bash", "-c", "echo no such handler >&2; exit 7")
    assert done.returncode == 1
    assert "seen: the command ended with status 7" in done.stdout
    assert "| no such handler" in done.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "name the command"),
        (["/no/such/worker"], "/no/such/worker is no program"),
        (["--only", "breathing", "true"], "there is no check 'breathing'"),
        (["--slots", "0", "true"], "--slots"),
    ],
)
def test_wrong_usage_is_exit_code_2(words: list[str], told: str) -> None:
    done = rota(*words)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_all_checks_are_listed_and_told_apart_by_name() -> None:
    done = rota("--list")
    names = [line.split()[0] for line in done.stdout.splitlines()[1:]]
    assert done.returncode == 0
    assert len(set(names)) == len(names) > 25


def test_options_of_the_worker_are_its_own() -> None:
    done = rota("--only", "registers", "bash", "-c", "echo got $0 $1; exit 1", "--json", "--list")
    assert "| got --json --list" in done.stdout
