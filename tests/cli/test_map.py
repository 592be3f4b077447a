"""`rota map`: inputs, what comes out, exit codes, and the habits of GNU parallel (compared with it where it is there)."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.maps import Folder, folder

__all__ = ["folder"]

needs_parallel = pytest.mark.skipif(shutil.which("parallel") is None, reason="this machine has no GNU parallel")


def parallel(folder: Folder, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["parallel", "--no-notice", *words], cwd=folder.path, input=stdin, capture_output=True, text=True, check=False
    )


def test_each_line_of_stdin_is_an_input(folder: Folder) -> None:
    done = folder.map("echo got {}", stdin="a\nb c\n\nit's $HOME\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == ["got ", "got a", "got b c", "got it's $HOME"]


def test_words_are_inputs_and_a_dash_is_stdin(folder: Folder) -> None:
    assert folder.map("-k", "echo", "a", "b  b").stdout == "a\nb  b\n"
    assert folder.map("-k", "echo", "-", stdin="c\nd").stdout == "c\nd\n"


def test_what_follows_colons_is_inputs_whatever_it_looks_like(folder: Folder) -> None:
    done = folder.map("-k", "echo", "x{}", ":::", "-k", "--help", "{}")
    assert done.stdout == "x-k\nx--help\nx{}\n"
    assert folder.map("echo", ":::").returncode == 0
    assert folder.map("echo {}", ":::", "a", ":::", "b").returncode == 2


def test_options_may_follow_the_command(folder: Folder) -> None:
    assert folder.map("printf '<%s>' {}", "-k", "-j2", "--", "-n").stdout == "<-n>"


def test_files_of_inputs_and_nul_separated_ones(folder: Folder) -> None:
    (folder.path / "one").write_text("a\nb")
    (folder.path / "two").write_bytes(b"c\n\0d\0")
    assert folder.map("-k", "-a", "one", "printf '<%s>' {}").stdout == "<a><b>"
    assert folder.map("-k", "-0", "-a", "two", "printf '<%s>' {}").stdout == "<c\n><d>"
    done = folder.map("-a", "none", "echo")
    assert (done.returncode, done.stderr) == (2, "Error: none: No such file or directory\n")


def test_nothing_to_do_is_done_and_makes_no_store(folder: Folder) -> None:
    done = folder.map("echo {}", stdin="")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(folder.path.iterdir()) == []


@pytest.mark.parametrize(
    ("stdin", "told"),
    [
        (b"a\nb\xff\n", "standard input: line 2 is not UTF-8 (byte 2 of it)"),
        (b"a\n\nb\0c\n", "standard input: line 3 holds a NUL"),
    ],
)
def test_inputs_that_are_no_text_are_refused_by_their_number(folder: Folder, stdin: bytes, told: str) -> None:
    done = folder.map("echo {}", stdin=stdin)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"Error: {told}")


def test_words_that_are_not_utf_8_are_refused(folder: Folder) -> None:
    done = subprocess.run(
        [sys.executable.encode(), b"-m", b"rota", b"map", b"echo", b":::", b"fine", b"\xff"],
        cwd=folder.path, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith(b"Error: INPUT: number 2 is not UTF-8")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "give a command"),
        (["  ", "a"], "give a command"),
        (["echo", "-j", "x", "a"], "-j: 'x' is no number"),
        (["echo", "--halt", "later", "a"], "--halt: is now or soon"),
        (["echo", "--timeout", "soon", "a"], "timeout"),
        (["echo", "-a", "f", "word"], "not both"),
        (["echo", "--joblog", "no/folder/log", "a"], "--joblog: no/folder/log: No such file"),
        (["echo", "--no-such-option", "a"], "No such option"),
    ],
)
def test_wrong_usage_is_told_and_exits_2(folder: Folder, words: list[str], told: str) -> None:
    done = folder.map(*words)
    assert done.returncode == 2, done.stderr
    assert told in done.stderr
    assert done.stdout == ""


def test_stdout_and_stderr_go_where_the_commands_send_them(folder: Folder) -> None:
    done = folder.map("-k", "echo out {}; echo err {} >&2; printf no-end", ":::", "1", "2")
    assert done.stdout == "out 1\nno-endout 2\nno-end"
    assert done.stderr == "err 1\nerr 2\n"


def test_commands_have_the_callers_environment_and_folder_and_no_stdin(folder: Folder) -> None:
    done = folder.map("echo $MINE $PWD; cat; echo {} $ROTA_INDEX", ":::", "x", env={"MINE": "yes"})
    assert done.stdout == f"yes {folder.path}\nx 0\n"


def test_it_fails_when_an_input_does_and_says_how_to_go_on(folder: Folder) -> None:
    done = folder.map("-k", "echo {}; exit {}", ":::", "0", "3", "0")
    assert (done.returncode, done.stdout) == (1, "0\n3\n0\n")
    assert re.fullmatch(
        r"rota map: 1 of 3 inputs failed; --resume-failed runs those again \(job [\w-]+\)\n", done.stderr
    )


def test_output_comes_as_each_ends_or_in_the_order_of_the_inputs(folder: Folder) -> None:
    (folder.path / "gate").mkdir()
    command = (
        "test {} = first && while ! test -e gate/open; do sleep 0.01; done; echo {}; test {} = last && touch gate/open"
    )
    inputs = ["first", *map(str, range(20)), "last"]
    free = folder.map("-j2", command, ":::", *inputs)
    assert free.stdout.splitlines()[-1] != "last"
    assert sorted(free.stdout.splitlines()) == sorted(inputs)
    (folder.path / "gate/open").unlink()
    kept = folder.map("-j2", "-k", command, ":::", *inputs)
    assert kept.stdout.splitlines() == inputs


def test_results_as_json(folder: Folder) -> None:
    done = folder.map("--json", "-k", "echo out; echo err >&2; exit {}", ":::", "0", "7")
    first, second = map(json.loads, done.stdout.splitlines())
    assert {name: first[name] for name in ("index", "input", "state", "exit_code", "stdout", "stderr")} == {
        "index": 0, "input": "0", "state": "succeeded", "exit_code": 0, "stdout": "out\n", "stderr": "err\n",
    }  # fmt: skip
    assert (second["index"], second["state"], second["exit_code"]) == (1, "failed", 7)
    assert "err\n" not in done.stderr


@pytest.mark.parametrize(
    ("rule", "ran"),
    [("soon,fail=1", range(1, 40)), ("now,fail=1", range(1, 40)), ("now,success=2", range(2, 40)), ("never", [200])],
)
def test_halt_stops_early(folder: Folder, rule: str, ran: list[int]) -> None:
    done = folder.map(
        "-j2", "--halt", rule, "echo {} >>ran; sleep 0.01; test {} -ne 2", stdin="\n".join(map(str, range(200)))
    )
    assert len(folder.lines("ran")) in ran
    assert done.returncode == (0 if "success" in rule else 1)


def test_a_command_that_takes_too_long_is_ended(folder: Folder) -> None:
    done = folder.map("--timeout", "0.3s", "--json", "sleep {}; echo {}", ":::", "30")
    assert done.returncode == 1
    assert json.loads(done.stdout)["outcome"] == "timed_out"


def test_failures_are_forgiven_as_often_as_asked_and_only_the_last_try_is_shown(folder: Folder) -> None:
    command = "echo {} >>tries; test $(wc -l <tries) -ge 3 && echo fine || { echo bad; exit 1; }"
    done = folder.map("--retries", "2", command, ":::", "x")
    assert (done.returncode, done.stdout) == (0, "fine\n")
    assert folder.lines("tries") == ["x"] * 3


def test_dry_run_prints_the_commands_and_runs_none(folder: Folder) -> None:
    done = folder.map("--dry-run", "touch {} {.} {/} {//} {#}", "a b/c.d", "e")
    assert done.stdout == "touch 'a b/c.d' 'a b/c' c.d 'a b' 1\ntouch e e e . 2\n"
    assert list(folder.path.iterdir()) == []


def test_progress_goes_to_stderr_when_asked_for(folder: Folder) -> None:
    done = folder.map("--eta", "echo {}", ":::", "a", "b")
    assert sorted(done.stdout.splitlines()) == ["a", "b"]
    assert re.search(r"100% \[#+\] 2 of 2, took ", done.stderr)


def test_many_slots_run_at_once(folder: Folder) -> None:
    done = folder.map("-j4", "touch at-{}; while test $(ls at-* | wc -l) -lt 4; do sleep 0.01; done", ":::", *"abcd")
    assert done.returncode == 0


def test_the_web_stack_is_not_loaded(folder: Folder) -> None:
    program = """
import sys
from rota.cli.main import main
try:
    main(["map", "-j2", "echo {}", ":::", "a", "b"], prog_name="rota")
except SystemExit as end:
    assert end.code == 0, end.code
web = {"starlette", "uvicorn", "aiohttp", "httpx", "httptools", "uvloop", "rich", "structlog", "prometheus_client"}
print(sorted(web & {name.partition(".")[0] for name in sys.modules}))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder.path, capture_output=True, text=True, timeout=60, check=False
    )
    assert sorted(done.stdout.splitlines()) == ["[]", "a", "b"], done.stderr


@needs_parallel
@pytest.mark.parametrize(
    ("command", "inputs"),
    [
        (
            "echo {} {.} {/} {//} {/.} {#}",
            ["a.b", "/x y/z.tar.gz", "it's", "", "-n", "a/", "/", "*", '"', "$HOME", "a\\b"],
        ),
        ("echo", ["a b", "c"]),
        ("echo {}-{}", ["x"]),
        ("{}", ["echo one", "echo two"]),
        ("echo '{}' \"{.}\"", ["p.q"]),
    ],
)
def test_the_same_commands_as_gnu_parallel(folder: Folder, command: str, inputs: list[str]) -> None:
    theirs = parallel(folder, "-k", "--dry-run", command, ":::", *inputs)
    assert folder.map("--dry-run", command, ":::", *inputs).stdout == theirs.stdout


@needs_parallel
def test_the_same_output_and_joblog_as_gnu_parallel(folder: Folder) -> None:
    command, inputs = "echo {}; test {} != k || kill -9 $$; exit {#}", ["a", "b  b", "k", "é"]
    theirs = parallel(folder, "-k", "--joblog", "theirs", command, ":::", *inputs)
    ours = folder.map("-k", "--joblog", "ours", command, ":::", *inputs)
    assert ours.stdout == theirs.stdout

    def logged(name: str) -> list[list[str]]:
        head, *rows = [line.split("\t") for line in (folder.path / name).read_text().splitlines()]
        assert all(re.fullmatch(r"\d{10}\.\d{3}", row[2]) and re.fullmatch(r" {0,5}\d+\.\d{3}", row[3]) for row in rows)
        return [head, *sorted(row[:2] + row[4:] for row in rows)]

    assert logged("ours") == logged("theirs")


@needs_parallel
def test_empty_lines_are_inputs_as_for_gnu_parallel(folder: Folder) -> None:
    stdin = "a\n\nb\n"
    assert folder.map("-k", "echo x{}y", stdin=stdin).stdout == parallel(folder, "-k", "echo x{}y", stdin=stdin).stdout


def test_the_store_is_where_the_settings_say(folder: Folder) -> None:
    (folder.path / "deep").mkdir()
    assert folder.map("echo", ":::", "a", env={"ROTA_STORE": "sqlite:///deep/s.db"}).returncode == 0
    assert (folder.path / "deep/s.db").exists()
    assert not (folder.path / "rota.db").exists()


def test_large_outputs_come_whole(folder: Folder) -> None:
    done = folder.map("-k", "head -c {} /dev/zero | tr '\\0' x; echo", ":::", "900000", "10")
    assert [len(line) for line in done.stdout.splitlines()] == [900000, 10]


def test_a_path_of_inputs_that_is_a_folder_is_told(folder: Folder) -> None:
    done = folder.map("-a", ".", "echo")
    assert (done.returncode, done.stderr) == (2, "Error: .: Is a directory\n")
    assert Path(folder.path / "rota.db").exists() is False
