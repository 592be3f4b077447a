"""Retention: what is over for long enough goes, with all that belongs to it, in small batches; nothing else does."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from rota.core.errors import NotFound
from rota.core.jobs import Submission
from rota.core.times import SECOND
from rota.service.service import Service
from tests.embedded import store_at
from tests.service.test_hooks import START, Receiver, status

DAY = 86400 * SECOND


def test_what_is_over_for_long_goes_in_small_batches(tmp_path: Path) -> None:
    now, monotonic = START, 0.0

    async def main() -> None:
        nonlocal now, monotonic
        store = store_at(tmp_path / "a.db", clock=lambda: now, inline=True)
        await store.open()
        service = Service(
            store, sender=Receiver(lambda _: status(204)), rng=random.Random(1), retention_s=7 * 86400.0,
            monotonic=lambda: monotonic,
        )  # fmt: skip
        jobs = service.jobs
        old = await jobs.submit_many([Submission(handler="noop", labels={"a": "b"}) for _ in range(1200)], key="k")
        for job in old:
            await jobs.abort(job.id)
        waits = await jobs.submit(Submission(handler="noop"))
        now += 6 * DAY
        young = await jobs.submit(Submission(handler="noop"))
        await jobs.abort(young.id)
        assert await service.upkeep.prune() == 0
        now += DAY + SECOND
        monotonic += 61
        assert [await service.upkeep.prune() for _ in range(4)] == [500, 500, 200, 0]
        with pytest.raises(NotFound):
            await jobs.get(old[0].id)
        assert (await jobs.get(waits.id)).state == "queued"
        assert (await jobs.get(young.id)).state == "canceled"
        counts = (await service.stats()).jobs
        assert (counts["canceled"], counts["queued"]) == (1, 1)
        con = store.inline_runner._connection
        for table in ("jobs", "labels", "events"):
            assert con.execute(f"SELECT count(*) FROM rota_{table}").fetchone()[0] <= 5, table
        assert con.execute("SELECT count(*) FROM rota_answers").fetchone() == (0,), "keys are kept for a day"
        await store.close()

    asyncio.run(main())
