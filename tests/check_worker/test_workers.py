"""The kit against workers that are right: the two that are there to be read, and `rota worker` itself."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest

from rota.core.states import State
from rota.wiring.check_worker.ground import ECHO, Ground, Worker
from rota.wiring.check_worker.run import CHECKS, run_checks
from rota.wiring.check_worker.scene import Scene

ROOT = Path(__file__).parents[2]
ROTA = [sys.executable, "-m", "rota"]
WORKERS = {
    "bash": [str(ROOT / "examples/workers/worker.sh")],
    "node": ["node", str(ROOT / "examples/workers/worker.mjs")],
    "rota": ["env", "-C", str(ROOT), *ROTA, "worker", "--app", "examples.workers.check_handlers:app"],
}
LEASE_S = 25.0  # the machine may be busy: a worker in bash starts a process for everything
NEEDS = {"bash": ["bash", "curl", "jq"], "node": ["node"], "rota": []}


def command(name: str) -> list[str]:
    """Return a worker's command; skips where its programs are missing. In CI all are there (.ci/run)."""
    missing = [program for program in NEEDS[name] if not shutil.which(program)]
    if missing and "CI" not in os.environ:
        pytest.skip(f"this machine has no {', '.join(missing)}")
    assert not missing, f"CI lacks {', '.join(missing)}: .ci/run installs them"
    return WORKERS[name]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["rota", *(pytest.param(name, marks=pytest.mark.long) for name in ("bash", "node"))])
def test_a_worker_keeps_to_the_protocol(name: str) -> None:
    results = asyncio.run(run_checks(command(name), CHECKS, lease_s=LEASE_S, patience_s=60.0))
    assert [f"{one.name}: {one.expected}; {one.seen}; {one.output}" for one in results if not one.passed] == []
    assert [one.name for one in results if one.skipped] == []


@pytest.mark.parametrize("name", ["bash", "node"])
def test_a_worker_runs_ten_tasks_and_obeys_an_abort(name: str, tmp_path: Path) -> None:
    async def main() -> None:
        ground = Ground(tmp_path, patience_s=60.0)
        await ground.open()
        worker = Worker(command(name), ground, slots=3)
        scene = Scene(ground, worker, (), 3)
        try:
            await scene.start()
            jobs = [await ground.submit(ECHO, n) for n in range(10)]
            assert [bytes((await ground.over(job, State.SUCCEEDED)).result or b"") for job in jobs] == [
                str(n).encode() for n in range(10)
            ]
            job, ticks = await scene.sleeper()
            await ground.service.jobs.abort(job)
            assert (await scene.aborted(job, ticks)).confirmed
            scene.audit()
        finally:
            await worker.kill()
            await ground.close()

    asyncio.run(main())


@pytest.mark.parametrize("name", ["bash", "node"])
def test_scripts_that_are_killed_that_leave_processes_and_that_have_limits(name: str, tmp_path: Path) -> None:
    async def main() -> None:
        ground = Ground(tmp_path, patience_s=60.0)
        await ground.open()
        worker = Worker(command(name), ground, slots=1)
        scene = Scene(ground, worker, (), 1)
        try:
            await scene.start()
            job = await ground.submit("", script="echo $GREETING; kill -9 $$", env={"GREETING": "a 'b'"})
            await ground.over(job, State.FAILED, attempts=1)
            assert "".join(chunk.text for chunk in await ground.service.jobs.logs(job)).startswith("a 'b'\n")
            left = await ground.submit("", script="sleep 1000 & echo started")
            await ground.over(left, State.SUCCEEDED, attempts=1)
            bounded = await ground.submit("", script="true", limits={"files": 100})
            refused = await ground.over(bounded, State.FAILED, attempts=1)
            assert refused.error is not None
            assert "no limits" in refused.error.message
        finally:
            await worker.kill()
            await ground.close()

    asyncio.run(main())
