"""The shell that runs the commands of inputs in its subshells: a command sees what `sh -c` would show it."""

import contextlib
import os
import signal
from pathlib import Path

import psutil
import pytest
from msgspec.structs import replace

from rota.core.jobs import RunOptions
from rota.core.states import Outcome
from rota.worker import shell
from tests.worker.executor_rig import SOON_S, live, rigged, until
from tests.worker.test_executor_inputs import command, given, over

PLAIN = ": $$; "  # a command that asks for the number of its shell has one of its own


def shells(rig):
    """Return the shells that children keep; their subshells have the same command line."""
    children = {child.pid for child in rig.pool._nursery._children.values()}
    found = []
    for process in rig.below():
        with contextlib.suppress(psutil.Error):
            if process.cmdline() == [*shell.ARGUMENTS] and process.ppid() in children:
                found.append(process)
    return found


def words(process):
    """Return a command line; none of a process that has ended meanwhile."""
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


async def both(rig, text, **more):
    """Run a command in the shell, and the plain way, and return both reports."""
    lease = command(rig, text, **more)
    in_shell = await rig.run(given(lease, "x y", 3))
    plain = await rig.run(given(replace(lease, script=PLAIN + text), "x y", 3))
    return in_shell, plain


@pytest.mark.parametrize(
    "text",
    [
        "echo {}",
        'printf \'%s|\' {} "it\'s" "$#" "$0" "$?" "$HOME" "$IFS"; :',
        "echo out; echo err >&2; exit 3 #",
        "env | sort | grep -v ^_= | grep -v ^ROTA_DEADLINE= #",
        "ls /proc/self/fd | tr '\\n' ' ' #",
        "readlink /proc/self/fd/0; cat; umask; pwd | sed 's/[0-9]//g' #",
        "grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status #",
        "ulimit -a #",
        "cat <<E\n$ROTA_INDEX {} \\$HOME\nE\n:",
        'a=1\nif [ $a = 1 ]; then\n  echo "q\'q"\nfi #',
        "exec echo gone #",
        "false #",
        "exit 255 #",
        "exit 143 #",
        "set -e; false; echo not here #",
        "set -u; echo $nothing; echo not here #",
        "(exit 7) #",
        "trap 'echo bye' EXIT; exit 4 #",
        "trap 'echo caught' TERM; kill -TERM 0; echo went on #",
        "kill -TERM 0; echo not here #",
        "kill -USR1 0; echo not here #",
        "sh -c 'echo $0 \"$@\"' a b #",
        "yes | head -1 #",
        "echo é ☃ #",
        'wait; jobs; echo "[$!]" #',
        "alias ll=ls; f() { return 5; }; f; echo $? #",
    ],
)
@live
async def test_a_command_in_the_shell_does_what_it_does_in_one_of_its_own(text):
    async with rigged() as rig:
        ours, plain = await both(rig, text)
        assert (ours.outcome, ours.exit_code, ours.stdout) == (plain.outcome, plain.exit_code, plain.stdout)
        words = (plain.stderr or "").replace("Terminated", "").split()
        assert (ours.stderr or "").replace("eval: ", "").replace("Terminated", "").split() == words
        assert not rig.busy()


@live
async def test_nothing_of_a_command_is_there_for_the_next():
    async with rigged() as rig:
        lease = command(
            rig, "a=1; cd /; umask 0; set -f; f() { :; }; trap : TERM; exec 5>/dev/null; export B=2; ulimit -n 9 #"
        )
        assert (await rig.run(given(lease, "x"))).outcome is Outcome.SUCCEEDED
        (kept,) = shells(rig)
        look = 'echo "$a$B$-"; pwd; umask; f 2>/dev/null; echo $?; trap; ls /proc/self/fd; ulimit -n'
        before = await rig.run(given(replace(lease, script=PLAIN + look), "x"))
        after = await rig.run(given(replace(lease, script=look), "x"))
        assert after.stdout.replace("s\n", "\n", 1) == before.stdout  # `$-`: what it is told comes from a pipe
        assert shells(rig) == [kept]


@live
async def test_each_input_has_its_own_number_and_one_shell_serves_them_all():
    async with rigged() as rig:
        lease = command(rig, "echo $ROTA_INDEX {} $ROTA_JOB_ID $ROTA_ATTEMPT")
        reports = await over(rig, lease, "abc")
        assert [r.stdout.split()[:2] for r in reports] == [["0", "a"], ["1", "b"], ["2", "c"]]
        (kept,) = shells(rig)
        other = command(rig, "echo $ROTA_JOB_ID")
        assert (await rig.run(given(other, "x"))).stdout == f"{other.job} x\n"
        assert shells(rig) == [kept]
        own = await rig.run(given(replace(other, script="echo $A", options=RunOptions(env={"A": "1 2"})), "x"))
        assert own.stdout == "1 2 x\n" and shells(rig) != [kept]


@pytest.mark.parametrize("text", ["echo $$", "echo ${$}", "echo $PPID", "echo " + "x" * 5000])
@live
async def test_what_a_subshell_would_answer_otherwise_has_a_shell_of_its_own(text):
    async with rigged() as rig:
        report = await rig.run(given(command(rig, text + " #"), "x"))
        assert report.exit_code == 0 and not shells(rig)


@live
async def test_a_signal_is_told_from_a_code_that_looks_like_one():
    async with rigged() as rig:
        lease = command(rig, "")
        for text, code in [("kill -9 0; :", -9), ("exit 137", 137), ("kill -9 $(sh -c 'echo $PPID'); :", -9)]:
            assert (await rig.run(given(replace(lease, script=text + " #"), "x"))).exit_code == code
        mine = "read -r pid rest < /proc/self/stat; kill -{} $pid"  # the reader is the subshell itself
        for name, number in [("KILL", 9), ("TERM", 15), ("SEGV", 11)]:
            report = await rig.run(given(replace(lease, script=mine + " #"), name))
            assert (report.exit_code, report.outcome) == (-number, Outcome.ERRORED)
            assert not report.stderr
        assert (await rig.run(given(replace(lease, script="echo on #"), "x"))).stdout == "on\n"


@live
async def test_a_shell_that_is_killed_between_two_inputs_is_replaced():
    async with rigged() as rig:
        lease = command(rig, "echo {}")
        assert (await rig.run(given(lease, "a"))).stdout == "a\n"
        (kept,) = shells(rig)
        kept.kill()
        report = await rig.run(given(lease, "b"))
        assert report.outcome in (Outcome.SUCCEEDED, Outcome.ERRORED)  # it may have been told before it was dead
        assert (await rig.run(given(lease, "c"))).stdout == "c\n"
        assert shells(rig) != [kept] and len(rig.pool._nursery._children) == 1


@live
async def test_an_input_whose_shell_is_killed_is_ended_by_a_signal_and_leaves_nothing():
    async with rigged() as rig:
        lease = command(rig, "echo begun; sleep 600 #")
        task = rig.begin(given(lease, "x"))
        await until(lambda: rig.busy() and shells(rig))
        shells(rig)[0].kill()
        report = await task
        assert (report.outcome, report.exit_code) == (Outcome.ERRORED, -signal.SIGKILL)
        assert not rig.busy() and (await rig.run(given(command(rig, "echo"), "x"))).stdout == "x\n"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("echo begun; sleep 600 #", -signal.SIGTERM),
        ("trap 'echo cleaned; exit 5' TERM; echo begun; while :; do sleep 0.05; done #", 5),
        ("trap '' TERM; echo begun; while :; do sleep 0.05; done #", -signal.SIGKILL),
    ],
)
@live
async def test_an_abort_reaches_what_runs_in_the_shell(text, code):
    async with rigged() as rig:
        lease = command(rig, text, grace_s=0.5 if code == -signal.SIGKILL else 30.0)
        task = rig.begin(given(lease, "x"))
        await until(lambda: any(words(p)[:1] == ["sleep"] for p in rig.busy()))
        report, took_s = await rig.stop(lease, task, grace_s=lease.grace_s)
        assert report.outcome is Outcome.ABORTED and took_s < SOON_S
        if code != -signal.SIGKILL:
            assert report.exit_code in (code, 128 - code)  # the shell of `sleep` may have told it on
            assert report.stdout.startswith("begun\n") and ("cleaned" in report.stdout) == (code == 5)
        assert not rig.busy()


@live
async def test_a_child_that_has_nothing_to_do_ends_its_shell():
    async with rigged() as rig:
        await rig.run(given(command(rig, "echo"), "x"))
        assert shells(rig)
        await until(lambda: not shells(rig))
        assert (await rig.run(given(command(rig, "echo"), "x"))).stdout == "x\n"


@live
async def test_what_stays_in_the_folder_is_not_there_for_the_next_input():
    async with rigged() as rig:
        first, second, third = await over(rig, command(rig, "pwd; touch {}; ls | wc -l #"), "abc")
        assert first.stdout.split()[1] == second.stdout.split()[1] == third.stdout.split()[1] == "1"
        assert not Path(first.stdout.split()[0]).exists()


def test_a_line_is_made_of_quoted_words():
    line = shell.order("echo 'a'\n) ; evil (", {"A": "x'; y"}, 1)
    assert line is not None and os.fsencode("""export A='x'"'"'; y';eval 'echo '"'"'a'"'"'\n) ; evil ('""") in line
    assert b">&5 2>&6" in line
