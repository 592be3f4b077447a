"""Limits of scripts, commands and inputs, by control groups where this machine lets us make some, else by the shell's."""

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from msgspec import Raw
from msgspec.structs import replace

from rota.core.jobs import Limits, RunOptions
from rota.core.states import Outcome
from rota.worker import confine
from rota.worker.confine import Base, Groups, find_bases, sweep, ulimits
from rota.worker.oom import OomWatch
from tests.worker.executor_rig import PATIENCE_S, live, rigged, until

BASES = find_bases()
MEMORY_GROUPS = pytest.mark.skipif("memory" not in BASES, reason="no group for memory is ours to divide here")
PIDS_GROUPS = pytest.mark.skipif("pids" not in BASES, reason="no group for processes is ours to divide here")
PYTHON = sys.executable
HUNGRY = f"{PYTHON} -c 'x = bytearray(400 << 20); print(len(x))'"


def limited(lease, **limits):
    return replace(lease, options=RunOptions(limits=Limits(**limits)))


def command(rig, text, **limits):
    return limited(replace(rig.script(text), kind="command"), **limits)


def given(lease, item, index=0):
    return replace(lease, index=index, inputs=[Raw(msgspec.json.encode(item))])


def groups_of(owner: int) -> set[str]:
    """Return the groups that a keeper has made: others may be at it beside these tests."""
    return {f"{b.path}/{n}" for b in set(BASES.values()) for n in os.listdir(b.path) if f"-{owner}-" in n}


# --- what each limit does


@pytest.mark.parametrize("memory", [64 << 20, 200 << 20])
@live
async def test_memory_over_its_limit_is_not_had(memory):
    async with rigged() as rig:
        assert (await rig.run(rig.script(HUNGRY))).exit_code == 0
        for lease in (limited(rig.script(HUNGRY), memory=memory), command(rig, f"{HUNGRY}; exit $?", memory=memory)):
            report = await rig.run(lease)
            assert report.outcome is (Outcome.OUT_OF_MEMORY if "memory" in BASES else Outcome.ERRORED), report
        assert (await rig.run(limited(rig.script("echo small"), memory=memory))).exit_code == 0
        assert (await rig.run(rig.script(HUNGRY))).exit_code == 0  # the child that had the limit has none now


@MEMORY_GROUPS
@live
async def test_memory_is_counted_over_the_whole_tree():
    async with rigged() as rig:
        half = f"{PYTHON} -c 'x = bytearray(60 << 20); import time; time.sleep(1)' & "
        report = await rig.run(limited(rig.script(half * 4 + "wait; exit 3"), memory=128 << 20))
        assert report.outcome is Outcome.OUT_OF_MEMORY
        one = await rig.run(limited(rig.script(half + "wait; exit 3"), memory=128 << 20))
        assert (one.outcome, one.exit_code) == (Outcome.ERRORED, 3)


@live
async def test_processor_time_over_its_limit_ends_a_process_and_the_error_says_so():
    async with rigged() as rig:
        began = time.monotonic()
        for text in ("while :; do :; done", "trap '' XCPU; while :; do :; done"):
            report = await rig.run(limited(rig.script(text), cpu=1))
            assert (report.outcome, report.error.type) == (Outcome.ERRORED, "CpuLimit")
            assert report.error.message == "it used more than 1 s of processor time"
        assert time.monotonic() - began < PATIENCE_S
        idle = await rig.run(limited(rig.script("sleep 1.2"), cpu=1))
        assert idle.outcome is Outcome.SUCCEEDED


@live
async def test_processor_time_is_summed_over_all_processes_of_an_input_and_counts_anew_for_the_next():
    async with rigged() as rig:
        burn = f"""{PYTHON} -c 'import time\nwhile time.process_time() < 0.4: pass'"""
        lease = command(rig, f"for i in $(seq {{}}); do {burn}; done", cpu=1.0)
        many, one, again = [await rig.run(given(lease, n)) for n in (3, 1, 1)]
        assert (many.outcome, many.error.type) == (Outcome.ERRORED, "CpuLimit")
        assert one.outcome is again.outcome is Outcome.SUCCEEDED


@live
async def test_open_files_are_bounded():
    async with rigged() as rig:
        for lease in (
            limited(rig.script("ulimit -n; ulimit -Hn"), files=32),
            command(rig, "ulimit -n; ulimit -Hn;:", files=32),
        ):
            report = await rig.run(given(lease, "x"))
            assert report.stdout == "32\n32\n"
        assert int((await rig.run(given(command(rig, "ulimit -n;:"), "x"))).stdout) > 32


@PIDS_GROUPS
@live
async def test_processes_are_bounded_over_the_whole_tree():
    async with rigged() as rig:
        fork = "for i in $(seq 30); do sleep 60 & done; echo all; : {}"  # in sh: bash tries again for a while
        report = await rig.run(given(command(rig, fork, processes=10), "x"))
        assert report.outcome is Outcome.ERRORED and "fork" in report.stderr and not report.stdout
        for count in (40, None):
            report = await rig.run(given(command(rig, fork, processes=count), "x"))
            assert (report.stdout, report.stderr) == ("all\n", "")
        assert (await rig.run(given(limited(rig.script("echo one"), processes=1), "x"))).stdout == "one\n"
        assert not rig.busy()


@live
async def test_a_fork_bomb_is_ended_with_all_that_it_made():
    if "pids" not in BASES:
        pytest.skip("without a control group root is not held to a number of processes")
    async with rigged() as rig:
        lease = limited(rig.script("f() { f | f & }; f; sleep 600", timeout_s=1.0), processes=50)
        report = await rig.run(lease)
        assert report.outcome is Outcome.TIMED_OUT and not report.proof.survivors
        assert not rig.busy() and (await rig.run(rig.script("true"))).exit_code == 0


# --- groups come and go


@PIDS_GROUPS
@live
async def test_groups_are_gone_with_their_children():
    async with rigged() as rig:
        keeper = rig.keeper.pid
        await rig.run(limited(rig.script("true"), processes=5))
        assert groups_of(keeper)
        hung = rig.begin(limited(rig.script("sleep 60"), processes=5))
        await until(rig.busy)
        await rig.pool.kill_all()
        assert (await hung).outcome is Outcome.LOST
        await until(lambda: not groups_of(keeper))
        assert (await rig.run(limited(rig.script("exit 2"), processes=5))).exit_code == 2
        assert groups_of(keeper)
    assert not groups_of(keeper)


@PIDS_GROUPS
@live
async def test_groups_of_a_keeper_that_was_killed_are_swept_with_what_is_in_them():
    async with rigged() as rig:
        keeper = rig.keeper.pid
        task = rig.begin(limited(rig.script("sleep 600"), processes=5))
        await until(lambda: groups_of(keeper))
        os.kill(keeper, signal.SIGKILL)
        assert (await task).outcome is Outcome.LOST
        assert (await rig.run(limited(rig.script("exit 2"), processes=5))).exit_code == 2  # under a new keeper
        assert not groups_of(keeper) and groups_of(rig.keeper.pid)


@PIDS_GROUPS
def test_the_sweep_kills_what_a_dead_owner_left_and_spares_the_living():
    sleepers = [subprocess.Popen(["sleep", "600"]) for _ in range(2)]
    dead, own = Groups(BASES), Groups(BASES)
    dead._prefix = f"{confine._family()}999999999-1-"
    try:
        assert dead.put(1, sleepers[0].pid, memory=None, processes=5)["processes"]
        assert own.put(1, sleepers[1].pid, memory=None, processes=5)["processes"]
        sweep(BASES)
        assert sleepers[0].wait(PATIENCE_S) == -signal.SIGKILL and sleepers[1].poll() is None
        assert not groups_of(999999999)
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()
        own.close()
    assert not groups_of(os.getpid())


# --- where groups can be made


def tree(root: Path, *groups: str) -> None:
    for group in groups:
        (root / group).mkdir(parents=True, exist_ok=True)
        (root / group / "cgroup.procs").touch()


def test_only_groups_that_are_ours_are_divided(tmp_path, monkeypatch):
    tree(tmp_path, "memory/a/b", "pids", "unified/x")
    own = "9:pids:/\n4:cpu,memory:/a/b\n0::/x\n"
    top = {"pids": Base(f"{tmp_path}/pids", 1)}
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert find_bases(str(tmp_path), own) == top  # root may write to the other one too, but it is somebody else's
    monkeypatch.setattr(os, "getxattr", lambda path, _name: b"1" if path.endswith("/a/b") else b"")
    assert find_bases(str(tmp_path), own) == top | {"memory": Base(f"{tmp_path}/memory/a/b", 1)}
    monkeypatch.undo()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)  # whoever is not root may write to what was given to them
    assert find_bases(str(tmp_path), own) == top | {"memory": Base(f"{tmp_path}/memory/a/b", 1)}
    assert find_bases(str(tmp_path), "") == find_bases(str(tmp_path), "3:pids:/gone\n") == {}


def test_a_unified_group_hands_down_what_the_group_above_it_lets_it(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    tree(tmp_path, "rota.service", "rota.service/worker")
    service = tmp_path / "rota.service"
    (service / "worker" / "cgroup.controllers").write_text("memory pids\n")
    (service / "cgroup.controllers").write_text("cpu memory pids\n")
    (service / "cgroup.subtree_control").write_text("memory pids\n")
    both = {"memory": Base(str(service), 2), "pids": Base(str(service), 2)}
    assert find_bases(str(tmp_path), "0::/rota.service/worker\n") == both
    (service / "cgroup.subtree_control").write_text("pids\n")
    (service / "cgroup.subtree_control").chmod(0o444)
    monkeypatch.setattr(
        confine, "_write", lambda _path, _text: False
    )  # as the kernel, where processes are in the group
    assert find_bases(str(tmp_path), "0::/rota.service/worker\n") == {"pids": Base(str(service), 2)}


# --- by the shell


def test_what_the_shell_is_told():
    assert ulimits(memory=None, cpu=None, processes=None, files=None) == ""
    assert ulimits(memory=1 << 20, cpu=None, processes=None, files=None) == "ulimit -v 1024 2>/dev/null; "
    assert ulimits(memory=1, cpu=0.2, processes=None, files=7) == (
        "ulimit -v 1 2>/dev/null; ulimit -S -t 1 2>/dev/null; ulimit -H -t 2 2>/dev/null; ulimit -n 7 2>/dev/null; "
    )


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
def test_the_shell_obeys_and_goes_on_where_it_may_not(shell):
    text = ulimits(memory=1 << 30, cpu=5, processes=77, files=20)
    show = "echo $(ulimit -v) $(ulimit -t) $(ulimit -H -t) $(ulimit -n)"
    for _ in range(2):
        ran = subprocess.run([shell, "-c", text + show], capture_output=True, text=True)
        assert (ran.stdout, ran.stderr) == ("1048576 5 6 20\n", "")
    again = ulimits(memory=2 << 30, cpu=50, processes=99, files=40)
    # one whom nobody else is: as `nobody` many a server of the tests runs, and all of its processes count
    unprivileged = {"user": 64999, "group": 64999} if os.geteuid() == 0 else {}
    ran = subprocess.run([shell, "-c", text + again + show], capture_output=True, text=True, **unprivileged)
    assert (ran.stdout, ran.stderr) == ("1048576 5 6 20\n", "")  # what is tighter already stays


def test_kills_are_counted_where_the_group_says(tmp_path):
    counter = tmp_path / "memory.events"
    watch = OomWatch([counter])
    assert not watch.struck()
    for kills in itertools.islice(itertools.count(1), 3):
        counter.write_text(f"oom 1\noom_kill {kills}\n")
        assert watch.struck() and not watch.struck()
