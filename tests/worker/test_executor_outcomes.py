"""What becomes of handlers and scripts, with real processes."""

import asyncio
import json
import os
import signal
from datetime import UTC, datetime

import pytest
from msgspec import Raw

from rota.core.states import Outcome
from rota.worker.pool import AppError, Pool
from tests.worker.executor_rig import live, rigged, until, value


@live
async def test_results_and_arguments():
    async with rigged() as rig:
        assert value(await rig.run(rig.lease("noop"))) is None
        assert value(await rig.run(rig.lease("anoop"))) is None
        assert value(await rig.run(rig.lease("echo", {"a": 1}))) == {"args": [], "kwargs": {"a": 1}}
        assert value(await rig.run(rig.lease("echo", [1, 2]))) == {"args": [[1, 2]], "kwargs": {}}
        assert value(await rig.run(rig.lease("echo", 5, args=[1, None]))) == {"args": [1, None, 5], "kwargs": {}}
        assert value(await rig.run(rig.lease("echo", {"k": 0}, args=["x"]))) == {"args": ["x"], "kwargs": {"k": 0}}
        big = "z" * 900_000
        assert value(await rig.run(rig.lease("echo", [big])))["args"] == [[big]]


@live
async def test_the_context():
    async with rigged() as rig:
        lease = rig.lease("about", owner="ana")
        assert value(await rig.run(lease)) == [lease.job, lease.attempt, "ana", False, None]
        before = datetime.now(UTC)
        deadline = value(await rig.run(rig.lease("about", timeout_s=30)))[4]
        assert 25 < (datetime.fromisoformat(deadline) - before).total_seconds() < 35


@live
async def test_a_warm_child_is_used_again_and_children_run_side_by_side():
    async with rigged() as rig:
        pids = {value(await rig.run(rig.lease("pid"))) for _ in range(20)}
        assert len(pids) == 1
        apids = {value(await rig.run(rig.lease("apid"))) for _ in range(5)}
        assert len(apids) == 1 and not apids & pids


@pytest.mark.parametrize("handler", ["fails", "afails"])
@live
async def test_errors(handler):
    async with rigged() as rig:

        async def fail(kind):
            return await rig.run(rig.lease(handler, kind))

        report = await fail("error")
        assert report.outcome is Outcome.ERRORED and report.error.type == "ValueError"
        assert 8000 < len(report.error.message) <= 8 << 10 and len(report.error.traceback) <= 32 << 10
        assert "fails_with" in report.error.traceback and "child.py" not in report.error.traceback
        refused = await fail("refuse")
        assert (refused.outcome, refused.refused) == (Outcome.ERRORED, True)
        snoozed = await fail("snooze")
        assert (snoozed.outcome, snoozed.retry_in_s) == (Outcome.SNOOZED, 7)
        retried = await fail("retry")
        assert (retried.outcome, retried.retry_in_s, retried.error.message) == (Outcome.ERRORED, 3, "busy")
        assert (await fail("exit")).error.type == "SystemExit"
        assert (await fail("interrupt")).error.type == "KeyboardInterrupt"
        assert (await fail("memory")).outcome is Outcome.OUT_OF_MEMORY
        wrong = await rig.run(rig.lease("noop", {"no": 1}))
        assert (wrong.outcome, wrong.error.type) == (Outcome.ERRORED, "TypeError")


@live
async def test_bad_results():
    async with rigged() as rig:
        bad = await rig.run(rig.lease("fails", "bad"))
        assert bad.outcome is Outcome.BAD_RESULT and "not JSON" in bad.error.message
        long = await rig.run(rig.lease("fails", "long"))
        assert long.outcome is Outcome.BAD_RESULT and "max_result" in long.error.message


@pytest.mark.parametrize("handler", ["fails", "afails"])
@pytest.mark.parametrize(("kind", "how"), [("segfault", "SIGSEGV"), ("os_exit", "exit code 7"), ("suicide", "SIGKILL")])
@live
async def test_a_process_that_dies_is_lost_and_charged(handler, kind, how):
    async with rigged() as rig:
        report = await rig.run(rig.lease(handler, kind))
        assert report.outcome is Outcome.LOST and report.charged
        assert how in report.error.message
        assert value(await rig.run(rig.lease("noop"))) is None
        assert value(await rig.run(rig.lease("anoop"))) is None


@live
async def test_a_handler_that_closes_its_channel_is_ended():
    async with rigged() as rig:
        assert (await rig.run(rig.lease("fails", "deaf"))).outcome is Outcome.LOST
        assert (await rig.run(rig.lease("fails", "garbage"))).outcome is Outcome.LOST
        assert (await rig.run(rig.lease("fails", "raise_aborted"))).outcome is Outcome.LOST
        assert value(await rig.run(rig.lease("noop"))) is None


@live
async def test_unknown_handlers():
    async with rigged(scripts=False) as rig:
        report = await rig.run(rig.lease("nobody"))
        assert report.outcome is Outcome.ERRORED and "'nobody'" in report.error.message
        assert (await rig.run(rig.script("true"))).outcome is Outcome.ERRORED


@live
async def test_specs():
    async with rigged() as rig:
        await rig.pool.close()
        specs = {s.name: s for s in await rig.pool.start()}
        fails = specs["fails"]
        assert (fails.timeout, fails.retries, fails.mode, fails.parameters) == (120.0, 5, "process", ["kind"])
        assert specs["anoop"].mode == "async"
        assert value(await rig.run(rig.lease("noop"))) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import rota\nimport no_such_thing\n", "ModuleNotFoundError: No module named 'no_such_thing' (File"),
        ("1 +\n", "SyntaxError"),
        ("raise SystemExit(3)\n", "SystemExit: 3"),
        ("import os\nos._exit(1)\n", "ended before it was done"),
        ("x = 1\n", "has no rota.App"),
        ("import rota\na = rota.App()\nb = rota.App()\n", "name one"),
        ("import rota\napp = rota.App()\n@app.handler\ndef noop(): pass\n", "two handlers are named 'noop'"),
        ("import rota\napp = rota.App()\n@app.handler\n@app.handler\ndef f(): pass\n", "two handlers named 'f'"),
    ],
)
@live
async def test_apps_that_cannot_be_used(text, why, tmp_path, monkeypatch):
    (tmp_path / "broken_app.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    pool = Pool(["tests.worker.executor_app", "broken_app"], slots=1, scripts=True, on_output=print)
    with pytest.raises(AppError) as caught:
        await pool.start()
    assert why in str(caught.value) and "broken_app" in str(caught.value)
    assert pool._nursery._link is None


@live
async def test_handlers_see_the_workers_environment_without_its_secrets(monkeypatch):
    for name in ("ROTA_TOKEN", "ROTA_HOOK_SECRET", "ROTA_STORE", "ROTA_SERVER", "PLAIN"):
        monkeypatch.setenv(name, "value")
    async with rigged() as rig:
        seen = value(await rig.run(rig.lease("environment")))
        assert seen["PLAIN"] == seen["ROTA_SERVER"] == "value"
        assert not {"ROTA_TOKEN", "ROTA_HOOK_SECRET", "ROTA_STORE"} & set(seen)
        assert seen["cwd"] == os.getcwd() and os.getcwd() in seen["path"].split(":")


@live
async def test_children_are_recycled_by_count_and_by_size():
    async with rigged(recycle_jobs=3) as rig:
        pids = [value(await rig.run(rig.lease("pid"))) for _ in range(7)]
        assert [len(set(pids[:3])), len(set(pids[3:6])), len(set(pids))] == [1, 1, 3]
    async with rigged(recycle_bytes=32 << 20) as rig:
        first = value(await rig.run(rig.lease("grows")))
        assert value(await rig.run(rig.lease("pid"))) != first


@live
async def test_scripts():
    async with rigged() as rig:
        lease = rig.script("cat; echo $PWD; echo err >&2; touch left; env", {"a": [1]}, timeout_s=60, owner="ana")
        report = await rig.run(lease)
        assert (report.outcome, report.exit_code, bytes(report.result)) == (Outcome.SUCCEEDED, 0, b"null")
        data, _, rest = rig.text(lease, "stdout").partition("}")
        folder, *variables = rest.split()
        assert json.loads(data + "}") == {"a": [1]} and not os.path.exists(folder)
        names = {v.partition("=")[0] for v in variables}
        own = {"ROTA_JOB_ID", "ROTA_ATTEMPT", "ROTA_OWNER", "ROTA_DEADLINE", "TMPDIR", "PATH", "HOME"}
        assert own <= names <= own | {"LANG", "LC_ALL", "TZ", "PWD", "SHLVL", "_", "OLDPWD"}
        assert rig.text(lease, "stderr") == "err\n"


@live
async def test_scripts_that_fail():
    async with rigged() as rig:
        report = await rig.run(rig.script("echo one >&2; echo why >&2; echo >&2; exit 3"))
        assert (report.outcome, report.exit_code, report.error.type) == (Outcome.ERRORED, 3, "exit")
        assert report.error.message == "exit code 3: why"
        killed = await rig.run(rig.script("kill -SEGV $$"))
        assert killed.exit_code == -signal.SIGSEGV and "SIGSEGV" in killed.error.message
        assert "SIGPIPE" in (await rig.run(rig.script("kill -PIPE $$"))).error.message  # not ignored
        group = await rig.run(rig.script("kill -KILL 0"))
        assert group.outcome is Outcome.ERRORED and "SIGKILL" in group.error.message
        assert (await rig.run(rig.script("read x; echo $?; [ -z $x ]"))).exit_code == 0


@live
async def test_a_long_script_and_a_folder_that_is_locked():
    async with rigged() as rig:
        lease = rig.script(": " + "x" * (1 << 20) + "\necho end")
        assert (await rig.run(lease)).exit_code == 0 and rig.text(lease, "stdout") == "end\n"
        lease = rig.script("pwd; mkdir -p a/b; touch a/b/c; chmod 0 a/b a; exit 1")
        await rig.run(lease)
        assert not os.path.exists(rig.text(lease, "stdout").strip())
        assert (await rig.run(rig.script("ls -A | wc -l | grep -x 0"))).exit_code == 0
        assert (await rig.run(rig.script("rm -rf $PWD"))).exit_code == 0
        assert (await rig.run(rig.script("true"))).exit_code == 0


@live
async def test_out_of_memory_as_the_kernel_tells_it(tmp_path):
    from rota.worker.oom import OomWatch

    counter = tmp_path / "memory.events"
    counter.write_text("low 0\noom 1\noom_kill 1\n")
    async with rigged() as rig:
        rig.pool._oom = OomWatch([counter])
        assert (await rig.run(rig.lease("fails", "suicide"))).outcome is Outcome.LOST
        counter.write_text("low 0\noom 1\noom_kill 2\n")
        report = await rig.run(rig.lease("fails", "suicide"))
        assert report.outcome is Outcome.OUT_OF_MEMORY and report.charged
        assert (await rig.run(rig.lease("fails", "suicide"))).outcome is Outcome.LOST


@live
async def test_a_child_that_dies_while_it_waits_is_replaced():
    async with rigged() as rig:
        pid = value(await rig.run(rig.lease("pid")))
        os.kill(pid, signal.SIGKILL)
        await until(lambda: all(c.pid != pid for c in rig.pool._nursery._children.values()))
        assert value(await rig.run(rig.lease("pid"))) != pid


@live
async def test_many_at_once():
    async with rigged(slots=4) as rig:
        leases = [rig.lease("echo", [n]) for n in range(200)] + [rig.lease("asleep", 0.01) for _ in range(200)]
        gate = asyncio.Semaphore(40)

        async def one(lease):
            async with gate:
                return await rig.run(lease)

        reports = await asyncio.gather(*map(one, leases))
        assert [value(r)["args"] for r in reports[:200]] == [[[n]] for n in range(200)]
        await until(lambda: len(rig.pool._nursery._children) <= 5)  # four warm ones and the async one


@live
async def test_only_what_an_async_child_can_take_at_once_is_begun():
    async with rigged() as rig:
        told = []
        assert not rig.pool.begin(rig.lease("anoop"), told.append), "there is no child yet"
        assert (await rig.run(rig.lease("anoop"))).outcome is Outcome.SUCCEEDED
        for other in (
            rig.lease("noop"),
            rig.lease("nobody"),
            rig.script("true"),
            rig.lease("aecho", index=0, inputs=[Raw(b"1")]),
        ):
            assert not rig.pool.begin(other, told.append)
        lease = rig.lease("aecho", args=[1])
        assert rig.pool.begin(lease, told.append)
        assert not told, "its report comes later"
        await until(lambda: told)
        assert [(report.job, report.outcome) for report in told] == [(lease.job, Outcome.SUCCEEDED)]
