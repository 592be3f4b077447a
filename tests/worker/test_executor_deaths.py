"""kill -9 of the worker, the keeper and the zygote, at work and at rest."""

import asyncio
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from contextlib import contextmanager, suppress

import psutil

from rota.core.states import Outcome
from tests.postgres import wait_for
from tests.processes import PATIENCE_S, alive, started
from tests.worker.executor_rig import SOON_S, live, rigged, until, value

TRAPPED = "trap '' TERM; setsid sleep 600 & ( ( sleep 600 & ) & ); touch {}; while :; do sleep 600; done"


def opened(process: psutil.Process) -> list[str]:
    """Return the files that a process holds open: none, of one that has ended meanwhile (a shell between others does)."""
    with suppress(psutil.NoSuchProcess):
        return [file.path for file in process.open_files()]
    return []


@live
async def test_kill_of_the_worker_leaves_nothing_and_frees_the_lock_last(tmp_path):
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    host = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-m", "tests.worker.executor_host", str(tmp_path), str(lock)],
        pass_fds=(lock,),
        stdout=subprocess.PIPE,
        text=True,
    )
    os.close(lock)
    try:
        assert host.stdout is not None
        keeper, folder = host.stdout.readline().split()
        tree = []

        def grown() -> bool:
            tree[:] = psutil.Process(int(keeper)).children(recursive=True)
            return len(tree) >= 18

        await until(grown)
        for process in tree:  # no job holds the owner's lock
            assert not [path for path in opened(process) if path.endswith("/lock")], process
        host.kill()
        began = time.monotonic()
        again = os.open(tmp_path / "lock", os.O_RDWR)
        fcntl.flock(again, fcntl.LOCK_EX)
        took_s = time.monotonic() - began
        os.close(again)
        assert not alive(tree)
        assert took_s < SOON_S
        await until(lambda: not psutil.pid_exists(int(keeper)) or not alive([psutil.Process(int(keeper))]))
        assert not os.path.exists(folder)
    finally:
        host.kill()
        host.wait()
        host.stdout.close()


@contextmanager
def bare_keeper(folder):
    """Give a keeper that has nothing to keep yet, and the socket that it takes orders by."""
    folder.mkdir()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    manner = json.dumps({"user": None, "inherit": []})
    command = [sys.executable, "-m", "rota.worker.keeper", str(theirs.fileno()), str(folder), manner]
    with ours, started(command, pass_fds=(theirs.fileno(),), stderr=subprocess.PIPE, text=True) as keeper:
        theirs.close()
        yield keeper, ours


def test_a_worker_that_dies_before_its_keeper_has_answered_leaves_nothing_either(tmp_path):
    """Its end may come between a look for orders and an answer: a keeper that ends of that spares whatever hides."""
    with bare_keeper(tmp_path / "scripts") as (keeper, orders):
        orders.shutdown(socket.SHUT_RD)  # no answer can be sent any more, and there is no end-of-file yet
        orders.send(json.dumps({"do": "confine", "id": 1, "ref": 1, "memory": None, "processes": None}).encode())
        wait_for(lambda: keeper.poll() is not None or is_idle(keeper.pid, orders))
        orders.close()
        assert keeper.wait(PATIENCE_S) == 0, keeper.stderr.read()
    assert not (tmp_path / "scripts").exists()


def test_a_keeper_that_fails_leaves_nothing(tmp_path):
    with bare_keeper(tmp_path / "scripts") as (keeper, orders):
        orders.send(b"no order")
        assert keeper.wait(PATIENCE_S) == 1
        assert "JSONDecodeError" in keeper.stderr.read()
    assert not (tmp_path / "scripts").exists()


def is_idle(pid: int, orders: socket.socket) -> bool:
    """Say whether a keeper has read all its orders and waits for more."""
    unread = struct.unpack("i", fcntl.ioctl(orders, termios.TIOCOUTQ, bytes(4)))[0]
    return not unread and psutil.Process(pid).status() == psutil.STATUS_SLEEPING


@live
async def test_kill_of_the_keeper(tmp_path):
    async with rigged(slots=3) as rig:
        leases = [
            rig.lease("stubborn", str(tmp_path / "a")),
            rig.lease("ignores_cancel", str(tmp_path / "b")),
            rig.script(TRAPPED.format(tmp_path / "c")),
            rig.lease("shell", {"path": str(tmp_path / "d"), "script": TRAPPED.format('"$1"')}),
        ]
        tasks = [rig.begin(lease) for lease in leases]
        await until(lambda: all((tmp_path / n).exists() for n in "abcd"))
        keeper, tree = rig.keeper, rig.below()
        assert len(tree) >= 11
        keeper.kill()
        reports = await asyncio.gather(*tasks)
        assert not alive(tree)
        for report in reports:
            assert report.outcome is Outcome.LOST and report.charged and "keeper" in report.error.message
        assert value(await rig.run(rig.lease("noop"))) is None
        assert value(await rig.run(rig.lease("anoop"))) is None
        assert (await rig.run(rig.script("true"))).exit_code == 0
        assert rig.keeper != keeper


@live
async def test_kill_of_the_keeper_during_an_abort(tmp_path):
    async with rigged() as rig:
        lease, cut = rig.lease("stubborn", str(tmp_path / "a")), rig.lease("ignores_cancel", str(tmp_path / "b"))
        tasks = [rig.begin(lease), rig.begin(cut)]
        await until(lambda: (tmp_path / "a").exists() and (tmp_path / "b").exists())
        rig.pool.stop(lease.job, lease.attempt, 5, Outcome.ABORTED)
        rig.pool.stop(cut.job, cut.attempt, 5, Outcome.ABORTED)
        await asyncio.sleep(0.05)
        tree = rig.below()
        rig.keeper.kill()
        reports = await asyncio.gather(*tasks)
        assert {r.outcome for r in reports} == {Outcome.ABORTED} and not alive(tree)


@live
async def test_kill_of_the_zygote(tmp_path):
    async with rigged(slots=2) as rig:
        running = rig.begin(rig.lease("asleep", 0.3))
        lease = rig.lease("polite", str(tmp_path / "a"))
        polite = rig.begin(lease)
        await until((tmp_path / "a").exists)
        first = rig.zygote
        first.kill()
        assert value(await rig.run(rig.lease("noop"))) is None  # with a child of the next one
        assert value(await running) == "slept"
        report, _ = await rig.stop(lease, polite, grace_s=5)
        assert report.outcome is Outcome.ABORTED
        assert rig.zygote != first


@live
async def test_kill_of_the_zygote_at_any_moment():
    async with rigged(slots=4, recycle_jobs=1) as rig:
        for round_ in range(6):
            tasks = [rig.begin(rig.lease("noop")) for _ in range(6)]
            await asyncio.sleep(0.001 * round_)
            rig.zygote.kill()
            for task in tasks:
                assert value(await task) is None
        await until(lambda: not rig.busy())


@live
async def test_kill_of_the_keeper_at_any_moment():
    async with rigged(slots=4, recycle_jobs=1) as rig:
        for round_ in range(6):
            tasks = [rig.begin(rig.lease("noop")) for _ in range(4)] + [rig.begin(rig.script("true"))]
            await asyncio.sleep(0.002 * round_)
            tree = rig.below()
            rig.keeper.kill()
            for task in tasks:
                assert (await task).outcome in (Outcome.SUCCEEDED, Outcome.LOST)
            await until(lambda tree=tree: not alive(tree))  # all may have ended before the keeper was killed
            assert value(await rig.run(rig.lease("noop"))) is None


@live
async def test_kill_of_a_child_sweeps_its_tree(tmp_path):
    async with rigged() as rig:
        lease = rig.lease("shell", {"path": str(tmp_path / "x"), "script": TRAPPED.format('"$1"')})
        task = rig.begin(lease)
        await until((tmp_path / "x").exists)
        child = next(c for c in rig.pool._nursery._children.values() if c.runs)
        tree = rig.busy()
        assert len(tree) >= 3
        os.kill(child.pid, signal.SIGKILL)
        report = await task
        assert report.outcome is Outcome.LOST and "SIGKILL" in report.error.message
        assert report.proof.processes >= 3 and not alive(tree)


@live
async def test_close_with_jobs_running(tmp_path):
    async with rigged() as rig:
        lease = rig.script(TRAPPED.format(tmp_path / "x"))
        task = rig.begin(lease)
        await until((tmp_path / "x").exists)
        tree = rig.below()
        await rig.pool.close()
        assert not alive(tree) and (await task).outcome is Outcome.LOST
        await rig.pool.close()
        await rig.pool.start()
        assert value(await rig.run(rig.lease("noop"))) is None
