"""Inputs of arrays, one after another through the pool: handlers, scripts, commands; what they are given, and their output."""

import asyncio
import os
import shutil
import subprocess

import msgspec
import pytest
from msgspec import Raw
from msgspec.structs import replace

from rota.core.jobs import Limits, LogChunk, ProgressNote, RunOptions
from rota.core.states import Outcome
from rota.worker.capture import MAX_STREAM, Collected, marker
from tests.worker.executor_rig import SOON_S, live, rigged, until, value


def given(lease, item, index=0):
    """Return the lease of one input of a shard."""
    return replace(lease, index=index, inputs=[Raw(msgspec.json.encode(item))])


def command(rig, text, **more):
    return replace(rig.script(text, **more), kind="command")


async def over(rig, lease, items):
    return [await rig.run(given(lease, item, n)) for n, item in enumerate(items)]


# --- what they are given


@pytest.mark.parametrize("handler", ["echo", "aecho"])
@live
async def test_an_input_is_a_handlers_argument_or_its_keywords(handler):
    async with rigged() as rig:
        lease = rig.lease(handler, {"a": 1, "b": 2}, args=["x"])
        got = [value(r) for r in await over(rig, lease, ["t", 5, None, [1], {"b": 3}, {}])]
        rest = {"a": 1, "b": 2}
        assert got == [
            {"args": ["x", "t"], "kwargs": rest},
            {"args": ["x", 5], "kwargs": rest},
            {"args": ["x", None], "kwargs": rest},
            {"args": ["x", [1]], "kwargs": rest},
            {"args": ["x"], "kwargs": {"a": 1, "b": 3}},
            {"args": ["x"], "kwargs": rest},
        ]


@pytest.mark.parametrize("handler", ["which", "awhich"])
@live
async def test_a_handler_is_told_the_number_of_its_input(handler):
    async with rigged() as rig:
        lease = rig.lease(handler)
        assert value(await rig.run(lease)) is None
        assert value(await rig.run(given(lease, {}, 0))) == 0
        assert value(await rig.run(given(lease, {}, 12345))) == 12345
        assert value(await rig.run(lease)) is None


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ("a b", "a b"),
        ("", ""),
        ("it's $HOME", "it's $HOME"),
        (5, "5"),
        (None, "null"),
        ({"a": [1, "x y"]}, '{"a":[1,"x y"]}'),
    ],
)
@live
async def test_an_input_is_a_scripts_first_argument_and_its_standard_input(item, text):
    async with rigged() as rig:
        lease = rig.script('printf "%s|" "$#" "$1" "$ROTA_INDEX" "$ROTA_JOB_ID"; cat', {"not": "seen"})
        report = await rig.run(given(lease, item, 7))
        assert (report.outcome, report.exit_code) == (Outcome.SUCCEEDED, 0)
        assert report.stdout == f"1|{text}|7|{lease.job}|{text}\n"


@live
async def test_an_input_is_filled_into_a_command():
    async with rigged() as rig:
        lease = command(rig, "echo {#} {/.} {//} {}")
        reports = await over(rig, lease, ["a/b c.d", "$(id)", 7, {"k": "v"}])
        assert [r.stdout for r in reports] == [
            "1 b c a a/b c.d\n",
            "2 $(id) . $(id)\n",
            "3 7 . 7\n",
            '4 {"k":"v"} . {"k":"v"}\n',
        ]
        appended = await rig.run(given(command(rig, "printf '<%s>' x"), "a b"))
        assert appended.stdout == "<x><a b>"
        asked = await rig.run(given(command(rig, "read x || echo no input; echo $ROTA_INDEX; echo $0;: "), "a", 3))
        assert asked.stdout == "no input\n3\nsh\n"


@live
async def test_commands_that_run_at_once_have_places_of_their_own():
    async with rigged(slots=3) as rig:
        leases = [command(rig, "echo {%}; [ {} = 0 ] || sleep 0.2") for _ in range(3)]
        both = await asyncio.gather(*(rig.run(given(lease, 1)) for lease in leases))
        assert sorted(r.stdout for r in both) == ["1\n", "2\n", "3\n"]
        assert [r.stdout for r in await over(rig, leases[0], [0, 0])] == ["1\n", "1\n"]


@live
async def test_inputs_that_no_argument_can_hold_are_bad_ones_and_the_next_is_run():
    async with rigged() as rig:
        for lease in (rig.script("true"), command(rig, "true")):
            nul = await rig.run(given(lease, "a\0b"))
            assert (nul.outcome, nul.error.type) == (Outcome.ERRORED, "BadInput") and "NUL" in nul.error.message
            long = await rig.run(given(lease, "x" * 200_000))
            assert (long.outcome, long.error.type) == (Outcome.ERRORED, "NotStarted")
            assert long.error.message == "it could not be started: Argument list too long"
            assert (await rig.run(given(lease, "x" * 100_000))).exit_code == 0


@live
async def test_what_cannot_be_started_says_why_and_costs_no_process():
    async with rigged() as rig:
        for lease in (command(rig, "echo \0 {}"), replace(rig.script("true"), options=RunOptions(env={"A": "\0"}))):
            report = await rig.run(given(lease, "x"))
            assert (report.outcome, report.error.type) == (Outcome.ERRORED, "NotStarted")
            assert "null byte" in report.error.message
        odd = await rig.run(replace(rig.script("true"), options=RunOptions(env={"A=B": "c"})))
        assert odd.error.type == "NotStarted" and (await rig.run(rig.script("true"))).exit_code == 0
        assert len(rig.pool._nursery._children) == 1


@pytest.mark.parametrize("size", [4094, 4095, 4096, 65_000, 120_000])
@live
async def test_a_long_input_is_on_standard_input_whole(size):
    async with rigged() as rig:
        lease = rig.script('read -r line; [ "$line" = "$1" ] && echo ${#line} && cat')
        assert (await rig.run(given(lease, "x" * size))).stdout == f"{size}\n"


# --- their environment


@live
async def test_the_environment_is_clean_but_for_what_the_job_sets(monkeypatch):
    for name in ("ROTA_TOKEN", "ROTA_HOOK_SECRET", "ROTA_STORE", "ROTA_SERVER", "PLAIN"):
        monkeypatch.setenv(name, "secret")
    async with rigged() as rig:
        options = RunOptions(env={"MINE": "ä b", "ROTA_JOB_ID": "forged", "PATH": os.environ["PATH"]})
        for lease in (command(rig, "env; : {}"), rig.script("env")):
            asked = replace(lease, options=options, timeout_s=60, owner="ana")
            for index in (4, 5):
                report = await rig.run(given(asked, "x", index))
                seen = dict(line.partition("=")[::2] for line in report.stdout.splitlines())
                assert seen.pop("ROTA_DEADLINE").endswith("Z")
                own = {"ROTA_JOB_ID": lease.job, "ROTA_ATTEMPT": "1", "ROTA_INDEX": str(index), "ROTA_OWNER": "ana"}
                assert own.items() <= seen.items() and seen["MINE"] == "ä b"
                allowed = {
                    *own,
                    "MINE",
                    "PATH",
                    "HOME",
                    "TMPDIR",
                    "LANG",
                    "LC_ALL",
                    "TZ",
                    "PWD",
                    "SHLVL",
                    "_",
                    "OLDPWD",
                }
                assert set(seen) <= allowed
            bare = await rig.run(replace(lease, index=None, inputs=[]))
            assert bare.outcome is Outcome.SUCCEEDED
            names = {line.partition("=")[0] for line in rig.text(lease, "stdout").splitlines()}
            assert not names & {"MINE", "ROTA_INDEX", "ROTA_DEADLINE"}


@live
async def test_commands_may_have_the_callers_environment_and_folder_without_its_secrets(monkeypatch, tmp_path):
    monkeypatch.setenv("PLAIN", "value")
    monkeypatch.setenv("ROTA_TOKEN", "hidden")
    monkeypatch.setenv("ROTA_STORE", "sqlite:///hidden.db")
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    monkeypatch.chdir(tmp_path)
    async with rigged(inherit=True) as rig:
        for lease in (command(rig, "env; pwd; : {}"), rig.script("env; pwd")):
            for report in await over(rig, lease, "ab"):
                assert "PLAIN=value\n" in report.stdout and report.stdout.endswith(f"\n{tmp_path}\n")
                assert "hidden" not in report.stdout
        left = given(command(rig, "touch made-{}"), "here")
        assert (await rig.run(left)).exit_code == 0
    assert os.listdir(tmp_path) == ["made-here"]


# --- their folder and their script


@live
async def test_each_input_finds_an_empty_folder_and_leaves_none():
    async with rigged() as rig:
        for lease in (
            rig.script("ls -A; pwd; touch $1; mkdir -p d/$1"),
            command(rig, "ls -A; pwd; touch {}; mkdir -p d/{}"),
        ):
            reports = await over(rig, lease, "abc")
            assert {r.stdout.count("\n") for r in reports} == {1}
            assert not os.path.exists(reports[0].stdout.strip())
        again = "cd ..; rmdir work; mkdir work; touch work/x"
        for deed in ("rm -rf $PWD", "chmod 0 .", "touch x; touch -d @0 .", "rm -rf ../..", "mkdir -m 0 x", again):
            report = await rig.run(given(command(rig, "eval {}; echo done"), deed))
            assert (report.stdout, report.outcome) == ("done\n", Outcome.SUCCEEDED), deed
            seen = await rig.run(given(command(rig, "ls -lad $PWD; ls -A {}"), "."))
            assert seen.stdout.startswith("drwx------ ") and seen.stdout.count("\n") == 1, deed


@live
async def test_a_script_that_writes_over_itself_is_whole_again_for_the_next_input():
    async with rigged() as rig:
        lease = rig.script('echo "$1"; echo "echo forged" > "$0"\nexit 0\n')
        assert [r.stdout for r in await over(rig, lease, "abc")] == ["a\n", "b\n", "c\n"]
        lease = rig.script('echo "$1"; rm -f "$0"\nexit 0\n')
        assert [r.stdout for r in await over(rig, lease, "abc")] == ["a\n", "b\n", "c\n"]


@live
async def test_scripts_of_different_jobs_in_one_child_are_not_mixed_up():
    async with rigged(slots=1) as rig:
        one, two = rig.script('echo "one $1"'), rig.script('echo "two $1"')
        for _ in range(3):
            assert (await rig.run(given(one, "x"))).stdout == "one x\n"
            assert (await rig.run(given(one, "y"))).stdout == "one y\n"
            assert (await rig.run(given(two, "x"))).stdout == "two x\n"
            assert (await rig.run(given(command(rig, "echo"), "x"))).stdout == "x\n"


# --- their output


@live
async def test_the_output_is_in_the_report_and_is_not_told():
    async with rigged() as rig:
        spoken = await rig.run(given(rig.lease("speaks"), {}))
        assert spoken.stdout == "to stdout\ncafé �\nfrom a program\n"
        assert sorted(spoken.stderr.splitlines()) == ["a line", "to stderr"]
        aspoken = await rig.run(given(rig.lease("aspeaks"), "7"))
        assert aspoken.stdout == "begin 7\nthread 7\n" and sorted(aspoken.stderr.splitlines()) == ["end 7", "log 7"]
        script = await rig.run(given(rig.script("echo out; echo err >&2; exit 3"), "x"))
        assert (script.stdout, script.stderr, script.exit_code) == ("out\n", "err\n", 3)
        assert script.error.message == "exit code 3: err"
        assert not [o for o in rig.output if isinstance(o, LogChunk | ProgressNote)]


@live
async def test_calls_of_hooks_of_all_inputs_have_numbers_of_their_own():
    async with rigged() as rig:
        lease = rig.lease("speaks")
        await over(rig, lease, [{}, {}, {}])
        assert len({hook.n for hook in rig.hooks(lease)}) == 3


@pytest.mark.parametrize("size", [100, MAX_STREAM - 1, MAX_STREAM, MAX_STREAM + 1, 5 << 20])
@live
async def test_output_is_kept_up_to_a_mebibyte_a_stream(size):
    async with rigged() as rig:
        report = await rig.run(given(command(rig, "head -c {} /dev/zero | tr '\\0' x; echo end >&2"), size))
        kept = "x" * min(size, MAX_STREAM)
        assert report.stdout == (kept + marker() if size > MAX_STREAM else kept)
        assert report.stderr == "end\n"


@live
async def test_the_limit_of_output_holds_for_inputs_and_for_whole_jobs():
    async with rigged() as rig:
        options = RunOptions(limits=Limits(output=2048))
        lease = replace(rig.script("head -c 3000 /dev/zero | tr '\\0' x; echo short >&2"), options=options)
        report = await rig.run(given(lease, "x"))
        assert report.stdout == "x" * 2048 + "\n[rota: output over 2 KiB is dropped]\n" and report.stderr == "short\n"
        await rig.run(lease)
        assert rig.text(lease, "stdout") == report.stdout and rig.text(lease, "stderr") == "short\n"


def test_what_is_collected_is_bounded_and_text():
    kept = Collected(4)
    for piece in (b"a", b"bc", b"", b"d"):
        kept.feed("stdout", piece)
    assert not kept.full("stdout")
    kept.feed("stdout", b"efgh" * 1000)
    kept.feed("log", b"\xff\n")
    assert kept.full("stdout") and not kept.full("stderr") and kept.last_line() == "�"
    assert (marker(0), marker(1500)) == (
        "\n[rota: output over 0 bytes is dropped]\n",
        "\n[rota: output over 1500 bytes is dropped]\n",
    )


@live
async def test_a_slow_input_is_not_blocked_by_what_it_writes():
    async with rigged() as rig:
        lease = given(command(rig, "for i in 1 2 3 4 5 6 7 8; do head -c 60000 /dev/zero; sleep 0.03; done; : {}"), "x")
        report = await rig.run(lease)
        assert len(report.stdout) == 480_000 and report.outcome is Outcome.SUCCEEDED


# --- their ends


@live
async def test_each_input_times_out_by_itself_and_leaves_nothing():
    async with rigged() as rig:
        lease = command(rig, "echo begun; sleep {}", timeout_s=0.4)
        reports = await over(rig, lease, ["0", "60", "0"])
        assert [r.outcome for r in reports] == [Outcome.SUCCEEDED, Outcome.TIMED_OUT, Outcome.SUCCEEDED]
        assert [r.stdout for r in reports] == ["begun\n"] * 3
        assert not rig.busy()


@live
async def test_an_input_is_stopped_by_the_name_of_its_shard():
    async with rigged() as rig:
        lease = command(rig, "echo begun; sleep 60 & sleep {}")
        task = rig.begin(given(lease, "60", 5))
        await until(lambda: len(rig.busy()) >= 3)
        report, took_s = await rig.stop(lease, task)
        assert report.outcome is Outcome.ABORTED and report.proof.processes >= 3 and report.stdout == "begun\n"
        assert took_s < SOON_S and not rig.busy()
        assert (await rig.run(given(lease, "0", 6))).outcome is Outcome.SUCCEEDED


@live
async def test_what_an_input_leaves_behind_is_ended_before_the_next():
    async with rigged() as rig:
        for lease in (command(rig, "setsid sleep 600 & echo {}"), rig.script('setsid sleep 600 & echo "$1"')):
            for n, report in enumerate(await over(rig, lease, "abc")):
                assert report.stdout == "abc"[n] + "\n" and report.proof.processes >= 1
                assert not rig.busy()


@live
async def test_a_lost_process_costs_its_input_only():
    async with rigged() as rig:
        lease = rig.lease("fails")
        reports = await over(rig, lease, ["segfault", "error", "os_exit"])
        assert [r.outcome for r in reports] == [Outcome.LOST, Outcome.ERRORED, Outcome.LOST]
        assert all(r.charged for r in reports)
        assert value(await rig.run(given(rig.lease("echo"), 1))) == {"args": [1], "kwargs": {}}


@live
async def test_a_worker_without_scripts_runs_no_commands():
    async with rigged(scripts=False) as rig:
        report = await rig.run(given(command(rig, "echo"), "x"))
        assert report.error.message == "this worker does not offer commands"


@live
async def test_a_thousand_inputs_over_two_slots_all_have_their_own_output():
    async with rigged() as rig:
        shards = [command(rig, "echo {#} {}; echo {} >&2"), rig.script('echo "$ROTA_INDEX $1"; echo "$1" >&2')]
        numbers = iter(range(1000))

        async def slot(k):
            for n in numbers:
                lease = shards[n % 2]
                report = await rig.run(given(replace(lease, attempt=k), n, n))
                assert report.stdout == f"{n + (n % 2 == 0)} {n}\n" and report.stderr == f"{n}\n", report

        await asyncio.gather(slot(1), slot(2))


@pytest.mark.skipif(shutil.which("parallel") is None, reason="GNU parallel is not installed here")
def test_a_command_does_what_it_does_under_gnu_parallel():
    items = ["a b", "it's", "$HOME", "`id`", "a\\b", '"q"', "-n", "*", "a/b.c", ".x", "é"]
    text = "printf '%s|' {} {.} {/} {//} {/.} {#} \"x\"; echo"
    theirs = subprocess.run(
        ["parallel", "--will-cite", "-0", "-k", "-j1", text],
        input="\0".join(items),
        capture_output=True,
        text=True,
        check=True,
    )

    @live
    async def check():
        async with rigged() as rig:
            reports = await over(rig, command(rig, text), items)
            assert "".join(r.stdout for r in reports) == theirs.stdout
            assert [r.stderr for r in reports] == [""] * len(items)

    check()
