"""What the tour found, checked against what it promised."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from msgspec import Struct

import rota
from examples.aborting import Watched
from examples.visiting import Visited
from rota.client import Job


class Finding(Struct, frozen=True):
    """One thing that was shown; `holds` is False when it was not as promised."""

    holds: bool
    text: str


def findings(client: rota.Client, jobs: dict[str, Job], watched: Watched, visited: Visited) -> list[Finding]:
    """Check every job of the tour; `jobs` are by their name in the plan."""
    return [
        _measured([job for name, job in jobs.items() if name.startswith("package-")]),
        _script(client, jobs["script"]),
        _array(client, jobs["array"]),
        _visited(client, jobs["visited"], visited),
        _unsteady(client, jobs["unsteady"]),
        _delayed(jobs["delayed"]),
        _aborted(watched),
        _reported(jobs["report"]),
    ]


def _measured(jobs: list[Job]) -> Finding:
    done = [job for job in jobs if job.state == "succeeded"]
    if len(done) < len(jobs):
        return Finding(False, f"{len(jobs) - len(done)} of {len(jobs)} packages were not measured")
    files = sum(job.result["measures"]["files"] for job in done)
    lines = sum(job.result["measures"]["lines"] for job in done)
    took = max(job.finished_at or job.run_at for job in done) - min(job.submitted_at for job in done)
    return Finding(
        True,
        f"{files:,} files with {lines:,} lines in {len(done)} packages, measured within {took.total_seconds():.1f} s",
    )


def _script(client: rota.Client, job: Job) -> Finding:
    output = "".join(log.text for log in client.logs(job) if log.stream == "stdout")
    first = output.partition("\n")[2].split("\n")[0].split()
    if job.state != "succeeded" or len(first) != 3:
        return Finding(False, f"the script {job.state}: {output!r}")
    return Finding(True, f"a bash script found that `{first[1]} {first[2]}` stands in {first[0]} places")


def _array(client: rota.Client, job: Job) -> Finding:
    results = list(client.results(job))
    took = (job.finished_at or job.submitted_at) - (job.started_at or job.submitted_at)
    if job.state != "succeeded" or job.array is None or [r.index for r in results] != list(range(job.array.inputs)):
        return Finding(False, f"the array {job.state} with {len(results)} results")
    most = max(results, key=lambda result: int(result.stdout))
    shards = len(client.attempts(job))
    return Finding(
        True,
        f"a script ran over {len(results):,} files in {took.total_seconds():.1f} s, cut into {shards} shards:"
        f" {Path(str(most.input)).name} is the longest, with {int(most.stdout):,} words",
    )


def _visited(client: rota.Client, job: Job, visited: Visited) -> Finding:
    done = job.state == "succeeded" and job.array is not None and job.array.done == job.array.inputs
    shards = client.attempts(job)
    visitors = sum((shard.worker or "").startswith("visitor-") for shard in shards)
    statuses = visited.statuses
    return Finding(
        done and statuses == [0, 0] and visitors > 0,
        f"the same again while {len(statuses)} workers joined and left: {visitors} of {len(shards)} shards were theirs,"
        f" and every file was read once",
    )


def _unsteady(client: rota.Client, job: Job) -> Finding:
    outcomes = [attempt.outcome for attempt in client.attempts(job)]
    holds = job.state == "succeeded" and outcomes == ["errored", "errored", "succeeded"]
    return Finding(holds, f"a job failed twice and then succeeded: {', '.join(map(str, outcomes))}")


def _delayed(job: Job) -> Finding:
    late = (job.started_at or job.submitted_at) - job.run_at
    waited = (job.started_at or job.submitted_at) - job.submitted_at
    holds = job.state == "succeeded" and timedelta() <= late < timedelta(seconds=2)
    return Finding(
        holds,
        f"a job delayed by 10 s started after {waited.total_seconds():.3f} s, {late / timedelta(milliseconds=1):.0f} ms late",
    )


def _aborted(watched: Watched) -> Finding:
    proof = watched.proof
    if proof is None or watched.took_s is None:
        return Finding(False, f"the hour's run was not aborted with a proof: {watched.state or 'it never ran'}")
    signals = ", ".join(f"{name} at {1000 * at:.1f} ms" for name, at in proof.signals)
    holds = watched.state == "aborted" and watched.confirmed is True and not watched.left and not proof.survivors
    return Finding(
        holds,
        f"a job with {len(watched.before)} processes was aborted in {1000 * watched.took_s:.0f} ms, {len(watched.left)} left"
        f" (its proof: {proof.processes} ended, {signals}, all gone at {1000 * proof.took_s:.1f} ms)",
    )


def _reported(job: Job) -> Finding:
    if job.state != "succeeded":
        return Finding(False, f"the report {job.state}")
    names = " and ".join(Path(path).name for path in job.result.values())
    return Finding(True, f"the report waited for all packages: {names}, in this folder")
