"""Fair shares: what the order costs a claim, how many owners it bears, and the plot of a flood beside a few jobs.

`python -m bench.fairness` draws the plot anew (docs/fairness.svg), from a run on an embedded store with the whole flood in it.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench import cluster
from bench.figures import Row
from bench.scale import Scale
from rota.core.access import LOCAL
from rota.core.jobs import Free, HandlerSpec, Lease, Report, Submission, WorkerHello
from rota.core.states import Outcome
from rota.service.owners import OwnerEdit
from rota.service.service import Service
from rota.store.postgres.store import PostgresStore
from rota.store.protocol import Store
from rota.store.sqlite.store import SqliteStore

_BATCH = 100
_JOBS = 20_000
_FLOOD, _FEW = 1_000_000, 100
_PLOT = Path(__file__).parents[1] / "docs/fairness.svg"


class _Nobody:
    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> int:  # noqa: ARG002
        raise AssertionError("no job here has a hook")


def rows(scale: Scale) -> Iterator[Row]:
    """Claim and settle jobs of one owner, of two, and of thousands; the processor time of this process for each job."""
    jobs = scale.jobs(_JOBS)
    for kind in ("SQLite", "PostgreSQL"):
        for owners in (1, 2, jobs):
            took = [_drain(kind, jobs, owners) for _ in scale.repetitions()]
            whose = "one owner's" if owners == 1 else f"{owners:,} owners'"
            yield Row(f"{kind}: claim and settle {whose} jobs, {_BATCH} at once: processor time a job", took, "µs")
    starts = _starts_until_served(scale.jobs(_FLOOD))
    yield Row(
        f"starts from a single job's submission behind a flood of {scale.jobs(_FLOOD):,} to its own", [starts], ""
    )


def _drain(kind: str, jobs: int, owners: int) -> float:
    if kind == "PostgreSQL":
        with cluster.new_database() as database:
            return asyncio.run(_drained(PostgresStore(database.url), jobs, owners))
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_drained(SqliteStore(Path(folder) / "rota.db"), jobs, owners))


async def _drained(store: Store, jobs: int, owners: int) -> float:
    await store.open()
    service = Service(store, sender=_Nobody(), lease_s=3600)
    hello = WorkerHello(name="w", handlers=[HandlerSpec(name="h")], slots=_BATCH)
    worker = (await service.work.register(hello)).worker
    for first in range(0, jobs, 10_000):
        some = range(first, min(first + 10_000, jobs))
        await service.jobs.submit_many([Submission(handler="h", owner=f"o{n % owners}") for n in some])
    began, done = time.process_time(), 0
    while leases := await _round(service, worker, _BATCH):
        done += len(leases)
    took = time.process_time() - began
    await store.close()
    if done != jobs:
        raise RuntimeError(f"{done} of {jobs} jobs were claimed")
    return 1e6 * took / jobs


async def _round(service: Service, worker: str, room: int) -> list[Lease]:
    leases = await service.work.claim(worker, Free(process=room, asynchronous=0, total=room))
    reports = [Report(job=each.job, attempt=each.attempt, outcome=Outcome.SUCCEEDED) for each in leases]
    await service.work.settle(worker, reports)
    return leases


def _flooded(path: Path, flood: int) -> None:
    """Let one owner have submitted a flood: written with SQL, for nobody could wait for the service to do it."""
    con = sqlite3.connect(path)
    con.execute(
        f"""WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {flood})
        INSERT INTO rota_jobs (id, state, kind, lane, handler, data, args, owner, queue, priority, run_at, submitted_at,
        grace_s)
        SELECT printf('0%09d', n), 'queued', 'handler', 'h', 'h', '{{}}', '[]', 'flood', 'default', 0, n, n, 5 FROM n"""
    )
    con.execute("INSERT INTO rota_turns VALUES ('default', 0, 'flood', 'h', 0, 'ready', 1)")
    con.execute("INSERT INTO rota_counts VALUES ('default', 'h', 'queued', ?)", (flood,))
    con.commit()
    con.close()


def _starts_until_served(flood: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        order = asyncio.run(_order(Path(folder) / "rota.db", flood, few=1, weight=1.0, starts=1100))
    return float(order.index("few") - 1000 + 1)


async def _order(path: Path, flood: int, *, few: int, weight: float, starts: int) -> list[str]:
    """Return whose jobs were started, one after another; `few` come from another owner after 1,000 of the flood's."""
    store = SqliteStore(path, inline=True)
    await store.open()
    _flooded(path, flood)
    service = Service(store, sender=_Nobody(), lease_s=3600)
    hello = WorkerHello(name="w", handlers=[HandlerSpec(name="h")], slots=_BATCH)
    worker = (await service.work.register(hello)).worker
    await service.owners.edit("few", OwnerEdit(weight=weight), LOCAL)
    order: list[str] = []
    while len(order) < starts:
        if len(order) == 1000:
            await service.jobs.submit_many([Submission(handler="h", owner="few") for _ in range(few)])
        order += [lease.owner for lease in await _round(service, worker, 4)]
    await store.close()
    return order


def plot(flood: int = _FLOOD) -> str:
    """Draw how many of the few have been started, over all starts since they were submitted, for some weights."""
    runs = []
    for weight, color in ((1.0, "#1f6feb"), (3.0, "#1a7f37"), (1 / 3, "#bf3989")):
        with tempfile.TemporaryDirectory() as folder:
            starts = round(1000 + _FEW * (1 + 1 / weight) + 8)
            order = asyncio.run(_order(Path(folder) / "rota.db", flood, few=_FEW, weight=weight, starts=starts))[1000:]
        done, line = 0, [(0, 0)]
        for at, owner in enumerate(order, 1):
            done += owner == "few"
            line.append((at, done))
        runs.append((f"weight {weight:.3g}", color, line))
    return _svg(runs, flood)


def _svg(runs: list[tuple[str, str, list[tuple[int, int]]]], flood: int) -> str:
    width, height, left, top, bottom = 720, 360, 60, 30, 50
    most = max(line[-1][0] for _, _, line in runs)

    def x(n: float) -> float:
        return round(left + n * (width - left - 20) / most, 1)

    def y(n: float) -> float:
        return round(height - bottom - n * (height - top - bottom) / _FEW, 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="{left}" y="18" font-weight="bold">{_FEW} jobs of one owner, behind {flood:,} of another</text>',
    ]
    for n in range(0, _FEW + 1, 25):
        parts.append(f'<path d="M{left} {y(n)}H{width - 20}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 8}" y="{y(n) + 4}" text-anchor="end">{n}</text>')
    parts += [
        f'<text x="{x(n)}" y="{height - bottom + 18}" text-anchor="middle">{n}</text>' for n in range(0, most + 1, 100)
    ]
    parts.append(
        f'<text x="{width / 2}" y="{height - 10}" text-anchor="middle">starts of both since they were submitted</text>'
    )
    for at, (name, color, line) in enumerate(runs):
        points = " ".join(f"{x(n)},{y(done)}" for n, done in line)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts.append(f'<text x="{width - 200}" y="{height - bottom - 62 + 18 * at}" fill="{color}">{name}</text>')
    parts.append(f'<path d="M{left} {y(0)}H{width - 20}" stroke="#888" stroke-width="2" stroke-dasharray="6 4"/>')
    parts.append(f'<text x="{width - 200}" y="{height - bottom - 8}" fill="#666">by age alone: none of them</text>')
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    _PLOT.write_text(plot(int(sys.argv[1]) if len(sys.argv) > 1 else _FLOOD))
