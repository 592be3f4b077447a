"""Aborts that abort: whatever a job does, its whole tree ends, and the proof says what it took."""

import asyncio
import os
import time

import psutil
import pytest

from rota.core.states import Outcome
from tests.processes import alive
from tests.worker.executor_rig import SOON_S, live, rigged, until, value

TRAP = "trap '' TERM INT HUP; "
SETSID = 'setsid sleep 600 & touch "$1"; wait'
NOHUP = 'nohup sleep 600 >/dev/null 2>&1 & touch "$1"; wait'
DOUBLE_FORK = '( ( sleep 600 & ) & ); touch "$1"; sleep 600'
DAEMON = (
    '( setsid bash -c "trap : TERM; while :; do sleep 1; done" </dev/null >/dev/null 2>&1 & ); touch "$1"; sleep 600'
)
TRAPPED = TRAP + 'touch "$1"; while :; do sleep 600; done'
RESPAWNING = TRAP + 'f() { sleep 0.002; f & }; f; touch "$1"; sleep 600'
CLEAN_ENV = 'env -i setsid sleep 600 & touch "$1"; wait'
WICKED = {
    "setsid": SETSID,
    "nohup": NOHUP,
    "double fork": DOUBLE_FORK,
    "daemon": DAEMON,
    "trap": TRAPPED,
    "respawning": RESPAWNING,
    "clean environment": CLEAN_ENV,
}


async def abort(rig, lease, path, grace_s=0.3, outcome=Outcome.ABORTED):
    """Start a job, stop it when it has made `path`, and see that nothing of it is left."""
    task = rig.begin(lease)
    await until(path.exists)
    job = rig.busy()
    seen = [p for p in rig.below() if p != rig.zygote]
    report, took_s = await rig.stop(lease, task, outcome, grace_s)
    assert not rig.busy()
    left = {c.pid for c in rig.pool._nursery._children.values()}
    assert not alive(p for p in seen if p.pid not in left)
    assert report.outcome is outcome, report
    assert report.proof is not None and not report.proof.survivors
    assert report.proof.took_s <= took_s + 0.01
    return report, took_s, job


async def abort_all(rig, leases):
    """Abort several jobs one right after the other."""
    tasks = {path: rig.begin(lease) for path, lease in leases.items()}
    await until(lambda: all(path.exists() for path in leases))
    for path, lease in leases.items():
        report, took_s = await rig.stop(lease, tasks[path])
        assert report.outcome is Outcome.ABORTED and took_s < SOON_S, report
        assert report.proof.processes >= 2 and not report.proof.survivors
    assert not rig.busy()


@live
async def test_a_handler_that_obeys_ends_at_once(tmp_path):
    async with rigged() as rig:
        lease = rig.lease("polite", str(tmp_path / "pid"))
        report, took_s, _ = await abort(rig, lease, tmp_path / "pid", grace_s=60)
        assert [name for name, _ in report.proof.signals] == ["TERM"]
        assert report.proof.processes == 1 and took_s < SOON_S
        assert rig.text(lease, "stdout") == "cleaned up, aborting: True\n"
        assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))
        assert value(await rig.run(rig.lease("noop"))) is None


@pytest.mark.parametrize("handler", ["stubborn", "busy_in_c", "stops_itself"])
@live
async def test_a_handler_that_does_not_obey_is_killed_after_the_grace(handler, tmp_path):
    async with rigged() as rig:
        report, took_s, _ = await abort(rig, rig.lease(handler, str(tmp_path / "x")), tmp_path / "x")
        if handler != "stops_itself":  # SIGCONT wakes that one
            assert [name for name, _ in report.proof.signals] == ["TERM", "KILL"]
            assert 0.3 <= took_s < SOON_S


@live
async def test_wicked_scripts(tmp_path):
    async with rigged(slots=8) as rig:
        await abort_all(
            rig, {tmp_path / k: rig.script(f"set -- '{tmp_path / k}'\n{text}") for k, text in WICKED.items()}
        )


@pytest.mark.parametrize("handler", ["shell", "ashell"])
@live
async def test_wicked_programs_of_handlers(handler, tmp_path):
    async with rigged(slots=8) as rig:
        leases = {
            tmp_path / k: rig.lease(handler, {"path": str(tmp_path / k), "script": text}) for k, text in WICKED.items()
        }
        await abort_all(rig, leases)
        assert value(await rig.run(rig.lease("noop"))) is None
        assert value(await rig.run(rig.lease("anoop"))) is None


@live
async def test_a_storm_of_forks(tmp_path):
    async with rigged() as rig:
        lease = rig.script(
            "s() { while :; do (sleep 0.01 &) ; sleep 0.002; done; }\n"
            + TRAP
            + f"for i in 1 2 3 4 5 6; do s & done; touch {tmp_path / 'x'}; wait"
        )
        _, took_s, _ = await abort(rig, lease, tmp_path / "x")
        assert took_s < SOON_S


@live
async def test_two_hundred_children(tmp_path):
    async with rigged() as rig:
        report, took_s, _ = await abort(
            rig, rig.lease("many", {"path": str(tmp_path / "x"), "count": 200}), tmp_path / "x", 60
        )
        assert report.proof.processes >= 201 and took_s < SOON_S


@live
async def test_a_stopped_process(tmp_path):
    async with rigged() as rig:
        lease = rig.script(f"sleep 600 & kill -STOP $!; touch {tmp_path / 'x'}; kill -STOP $$; wait")
        task = rig.begin(lease)
        await until((tmp_path / "x").exists)
        await until(lambda: [p.status() for p in rig.busy()].count("stopped") == 2)
        report, took_s = await rig.stop(lease, task)
        assert report.outcome is Outcome.ABORTED and took_s < SOON_S and not rig.busy()


@live
async def test_a_flood_can_be_aborted(tmp_path):
    async with rigged() as rig:
        await abort(rig, rig.script(f"touch {tmp_path / 'x'}; cat /dev/zero"), tmp_path / "x")


@live
async def test_the_folder_of_an_aborted_script_goes_too(tmp_path):
    async with rigged() as rig:
        lease = rig.script(
            TRAP + f"pwd > {tmp_path / 'y'}; touch a b c; touch {tmp_path / 'x'}; while :; do sleep 1; done"
        )
        await abort(rig, lease, tmp_path / "x")
        folder = (tmp_path / "y").read_text().strip()
        await until(lambda: not os.path.exists(folder))


@live
async def test_a_success_sweeps_what_it_left(tmp_path):
    async with rigged() as rig:
        for n, handler in enumerate(("shell", "ashell")):
            path = tmp_path / str(n)
            for _ in range(2):
                path.unlink(missing_ok=True)
                report = await rig.run(rig.lease(handler, {"path": str(path), "script": DAEMON, "wait": False}))
                assert report.outcome is Outcome.SUCCEEDED and report.proof.processes >= 1
                assert [name for name, _ in report.proof.signals] == ["KILL"]
                assert not rig.busy()
        report = await rig.run(rig.script("setsid sleep 600 & nohup sleep 600 & exit 0"))
        assert report.outcome is Outcome.SUCCEEDED and report.proof.processes == 2 and not rig.busy()
        report = await rig.run(rig.lease("thread_forks", str(tmp_path / "t")))
        assert report.outcome is Outcome.SUCCEEDED and report.proof.processes == 1 and not rig.busy()


@live
async def test_a_fork_that_comes_out_of_the_handler_says_nothing(tmp_path):
    async with rigged() as rig:
        assert value(await rig.run(rig.lease("forks", str(tmp_path / "x")))) == "from the handler"
        await until(lambda: not rig.busy())
        assert value(await rig.run(rig.lease("noop"))) is None


@live
async def test_timeouts(tmp_path):
    async with rigged() as rig:
        for handler in ("sleeps", "polite", "stubborn", "ignores_cancel", "blocks_loop"):
            report = await rig.run(rig.lease(handler, str(tmp_path / handler), timeout_s=0.2))
            assert report.outcome is Outcome.TIMED_OUT, report
            assert "timeout of 0.2 s" in report.error.message and report.proof is not None
        report = await rig.run(rig.script("sleep 60", timeout_s=0.2))
        assert report.outcome is Outcome.TIMED_OUT and report.error.message.endswith("0.2 s")
        assert not rig.busy()
        assert value(await rig.run(rig.lease("asleep", 0.01, timeout_s=5))) == "slept"


@live
async def test_what_was_stopped_is_not_a_success(tmp_path):
    async with rigged() as rig:
        lease = rig.lease("forgets_to_raise", str(tmp_path / "x"))
        await abort(rig, lease, tmp_path / "x", outcome=Outcome.INTERRUPTED)


@live
async def test_a_success_that_came_first_stays_one():
    async with rigged() as rig:
        for lease in [rig.lease("noop") for _ in range(20)] + [rig.lease("anoop") for _ in range(20)]:
            task = rig.begin(lease)
            for _ in range(lease.attempt % 5):
                await asyncio.sleep(0)
            report, _ = await rig.stop(lease, task)
            assert report.outcome in (Outcome.SUCCEEDED, Outcome.ABORTED)
        rig.pool.stop("nobody", 1, 0.1, Outcome.ABORTED)


@live
async def test_stop_before_there_is_a_child():
    async with rigged() as rig:
        lease = rig.lease("noop")
        task = rig.begin(lease)
        await asyncio.sleep(0)
        report, took_s = await rig.stop(lease, task)
        assert report.outcome is Outcome.ABORTED and took_s < SOON_S
        assert value(await rig.run(rig.lease("noop"))) is None


@live
async def test_an_async_job_that_obeys_takes_nobody_along(tmp_path):
    async with rigged() as rig:
        sibling = rig.begin(rig.lease("asleep", 0.5))
        report, took_s, _ = await abort(rig, rig.lease("sleeps", str(tmp_path / "x")), tmp_path / "x", 60)
        assert report.proof.signals == [("CANCEL", 0.0)] and took_s < SOON_S
        assert value(await sibling) == "slept"


@pytest.mark.parametrize("handler", ["ignores_cancel", "blocks_loop", "aforks"])
@live
async def test_an_async_job_that_does_not_obey_takes_its_child_along(handler, tmp_path):
    async with rigged() as rig:
        await rig.run(rig.lease("anoop"))
        sibling = rig.begin(rig.lease("asleep", 60))
        report, took_s, _ = await abort(rig, rig.lease(handler, str(tmp_path / "x")), tmp_path / "x")
        assert [name for name, _ in report.proof.signals] == ["CANCEL", "KILL"] and took_s < SOON_S
        assert report.proof.processes >= 1
        interrupted = await sibling
        assert interrupted.outcome is Outcome.INTERRUPTED
        assert value(await rig.run(rig.lease("asleep", 0))) == "slept"


@live
async def test_the_programs_of_an_async_job_end_and_those_of_its_siblings_live(tmp_path):
    async with rigged() as rig:
        other = rig.lease("ashell", {"path": str(tmp_path / "y"), "script": 'touch "$1"; sleep 0.6'})
        sibling = rig.begin(other)
        await until((tmp_path / "y").exists)
        lease = rig.lease("ashell", {"path": str(tmp_path / "x"), "script": SETSID})
        task = rig.begin(lease)
        await until((tmp_path / "x").exists)
        report, _ = await rig.stop(lease, task, grace_s=2)
        assert report.outcome is Outcome.ABORTED and report.proof.processes >= 2
        assert "TERM" in [name for name, _ in report.proof.signals]
        assert (await sibling).outcome is Outcome.SUCCEEDED
        assert not rig.busy()


@live
async def test_kill_all(tmp_path):
    async with rigged(slots=3) as rig:
        tasks = [
            rig.begin(rig.lease("stubborn", str(tmp_path / "a"))),
            rig.begin(rig.lease("ignores_cancel", str(tmp_path / "b"))),
            rig.begin(rig.script(f"{TRAP} setsid sleep 600 & touch {tmp_path / 'c'}; wait")),
        ]
        await until(lambda: all((tmp_path / n).exists() for n in "abc"))
        began = time.monotonic()
        await rig.pool.kill_all()
        assert time.monotonic() - began < SOON_S and not rig.busy()
        reports = await asyncio.gather(*tasks)
        assert {r.outcome for r in reports} == {Outcome.LOST} and all(r.charged for r in reports)
        assert value(await rig.run(rig.lease("noop"))) is None


@live
async def test_a_canceled_run_ends_its_job(tmp_path):
    async with rigged() as rig:
        for handler in ("stubborn", "sleeps"):
            task = rig.begin(rig.lease(handler, str(tmp_path / handler)))
            await until((tmp_path / handler).exists)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: not rig.busy())
        assert value(await rig.run(rig.lease("noop"))) is None
