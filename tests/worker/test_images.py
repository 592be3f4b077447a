"""A container for each attempt: what goes in, what comes out, and that nothing is left. On a real engine."""

from __future__ import annotations

import asyncio
import resource
import socket
import subprocess
import sys
import time

import pytest
from msgspec import Raw
from msgspec.structs import replace

from rota.core.jobs import RunOptions
from rota.core.states import Outcome
from rota.worker import engine as engines
from tests.engines import Engine, engine
from tests.worker.executor_rig import SOON_S, live, until
from tests.worker.image_rig import lease, limited, rigged, shell

__all__ = ["engine"]
pytestmark = pytest.mark.xdist_group("engine")


@live
async def test_a_container_gets_arguments_and_environment_and_tells_output_and_exit_code(engine: Engine):
    options = RunOptions(env={"COLOUR": "red", "ROTA_JOB_ID": "forged"})
    async with rigged(engine) as rig:
        job = shell('echo "$0 $1"; env; echo wrong >&2; exit 7', options=options, owner="ana", timeout_s=30.0)
        job = replace(job, args=Raw(bytes(job.args)[:-1] + b',"a b",{"n":1}]'))
        report = await rig.run(job)
        assert (report.outcome, report.exit_code) == (Outcome.ERRORED, 7)
        assert report.error is not None
        assert report.error.message == "exit code 7: wrong"
        first, *environment = rig.text(job).splitlines()
        assert first == 'a b {"n":1}'
        assert {"COLOUR=red", f"ROTA_JOB_ID={job.job}", "ROTA_ATTEMPT=1", "ROTA_OWNER=ana"} <= set(environment)
        assert any(line.startswith("ROTA_DEADLINE=2") for line in environment)
        assert not [line for line in environment if "TOKEN" in line or "STORE" in line or "SERVER" in line]
        assert rig.text(job, "stderr") == "wrong\n"
        assert rig.guarded.ever == [f"rota-{job.job}-1"]


@live
async def test_exit_code_0_is_success(engine: Engine):
    async with rigged(engine) as rig:
        report = await rig.run(lease("true"))
    assert (report.outcome, report.exit_code, report.error) == (Outcome.SUCCEEDED, 0, None)


@live
async def test_output_comes_while_it_runs(engine: Engine):
    async with rigged(engine) as rig:
        job = shell("echo one; sleep 60")
        task = rig.begin(job)
        await rig.says(job, "one\n")
        rig.runner.stop(job.job, 1, 0.0, Outcome.ABORTED)
        assert (await task).outcome is Outcome.ABORTED


@live
async def test_an_input_of_an_array_is_the_last_argument_and_its_output_is_in_its_report(engine: Engine):
    async with rigged(engine) as rig:
        job = lease("sh", "-c", 'echo "$ROTA_INDEX <$0>"; echo err >&2', index=41, inputs=[Raw(b'"a \\"b\\" $c"')])
        report = await rig.run(job)
        assert (report.stdout, report.stderr) == ('41 <a "b" $c>\n', "err\n")
        assert report.outcome is Outcome.SUCCEEDED
        assert rig.output == []
        assert rig.guarded.ever == [f"rota-{job.job}-1-41"]


@live
async def test_a_container_has_no_network_no_new_privileges_and_no_folder_of_the_host(engine: Engine):
    async with rigged(engine) as rig:
        job = shell("ls /sys/class/net; sleep 60")
        task = rig.begin(job)
        seen = await rig.running(job)
        await rig.says(job, "lo")
        host = seen["HostConfig"]
        assert host["NetworkMode"] == "none"
        assert host["SecurityOpt"] == ["no-new-privileges"]
        assert (host["Privileged"], host["Binds"], seen["Mounts"]) == (False, None, [])
        assert host["RestartPolicy"]["Name"] in ("", "no")
        assert seen["Config"]["Labels"]["rota.attempt"] == "1"
        rig.runner.stop(job.job, 1, 0.0, Outcome.ABORTED)
        await task
        assert rig.text(job).split() == ["lo"]


@live
async def test_limits_become_the_engines(engine: Engine):
    async with rigged(engine) as rig:
        options = limited(memory=64 << 20, cpus=0.5, processes=20, files=100, cpu=1.5)
        job = shell("ulimit -n; ulimit -t; sleep 60", options=options)
        task = rig.begin(job)
        host = (await rig.running(job))["HostConfig"]
        assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (64 << 20, 500_000_000, 20)
        await rig.says(job, "100\n2\n")
        rig.runner.stop(job.job, 1, 0.0, Outcome.ABORTED)
        await task


@live
async def test_one_that_uses_more_memory_than_it_may_is_out_of_memory(engine: Engine):
    async with rigged(engine) as rig:
        report = await rig.run(shell("a=x; while :; do a=$a$a; done", options=limited(memory=16 << 20)))
    assert (report.outcome, report.exit_code) == (Outcome.OUT_OF_MEMORY, 137)


@live
async def test_a_fork_bomb_stays_within_its_limit_and_dies_with_its_container(engine: Engine):
    async with rigged(engine) as rig:
        job = shell("(f() { f | f & }; f) 2>/dev/null & echo up; exec sleep 60", options=limited(processes=30))
        task = rig.begin(job)
        await rig.says(job, "up")
        before = time.monotonic()
        rig.runner.stop(job.job, 1, 0.5, Outcome.ABORTED)
        report = await task
        assert report.outcome is Outcome.ABORTED
        assert time.monotonic() - before < SOON_S
        assert rig.there(job) == []


@live
async def test_one_that_obeys_sigterm_is_gone_at_once_though_it_is_the_first_process_in_there(engine: Engine):
    async with rigged(engine) as rig:
        job = lease("sleep", "60", grace_s=60.0)
        task = rig.begin(job)
        await rig.running(job)
        rig.runner.stop(job.job, 1, 60.0, Outcome.ABORTED)
        report = await task
        assert (report.outcome, report.exit_code) == (Outcome.ABORTED, 143)
        assert report.proof is not None
        assert [name for name, _ in report.proof.signals] == ["TERM"]
        assert (report.proof.survivors, report.proof.took_s < SOON_S) == ([], True)
        assert rig.there(job) == []


@live
async def test_one_that_cleans_up_on_sigterm_may_finish_that(engine: Engine):
    async with rigged(engine) as rig:
        job = shell('trap "sleep 0.3; echo bye; exit 0" TERM; echo up; while :; do sleep 0.1; done')
        task = rig.begin(job)
        await rig.says(job, "up")
        rig.runner.stop(job.job, 1, 60.0, Outcome.ABORTED)
        report = await task
        assert (report.outcome, report.exit_code) == (Outcome.ABORTED, 0)
        assert rig.text(job) == "up\nbye\n"


@live
async def test_one_that_ignores_sigterm_is_killed_after_the_grace(engine: Engine):
    async with rigged(engine) as rig:
        job = shell("trap '' TERM; setsid sleep 60 & echo up; sleep 60; sleep 60", timeout_s=10.0, grace_s=0.5)
        report = await rig.run(job)
        assert (report.outcome, report.exit_code) == (Outcome.TIMED_OUT, 137)
        assert report.error is not None
        assert report.error.message == "it ran longer than its timeout of 10 s"
        assert report.proof is not None
        (term, _), (kill, at) = report.proof.signals
        assert (term, kill, at >= 0.5) == ("TERM", "KILL", True)
        assert rig.there(job) == []


@live
async def test_a_second_stop_without_grace_hurries_the_first(engine: Engine):
    async with rigged(engine) as rig:
        job = shell("trap '' TERM; echo up; while :; do sleep 1; done")
        task = rig.begin(job)
        await rig.says(job, "up")
        rig.runner.stop(job.job, 1, 600.0, Outcome.ABORTED)
        await asyncio.sleep(0.1)
        rig.runner.stop(job.job, 1, 0.0, Outcome.LOST)
        assert (await task).outcome is Outcome.ABORTED


@live
async def test_a_flood_is_cut_off_and_fills_neither_memory_nor_pipe(engine: Engine):
    async with rigged(engine) as rig:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        job = shell("dd if=/dev/zero bs=1M count=1024 2>/dev/null | tr '\\0' x; echo done >&2")
        report = await rig.run(job, 100)
        grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert report.outcome is Outcome.SUCCEEDED
        text = rig.text(job)
        assert (text[: 1 << 20], len(text) < (1 << 20) + 100) == ("x" * (1 << 20), True)
        assert rig.text(job, "stderr") == "done\n"
        assert grown_kb < 60 << 10


@live
async def test_a_line_without_an_end_comes_out_while_it_is_written(engine: Engine):
    async with rigged(engine) as rig:
        job = shell("printf abc; sleep 60")
        task = rig.begin(job)
        await rig.says(job, "abc")
        rig.runner.stop(job.job, 1, 0.0, Outcome.ABORTED)
        await task


@live
async def test_one_that_closes_its_output_and_goes_on_is_waited_for(engine: Engine):
    async with rigged(engine) as rig:
        job = shell("exec >&- 2>&-; sleep 1.5; exit 3")
        before = time.monotonic()
        report = await rig.run(job)
        assert (report.exit_code, time.monotonic() - before > 1.5) == (3, True)


@live
async def test_an_image_that_is_missing_fails_with_its_name(engine: Engine):
    async with rigged(engine) as rig:
        never = await rig.run(lease("true", image="local/absent:1", options=RunOptions(pull="never")))
        pulled = await rig.run(lease("true", image="localhost:1/absent:1"))
        always = await rig.run(lease("true", image="localhost:1/absent:1", options=RunOptions(pull="always")))
        invalid = await rig.run(lease("true", image="Not An Image"))
    for report in (never, pulled, always, invalid):
        assert (report.outcome, report.exit_code) == (Outcome.ERRORED, None)
        assert report.error is not None
    assert never.error.message == "this worker's engine has no image 'local/absent:1', and may not pull it"
    assert pulled.error.message.startswith("cannot pull 'localhost:1/absent:1': ")
    assert always.error.message.startswith("cannot pull 'localhost:1/absent:1': ")
    assert (never.refused, pulled.refused, always.refused, invalid.refused) == (False, False, False, True)


@live
async def test_a_command_that_the_image_lacks_has_the_shells_exit_code(engine: Engine):
    async with rigged(engine) as rig:
        report = await rig.run(lease("no-such-program"))
    assert (report.outcome, report.exit_code) == (Outcome.ERRORED, 127)


@pytest.mark.parametrize("network", ["host", "container:other"])
@live
async def test_a_job_does_not_get_the_network_of_the_host_or_of_another_container(engine: Engine, network: str):
    async with rigged(engine) as rig:
        report = await rig.run(lease("true", options=RunOptions(network=network)))
    assert (report.outcome, report.refused) == (Outcome.ERRORED, True)
    assert report.error is not None
    assert network in report.error.message


@live
async def test_an_abort_while_the_image_is_pulled_ends_the_wait(engine: Engine):
    with socket.create_server(("127.0.0.1", 0)) as registry:  # it never answers
        port = registry.getsockname()[1]
        async with rigged(engine) as rig:
            job = lease("true", image=f"localhost:{port}/slow:1")
            task = rig.begin(job)
            await rig.says(job, "pulling", "log")
            before = time.monotonic()
            rig.runner.stop(job.job, 1, 60.0, Outcome.ABORTED)
            report = await task
            assert (report.outcome, time.monotonic() - before < SOON_S) == (Outcome.ABORTED, True)
            assert report.proof is not None
            assert report.proof.processes == 0


@live
async def test_an_abort_at_any_moment_of_the_start_leaves_nothing(engine: Engine):
    async with rigged(engine) as rig:
        for delay_ms in range(0, 600, 50):
            job = lease("sleep", "60")
            task = rig.begin(job)
            await asyncio.sleep(delay_ms / 1000)
            rig.runner.stop(job.job, 1, 0.0, Outcome.ABORTED)
            report = await task
            assert report.outcome is Outcome.ABORTED, report
            assert rig.there(job) == []


@live
async def test_whoever_no_longer_waits_for_an_attempt_leaves_no_container(engine: Engine):
    async with rigged(engine) as rig:
        job = lease("sleep", "60")
        task = rig.begin(job)
        await rig.running(job)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: not rig.there(job))


@live
async def test_a_container_that_somebody_else_removes_is_lost_and_one_that_is_killed_has_an_exit_code(engine: Engine):
    async with rigged(engine) as rig:
        removed, killed = lease("sleep", "60"), lease("sleep", "61")
        tasks = [rig.begin(removed), rig.begin(killed)]
        engine.call("DELETE", f"/containers/{(await rig.running(removed))['Id']}", params={"force": "true"})
        engine.call("POST", f"/containers/{(await rig.running(killed))['Id']}/kill")
        lost, ended = await asyncio.gather(*tasks)
        assert lost.error is not None
        assert (lost.outcome, lost.error.message) == (Outcome.LOST, "somebody else removed its container")
        assert (ended.outcome, ended.exit_code) == (Outcome.ERRORED, 137)


@live
async def test_what_an_attempt_of_the_same_name_has_left_gives_way(engine: Engine):
    async with rigged(engine) as rig:
        job = lease("echo", "mine")
        body = {"Image": job.image, "Cmd": ["sleep", "60"], "Labels": {"rota.job": job.job}}
        left = engine.call("POST", "/containers/create", params={"name": f"rota-{job.job}-1"}, json=body)
        engine.call("POST", f"/containers/{left['Id']}/start")
        report = await rig.run(job)
        assert (report.outcome, rig.text(job)) == (Outcome.SUCCEEDED, "mine\n")


@live
async def test_fifty_at_once_all_run(engine: Engine):
    async with rigged(engine) as rig:
        jobs = [shell(f"sleep 1; echo {n}") for n in range(50)]
        reports = await asyncio.gather(*(rig.run(job, 110) for job in jobs))
        assert {report.outcome for report in reports} == {Outcome.SUCCEEDED}
        assert [rig.text(job) for job in jobs] == [f"{n}\n" for n in range(50)]


@live
async def test_kill_all_ends_all_without_grace(engine: Engine):
    async with rigged(engine) as rig:
        jobs = [shell("trap '' TERM; echo up; while :; do sleep 1; done") for _ in range(3)]
        tasks = [rig.begin(job) for job in jobs]
        for job in jobs:
            await rig.says(job, "up")
        await rig.runner.kill_all()
        assert engine.containers() == []
        assert {(await task).outcome for task in tasks} == {Outcome.LOST}


@live
async def test_nothing_is_started_beyond_the_lease(engine: Engine):
    async with rigged(engine) as rig:
        rig.runner.leased_until(0.0)
        report = await rig.run(lease("true"))
        assert report.outcome is Outcome.LOST
        rig.runner.leased_until(None)
        assert (await rig.run(lease("true"))).outcome is Outcome.SUCCEEDED


def test_an_engine_is_found_where_the_setting_or_the_environment_says(engine: Engine, tmp_path):
    assert engines.find(engine.url, {}) == engine.place
    assert engines.find(None, {"DOCKER_HOST": engine.url}) == engine.place
    assert engines.find(None, {"DOCKER_HOST": "tcp://10.0.0.1:2375"}) is None
    assert engines.find("none", {"DOCKER_HOST": engine.url}) is None
    assert engines.find(f"unix://{tmp_path}/nobody.sock", {"DOCKER_HOST": engine.url}) is None
    (tmp_path / "podman").mkdir()
    (tmp_path / "podman" / "podman.sock").symlink_to(engine.place)
    found = engines.find(None, {"XDG_RUNTIME_DIR": str(tmp_path)})
    assert found in (str(tmp_path / "podman" / "podman.sock"), "/var/run/docker.sock")


def test_a_worker_without_images_to_run_does_not_load_what_runs_them():
    code = "import sys, rota.wiring.worker; print('aiodocker' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@live
async def test_an_argument_that_cannot_be_one_is_refused(engine: Engine):
    async with rigged(engine) as rig:
        report = await rig.run(lease("echo", "a\0b"))
    assert (report.outcome, report.refused) == (Outcome.ERRORED, True)
