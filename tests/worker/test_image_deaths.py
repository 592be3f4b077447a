"""Whoever dies, no container goes on: workers, keepers, the engine."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from rota.core.states import Outcome
from rota.worker import engine as engines
from rota.worker import images, proctree, reaper
from rota.worker.images import ImageRunner
from rota.worker.supervisor import monotonic
from tests.engines import IMAGE, Engine, engine, start_engine, wait_until
from tests.processes import started
from tests.worker.executor_rig import live, until
from tests.worker.image_rig import Guarded, lease, rigged, shell

__all__ = ["engine"]
pytestmark = pytest.mark.xdist_group("engine")

Host = Callable[..., "tuple[subprocess.Popen[str], int]"]


def is_over(pid: int) -> bool:
    """Say whether a process has ended; whoever has inherited it may not have reaped it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.fixture
def host(engine: Engine) -> Iterator[Host]:
    """Start workers whose containers run; gives the process, and the pid of its keeper."""
    hosts: list[subprocess.Popen[str]] = []
    keepers: list[int] = []

    def start(count: int = 2, lease_s: float = 0.0) -> tuple[subprocess.Popen[str], int]:
        command = [sys.executable, "-m", "tests.worker.image_host", engine.place, str(count), str(lease_s)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        hosts.append(process)
        assert process.stdout is not None
        keepers.append(int(process.stdout.readline()))
        wait_until(lambda: len(running(engine)) == count, "all containers run")
        return process, keepers[-1]

    yield start
    for process in hosts:
        process.kill()
        process.communicate()
    for keeper in keepers:
        wait_until(lambda pid=keeper: is_over(pid), "the keeper has ended")
    for found in engine.containers():
        engine.call("DELETE", f"/containers/{found['Id']}", params={"force": "true"})


def running(engine: Engine) -> list[str]:
    return [found["Id"] for found in engine.containers() if found["State"] == "running"]


def test_when_a_worker_is_killed_its_containers_are_removed_at_once(engine: Engine, host: Host):
    worker, _ = host(3)
    worker.kill()
    wait_until(lambda: not engine.containers(), "no container is left")


def test_when_a_worker_stands_still_beyond_its_lease_its_containers_are_removed(engine: Engine, host: Host):
    worker, _ = host(2, lease_s=2.0)
    assert worker.stdout is not None
    worker.send_signal(signal.SIGUSR1)
    assert worker.stdout.readline() == "leased\n"
    worker.send_signal(signal.SIGSTOP)
    wait_until(lambda: not engine.containers(), "no container is left")
    worker.send_signal(signal.SIGCONT)
    assert worker.stdout.readline().split() == ["lost", "lost"]


def test_what_a_worker_leaves_whose_keeper_was_killed_too_is_swept_by_the_next(engine: Engine, host: Host):
    worker, keeper = host(2)
    os.kill(worker.pid, signal.SIGSTOP)
    os.kill(keeper, signal.SIGKILL)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    assert len(running(engine)) == 2
    assert len(reaper.sweep(engine.place)) == 2
    assert engine.containers() == []


def test_the_containers_of_workers_that_live_are_not_swept(engine: Engine, host: Host):
    host(2)
    assert reaper.sweep(engine.place) == []
    assert len(running(engine)) == 2


def test_a_keeper_that_is_started_again_knows_the_containers(engine: Engine, host: Host):
    worker, keeper = host(1)
    former = {process.pid for process in psutil.Process(worker.pid).children(recursive=True)}
    os.kill(keeper, signal.SIGKILL)

    def new_keeper() -> int | None:
        below = {process.pid for process in psutil.Process(worker.pid).children()} - former
        return next((pid for pid in below if b"rota.worker.keeper" in proctree.program(pid)), None)

    found = wait_until(new_keeper, "a new keeper")
    assert len(running(engine)) == 1
    worker.kill()
    wait_until(lambda: not engine.containers(), "no container is left")
    wait_until(lambda: is_over(found), "the keeper has ended")


@pytest.mark.parametrize(
    ("who", "dead"),
    [
        (lambda me: "/".join(me), False),
        (lambda me: "/".join([*me[:4], "1"]), True),  # another process has its pid
        (lambda me: "/".join([*me[:3], "4194303", me[4]]), True),
        (lambda me: "/".join([me[0], "another boot", *me[2:4], "1"]), True),
        (lambda me: "/".join(["elsewhere", "another boot", *me[2:4], "1"]), False),  # nobody here knows
        (lambda me: "/".join([*me[:2], "pid:[1]", me[3], "1"]), False),  # in a container of its own
        (lambda me: "", False),
        (lambda me: "a/b", False),
    ],
)
def test_only_who_is_certainly_gone_counts_as_dead(who: Callable[[list[str]], str], dead: bool):
    assert reaper.is_dead(who(reaper.whoami().split("/"))) is dead


def test_a_worker_that_was_waited_for_counts_as_dead_and_so_does_a_zombie():
    command = [sys.executable, "-c", "from rota.worker.reaper import whoami; print(whoami(), flush=True); input()"]
    with started(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        who = process.stdout.readline().strip()
        assert not reaper.is_dead(who)
        process.kill()
        wait_until(lambda: reaper.is_dead(who), "it counts as dead")
    assert reaper.is_dead(who)


@live
async def test_an_engine_that_is_killed_loses_its_attempts_and_what_ran_is_removed_when_it_is_back():
    engine = start_engine()
    try:
        async with rigged(engine) as rig:
            job = shell("trap '' TERM; echo up; while :; do sleep 1; done")
            task = rig.begin(job)
            await rig.says(job, "up")
            engine.kill()
            await asyncio.to_thread(engine.start)
            report = await task
            assert report.outcome is Outcome.LOST
            assert report.error is not None
            assert report.error.message.startswith(f"the container engine at {engine.place} is gone")
            assert report.charged
            assert rig.there(job) == []
    finally:
        engine.stop()


@live
async def test_what_an_engine_that_hangs_did_not_remove_is_removed_when_it_goes_on(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engines, "_END_S", 1.0)
    monkeypatch.setattr(images, "_REACH_S", 1.0)
    monkeypatch.setattr(images, "_LONG_PAUSE_S", 0.2)
    engine = start_engine()
    try:
        async with rigged(engine) as rig:
            job = lease("sleep", "60")
            task = rig.begin(job)
            await rig.running(job)
            await until(lambda: rig.runner._running[job.job, 1].started)
            engine.process.send_signal(signal.SIGSTOP)
            rig.runner.stop(job.job, 1, 0.0, Outcome.ABORTED)
            report = await task
            assert report.outcome is Outcome.LOST
            assert rig.guarded.names == {f"rota-{job.job}-1"}
            engine.process.send_signal(signal.SIGCONT)
            await until(lambda: not rig.guarded.names)
            assert rig.there(job) == []
    finally:
        engine.stop()


@live
async def test_an_engine_that_is_not_there_costs_a_job_nothing(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(images, "_REACH_S", 1.0)
    place, guarded = str(tmp_path / "nobody.sock"), Guarded()
    runner = ImageRunner(place, guarded, lambda _: None, monotonic)
    await runner.start()
    report = await runner.run(lease("true"))
    assert (report.outcome, report.charged) == (Outcome.LOST, False)
    assert report.error is not None
    assert place in report.error.message
    await runner.close()


def test_the_reaper_says_what_it_cannot_reach(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        reaper.sweep(str(tmp_path / "nobody.sock"))
    reaper.remove_all([(str(tmp_path / "nobody.sock"), "rota-x-1")])


def test_a_container_that_was_being_created_when_its_worker_died_is_found_a_moment_later(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    name = "rota-late-1"
    body = {"Image": IMAGE, "Cmd": ["true"], "Labels": {"rota.job": "late"}}

    def a_moment(_seconds: float) -> None:
        engine.call("POST", "/containers/create", params={"name": name}, json=body)
        assert len(engine.containers()) == 1

    monkeypatch.setattr(reaper, "time", SimpleNamespace(sleep=a_moment))
    reaper.remove_all([(engine.place, name)])
    assert engine.containers() == []
