"""What attempts write: whose it is, when it comes, and how much of it is kept."""

import asyncio
import time

from rota.core.states import Outcome
from rota.worker.capture import MAX_STREAM, marker
from tests.worker.executor_rig import live, rigged, until, value


@live
async def test_all_ways_to_speak():
    async with rigged() as rig:
        for _ in range(2):
            lease = rig.lease("speaks")
            assert (await rig.run(lease)).outcome is Outcome.SUCCEEDED
            assert rig.text(lease, "stdout") == "to stdout\ncafé �\nfrom a program\n"
            assert rig.text(lease, "stderr") == "to stderr\n"
            assert rig.text(lease, "log") == "a line\n"
            assert [(n.progress.fraction, n.progress.message) for n in rig.notes(lease)] == [(0.5, "half way")]
            assert [(h.n, bytes(h.data)) for h in rig.hooks(lease)] == [(0, b'{"n":1}')]


@live
async def test_async_jobs_have_their_own_output():
    async with rigged() as rig:
        leases = [rig.lease("aspeaks", str(n)) for n in range(20)]
        await asyncio.gather(*map(rig.run, leases))
        for n, lease in enumerate(leases):
            assert rig.text(lease, "stdout") == f"begin {n}\nthread {n}\n"
            assert rig.text(lease, "stderr") == f"end {n}\n"
            assert rig.text(lease, "log") == f"log {n}\n"
            assert [n.progress.fraction for n in rig.notes(lease)] == [0.25]


@live
async def test_output_comes_while_the_job_runs():
    async with rigged() as rig:
        lease = rig.script("echo first; sleep 30")
        task = rig.begin(lease)
        await until(lambda: rig.text(lease, "stdout") == "first\n")
        await rig.stop(lease, task)


@live
async def test_a_handler_may_close_its_streams():
    async with rigged() as rig:
        lease = rig.lease("closes_streams")
        assert (await rig.run(lease)).outcome is Outcome.SUCCEEDED
        assert rig.text(lease, "stdout") == "before\n"
        lease = rig.lease("speaks")
        assert (await rig.run(lease)).outcome is Outcome.SUCCEEDED
        assert rig.text(lease, "stdout").startswith("to stdout\n")


@live
async def test_a_flood_is_bounded_and_blocks_nobody():
    async with rigged() as rig:
        flood = rig.script("head -c 1G /dev/zero; echo end >&2")
        task = rig.begin(flood)
        slowest = 0.0
        while not task.done():
            began = time.monotonic()
            value(await rig.run(rig.lease("anoop")))
            slowest = max(slowest, time.monotonic() - began)
            await asyncio.sleep(0.01)
        assert (await task).exit_code == 0
        assert slowest < 1.0
        text = rig.text(flood, "stdout")
        assert text.endswith(marker()) and len(text) == MAX_STREAM + len(marker())
        assert rig.text(flood, "stderr") == "end\n"
        assert max(len(c.text) for c in rig.chunks(flood)) <= 64 << 10


@live
async def test_a_handlers_flood_is_bounded():
    async with rigged() as rig:
        lease = rig.lease("floods", 64)
        assert (await rig.run(lease)).outcome is Outcome.SUCCEEDED
        text = rig.text(lease, "stdout")
        assert text.endswith(marker()) and len(text) == MAX_STREAM + len(marker())
