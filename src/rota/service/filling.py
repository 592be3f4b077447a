"""References to results, filled in as a claim gives jobs out; what cannot be filled in fails its job there and then."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Raw
from msgspec.structs import replace

from rota.core.jobs import Failure, Report
from rota.core.results import ResultOf, Unusable, as_text, filled, names, part
from rota.core.settling import settle
from rota.core.states import Outcome
from rota.core.templates import render
from rota.service import arrays
from rota.service.admission import MAX_DATA
from rota.service.changes import Ended, end_attempts
from rota.service.parents import result_of
from rota.service.signals import Effects
from rota.store.protocol import Claimed, Tx


async def fill(tx: Tx, claimed: Sequence[Claimed], effects: Effects) -> list[Claimed]:
    """Return what was claimed, with results in the places of references, without those jobs for which that cannot be."""
    whole = []
    for each in claimed:
        if not each.refers:
            whole.append(each)
            continue
        try:
            whole.append(await _filled(tx, each))
        except Unusable as error:
            await _fail(tx, each, Failure(type="bad_reference", message=str(error)), effects)
    return whole


async def _filled(tx: Tx, claimed: Claimed) -> Claimed:
    lease = claimed.lease
    variables = claimed.variables or {}
    results: dict[str, Raw] = {}
    asked = [value.job for value in variables.values() if isinstance(value, ResultOf)]
    for job in (*names(lease.data), *names(lease.args), *asked):
        if job not in results:
            results[job] = await result_of(tx, job, MAX_DATA)
    size = 0

    def give(job: str, path: str) -> Raw:
        nonlocal size
        value = part(results[job], path, job)
        size += len(bytes(value))
        if size > MAX_DATA:
            raise Unusable(
                f"the results that it refers to are more than {MAX_DATA} bytes together; the last is of job {job}"
            )
        return value

    script = lease.script
    if lease.kind == "script" and script is not None:
        texts = {
            name: value if isinstance(value, str) else as_text(give(value.job, value.path))
            for name, value in variables.items()
        }
        script = render(script, texts)
    return replace(
        claimed, lease=replace(lease, data=filled(lease.data, give), args=filled(lease.args, give), script=script)
    )


async def _fail(tx: Tx, claimed: Claimed, error: Failure, effects: Effects) -> None:
    lease = claimed.lease
    job = (await tx.lock_jobs([lease.job]))[lease.job]
    if job.array is not None:
        await arrays.give_up(tx, job, lease.attempt, error, effects)
        return
    report = Report(job=job.id, attempt=job.attempt, outcome=Outcome.ERRORED, refused=True, error=error)
    await end_attempts(tx, [Ended(job, report, settle(job, report, tx.now, 0.0))], effects)
