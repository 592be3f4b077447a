"""Inputs that a child has before their turn: each begins when the one before is over and swept, or never."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from rota.core.jobs import Limits, RunOptions
from rota.core.states import Outcome
from rota.worker.capture import MAX_STREAM, marker
from rota.worker.output import Output
from rota.worker.shards import Shard
from tests.worker.executor_rig import live, rigged, until
from tests.worker.test_executor_inputs import command, given

WAIT = "until [ -e go ]; do sleep 0.01; done"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Run commands in a folder where they and the tests leave each other files."""
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def inputs(rig, *texts, **more):
    """Return the leases of inputs that are commands themselves."""
    lease = command(rig, "eval {}", **more)
    return [given(lease, text, n) for n, text in enumerate(texts)]


def begin(rig, lease, following):
    """Run an input while its child has the next one."""

    async def run():
        async with asyncio.timeout(30):
            return await rig.pool.run(lease, following)

    return asyncio.create_task(run())


def go():
    Path("go").touch()


def holds(rig, lease):
    return rig.pool.holds(lease.job, lease.attempt)


def children(rig):
    return [child for child in rig.pool._nursery._children.values() if child.kind == "script"]


async def taken(rig, lease):
    """Wait until a child has an input, and the next one behind it."""
    await until(lambda: any(len(child.runs) == 2 for child in children(rig)))
    assert not holds(rig, lease), "it waits for its turn"


# --- the plain way


@live
async def test_an_input_begins_when_the_one_before_is_over_and_its_run_tells_its_end():
    async with rigged(inherit=True) as rig:
        one, two = inputs(rig, "echo one; echo 1 >&2", "echo two $ROTA_INDEX; echo 2 >&2; touch over; exit 3")
        first = await begin(rig, one, two)
        assert (first.stdout, first.stderr, first.exit_code) == ("one\n", "1\n", 0)
        assert holds(rig, two)
        await until(lambda: os.path.exists("over"))
        second = await rig.run(two)
        assert (second.stdout, second.stderr, second.exit_code) == ("two 1\n", "2\n", 3)
        assert not holds(rig, two) and len(children(rig)) == 1


@live
async def test_a_thousand_inputs_each_with_the_next_behind_it_all_have_their_own_output():
    async with rigged() as rig:
        shards = [command(rig, "echo {#} {}; echo {} >&2"), rig.script('echo "$ROTA_INDEX $1"; echo "$1" >&2')]

        async def slot(k):
            leases = [given(shards[k], n * 7, n) for n in range(500)]
            for n, lease in enumerate(leases):
                async with asyncio.timeout(30):
                    report = await rig.pool.run(lease, leases[n + 1] if n < 499 else None)
                assert report.stdout == f"{n + (k == 0)} {n * 7}\n" and report.stderr == f"{n * 7}\n", report

        await asyncio.gather(slot(0), slot(1))
        assert len(children(rig)) == 2


@live
async def test_output_over_the_limit_is_cut_for_each_and_nobody_is_blocked_before_its_run():
    async with rigged(inherit=True) as rig:
        much = "head -c 3000000 /dev/zero | tr '\\0' {0}; echo {0} >&2; touch {0}"
        one, two = inputs(rig, much.format("x"), much.format("y"))
        first = await begin(rig, one, two)
        await until(lambda: os.path.exists("y"))
        second = await rig.run(two)
        for report, letter in ((first, "x"), (second, "y")):
            assert report.stdout == letter * MAX_STREAM + marker() and report.stderr == f"{letter}\n"


@live
async def test_a_small_limit_of_output_holds_for_both():
    async with rigged(inherit=True) as rig:
        options = RunOptions(limits=Limits(output=10))
        one, two = inputs(rig, "echo 123456789012", "echo abcdefghijkl; exit 1", options=options)
        reports = [await begin(rig, one, two), await rig.run(two)]
        assert [r.stdout for r in reports] == ["1234567890" + marker(10), "abcdefghij" + marker(10)]


@live
async def test_what_an_input_leaves_behind_is_gone_before_the_next_begins_and_is_not_laid_to_it():
    async with rigged(inherit=True) as rig:
        stays = "sh -c 'echo $$ > pid; exec sleep 600' & until [ -s pid ]; do sleep 0.01; done; echo one"
        one, two = inputs(rig, stays, "kill -0 $(cat pid) || echo gone")
        first = await begin(rig, one, two)  # what was left has its pipes open: they are not waited for
        second = await rig.run(two)
        assert (first.stdout, first.outcome) == ("one\n", Outcome.SUCCEEDED) and first.proof.processes >= 1
        assert second.stdout == "gone\n" and second.proof is None
        assert not rig.busy()


@live
async def test_commands_that_have_a_place_begin_with_their_run():
    async with rigged() as rig:
        lease = command(rig, "echo {%} {}")
        one, two = given(lease, "a", 0), given(lease, "b", 1)
        assert (await begin(rig, one, two)).stdout == "1 a\n" and not holds(rig, two)
        assert (await rig.run(two)).stdout == "1 b\n"


@live
async def test_a_bad_input_is_refused_by_its_run():
    async with rigged() as rig:
        one, two = inputs(rig, "echo one", "a\0b")
        assert (await begin(rig, one, two)).stdout == "one\n" and not holds(rig, two)
        assert (await rig.run(two)).error.type == "BadInput"


# --- it is not begun


@live
async def test_what_waits_never_runs_after_an_abort():
    async with rigged(inherit=True) as rig:
        one, two = inputs(rig, "sleep 600 & sleep 600", "touch ran")
        task = begin(rig, one, two)
        await until(lambda: len(rig.busy()) >= 3)
        report, _ = await rig.stop(one, task)
        assert report.outcome is Outcome.ABORTED and report.proof.processes >= 3
        await until(lambda: not rig.busy())  # but for a new child, while it is being born
        assert not holds(rig, two) and not os.path.exists("ran")
        assert (await rig.run(two)).outcome is Outcome.SUCCEEDED and os.path.exists("ran")


@live
async def test_what_waits_never_runs_when_an_aborted_input_ends_in_its_own_way():
    async with rigged(inherit=True) as rig:
        one, two = inputs(rig, f"trap ': > go' TERM; touch begun; {WAIT}; exit 4", "touch ran")
        task = begin(rig, one, two)
        await until(lambda: os.path.exists("begun"))
        report, _ = await rig.stop(one, task, grace_s=20)
        assert (report.outcome, report.exit_code) == (Outcome.ABORTED, 4)
        assert not holds(rig, two) and not os.path.exists("ran")


@live
async def test_an_abort_ends_what_has_begun_before_its_run():
    async with rigged(inherit=True) as rig:
        one, two = inputs(rig, "true", "touch begun; sleep 600")
        assert (await begin(rig, one, two)).outcome is Outcome.SUCCEEDED
        await until(lambda: os.path.exists("begun"))
        rig.pool.stop(one.job, one.attempt, 0.3, Outcome.ABORTED)
        report = await rig.run(two)
        assert report.outcome is Outcome.ABORTED and report.proof.processes >= 2
        await until(lambda: not rig.busy())
        assert not holds(rig, two)


@live
async def test_what_waits_is_dropped_when_it_is_recalled_and_its_child_serves_on():
    async with rigged(inherit=True) as rig:
        one, two = inputs(rig, WAIT, "touch ran")
        task = begin(rig, one, two)
        await taken(rig, two)
        rig.pool.recall(two.job, two.attempt)
        go()
        assert (await task).outcome is Outcome.SUCCEEDED
        if holds(rig, two):  # the word of it is on its way
            assert (await rig.run(two)).outcome is Outcome.INTERRUPTED
        assert not os.path.exists("ran") and not holds(rig, two)
        assert (await rig.run(two)).outcome is Outcome.SUCCEEDED and os.path.exists("ran")
        assert len(children(rig)) == 1


@live
async def test_nothing_is_handed_over_after_a_recall_while_the_child_is_born():
    async with rigged(inherit=True) as rig:
        one, two = inputs(rig, "true", "touch ran")
        task = begin(rig, one, two)
        await asyncio.sleep(0)
        assert not children(rig) or not children(rig)[0].pid
        rig.pool.recall(two.job, two.attempt)
        assert (await task).outcome is Outcome.SUCCEEDED and not holds(rig, two)
        assert (await rig.run(one)).outcome is Outcome.SUCCEEDED and not os.path.exists("ran")


@live
async def test_what_has_begun_cannot_be_recalled():
    async with rigged(inherit=True) as rig:
        one, two = inputs(rig, "true", f"touch begun; {WAIT}; echo two")
        await begin(rig, one, two)
        await until(lambda: os.path.exists("begun"))
        rig.pool.recall(two.job, two.attempt)
        go()
        assert (await rig.run(two)).stdout == "two\n"


@pytest.mark.parametrize("end", ["kill_all", "close"])
@live
async def test_what_waits_never_runs_when_all_is_killed(end):
    async with rigged(inherit=True) as rig:
        one, two = inputs(rig, f"{WAIT}; touch over", "touch ran")
        task = begin(rig, one, two)
        await taken(rig, two)
        await getattr(rig.pool, end)()
        assert (await task).outcome is Outcome.LOST
        assert not holds(rig, two) and not os.path.exists("ran")
        if end == "close":
            await rig.pool.start()


@live
async def test_a_run_that_is_given_up_takes_what_waits_along():
    async with rigged(inherit=True) as rig:
        one, two = inputs(rig, f"{WAIT}; touch over", "touch ran")
        task = begin(rig, one, two)
        await taken(rig, two)
        task.cancel()
        await until(lambda: not rig.busy() and not any(child.runs for child in children(rig)))
        assert not os.path.exists("ran") and (await rig.run(two)).outcome is Outcome.SUCCEEDED


# --- deaths and timeouts


@live
async def test_the_death_of_a_child_is_laid_to_the_input_that_ran():
    async with rigged(inherit=True) as rig:
        one, two = inputs(rig, "touch begun; sleep 600", "echo >> ran")
        task = begin(rig, one, two)
        await until(lambda: os.path.exists("begun"))
        os.kill(children(rig)[0].pid, signal.SIGKILL)
        report = await task
        assert report.outcome is Outcome.LOST and report.charged
        assert not holds(rig, two) and not os.path.exists("ran")
        again = await rig.run(two)
        assert again.outcome is Outcome.SUCCEEDED and os.path.getsize("ran") == 1


@live
async def test_the_death_of_a_child_is_laid_to_the_second_once_that_runs():
    async with rigged(inherit=True) as rig:
        one, two = inputs(rig, "echo one; exit 7", "touch begun; sleep 600")
        first = await begin(rig, one, two)
        await until(lambda: os.path.exists("begun"))
        os.kill(children(rig)[0].pid, signal.SIGKILL)
        second = await rig.run(two)
        assert (first.exit_code, first.stdout) == (7, "one\n")
        assert second.outcome is Outcome.LOST and second.charged
        await until(lambda: not rig.busy())


@live
async def test_an_end_that_was_said_before_the_death_of_the_child_counts():
    async with rigged(inherit=True) as rig:
        one, two = inputs(rig, f"{WAIT}; echo one", "touch begun; sleep 600")
        task = begin(rig, one, two)
        await taken(rig, two)
        go()
        deadline = time.monotonic() + 30
        while not os.path.exists("begun"):  # without the loop, which hears nothing meanwhile
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.kill(children(rig)[0].pid, signal.SIGKILL)
        while rig.busy():
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert ((first := await task).outcome, first.stdout) == (Outcome.SUCCEEDED, "one\n")
        assert (await rig.run(two)).outcome is Outcome.LOST


@live
async def test_the_time_of_each_counts_from_its_own_beginning():
    async with rigged(inherit=True) as rig:
        one, two = inputs(rig, WAIT, "true")
        two = replace(two, timeout_s=2.0)
        task = begin(rig, one, two)
        await taken(rig, two)
        sent_at = time.monotonic()
        await until(lambda: time.monotonic() > sent_at + 2.2)
        go()
        assert [(await task).outcome, (await rig.run(two)).outcome] == [Outcome.SUCCEEDED] * 2


@live
async def test_the_second_times_out_by_itself():
    async with rigged(inherit=True) as rig:
        one, two = inputs(rig, "echo one", "echo two; sleep 600", timeout_s=1)
        first = await begin(rig, one, two)
        second = await rig.run(two)
        assert (first.outcome, second.outcome) == (Outcome.SUCCEEDED, Outcome.TIMED_OUT)
        assert second.stdout == "two\n" and second.proof.processes >= 2
        await until(lambda: not rig.busy())


@live
async def test_a_timeout_of_the_first_costs_the_second_nothing():
    async with rigged(inherit=True) as rig:
        one, two = inputs(rig, "sleep 600", "echo >> ran", timeout_s=0.5)
        first = await begin(rig, one, two)
        assert first.outcome is Outcome.TIMED_OUT and not holds(rig, two) and not os.path.exists("ran")
        assert (await rig.run(two)).outcome is Outcome.SUCCEEDED and os.path.getsize("ran") == 1


# --- shards


def sharded(rig, *texts, ours=lambda _now: True, **more):
    """Return a shard of inputs that are commands themselves, and what takes their ends."""
    first, *rest = inputs(rig, *texts, **more)
    output = Output(time.monotonic)
    raws = [*first.inputs, *(raw for each in rest for raw in each.inputs)]
    lease = replace(first, index=None, first=0, inputs=raws)
    return lease, output, Shard(lease, rig.pool, output, clock=time.monotonic, ours=ours, on_survivors=lambda _: None)


def told(output):
    return [(result.index, result.outcome) for result in output.batch().results]


async def report_of(shard):
    async with asyncio.timeout(30):
        return await shard.run()


@live
async def test_a_shard_that_ends_softly_finishes_what_runs_and_begins_no_other():
    async with rigged(inherit=True) as rig:
        _, output, shard = sharded(rig, "true", f"touch begun; {WAIT}; touch over", "touch ran", "touch ran")
        task = asyncio.create_task(report_of(shard))
        await until(lambda: os.path.exists("begun"))
        shard.end(Outcome.INTERRUPTED)
        go()
        assert (await task).outcome is Outcome.INTERRUPTED
        assert told(output) == [(0, Outcome.SUCCEEDED), (1, Outcome.SUCCEEDED)]
        assert os.path.exists("over") and not os.path.exists("ran")


@live
async def test_a_shard_that_is_aborted_has_the_proof_and_runs_no_other():
    async with rigged(inherit=True) as rig:
        lease, output, shard = sharded(rig, "true", "touch begun; sleep 600", "touch ran")
        task = asyncio.create_task(report_of(shard))
        await until(lambda: os.path.exists("begun"))
        shard.end(Outcome.ABORTED)
        rig.pool.stop(lease.job, lease.attempt, 0.3, Outcome.ABORTED)
        report = await task
        assert report.outcome is Outcome.ABORTED and report.proof.processes >= 2
        assert told(output) == [(0, Outcome.SUCCEEDED)]
        await until(lambda: not rig.busy())
        assert not os.path.exists("ran") and not holds(rig, lease)


@live
async def test_a_shard_whose_lease_is_over_ends_what_has_begun_and_tells_nothing():
    async with rigged(inherit=True) as rig:
        lease, output, shard = sharded(rig, "true", "touch begun; sleep 600", "touch ran", ours=lambda _now: False)
        assert (await report_of(shard)).outcome is Outcome.LOST
        await until(lambda: not rig.busy())
        assert output.due_in_s() is None and not os.path.exists("ran") and not holds(rig, lease)


@live
async def test_a_shard_tells_each_of_its_inputs_once_and_in_order_whatever_becomes_of_them():
    async with rigged(inherit=True) as rig:
        kill = "kill -9 $PPID; sleep 600"
        texts = ["true", kill, "exit 3", "setsid sleep 600 & true", kill, kill, "sleep 600", "true", "a\0b", "true"]
        _, output, shard = sharded(rig, *texts, timeout_s=3)
        assert (await report_of(shard)).outcome is Outcome.SUCCEEDED
        names = {"S": Outcome.SUCCEEDED, "E": Outcome.ERRORED, "L": Outcome.LOST, "T": Outcome.TIMED_OUT}
        assert told(output) == [(n, names[letter]) for n, letter in enumerate("SLESLLTSES")]
        await until(lambda: not rig.busy())
