"""What 100,000 schedules cost while none fires, and how late a thousand fire that come in the same second.

In one process, with the store's file and its writer thread: of HTTP and workers other parts tell.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from bench.figures import Row, percentile
from bench.scale import Scale
from bench.server import Store, new_store
from rota.core.access import LOCAL
from rota.core.jobs import Submission
from rota.core.times import SECOND, rfc3339
from rota.service.schedules import NewSchedule
from rota.service.service import Service
from rota.service.signals import Effects
from rota.store.sqlite.store import SqliteStore

_FAR = "0 0 1 1 *"
_WATCHED_S = 10.0
_AT_ONCE = 1_000
_AHEAD_S = 5  # how long after they were made they fire


class _NoHooks:
    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> int:  # noqa: ARG002
        raise AssertionError("no job here has a hook")


def rows(scale: Scale) -> Iterator[Row]:
    """Let many wait, then let a thousand fire at the same moment, and a thousand within a second."""
    with new_store() as store:
        n = scale.jobs(100_000)
        idle = [asyncio.run(_idle(store, n if first == 0 else 0)) for first in scale.repetitions()]
        yield Row(f"{n:,} schedules, none due: processor time of the server", idle, "%", "≤ 1 % (issue)")
    for what, spread_s in (("at the same moment", 0.0), ("within the same second", 1.0)):
        taken = []
        for _ in scale.repetitions():
            with new_store() as store:
                taken.append(asyncio.run(_fired(store, spread_s)))
        for percent, required in ((50, ""), (99, "≤ 50 ms (issue)")):
            values = [1000 * percentile(lags, percent) for lags in taken]
            yield Row(f"{_AT_ONCE:,} firings {what}, slot to durable job: p{percent}", values, "ms", required)


@asynccontextmanager
async def _service(store: Store) -> AsyncIterator[Service]:
    opened = SqliteStore(store.file)
    await opened.open()
    service = Service(opened, sender=_NoHooks(), rng=random.Random(1))
    await service.start()
    yield service
    await service.stop()
    await opened.close()


async def _make(service: Service, rules: list[str]) -> None:
    for first in range(0, len(rules), 500):
        made = [
            NewSchedule(rule=rule, job=Submission(handler="noop"), name=f"s{first + n}")
            for n, rule in enumerate(rules[first : first + 500])
        ]
        await asyncio.gather(*(service.schedules.add(new, LOCAL) for new in made))


async def _idle(store: Store, n: int) -> float:
    """Return the share of a core, in percent, that the process takes; `n` are made first."""
    async with _service(store) as service:
        await _make(service, [_FAR] * n)
        await asyncio.sleep(1)
        before = time.process_time()
        await asyncio.sleep(_WATCHED_S)
        return 100 * (time.process_time() - before) / _WATCHED_S


async def _fired(store: Store, spread_s: float) -> list[float]:
    """Return for each of a thousand firings how many seconds after its slot its job was committed."""
    async with _service(store) as service:
        slot = (time.time_ns() // 1000 // SECOND + _AHEAD_S) * SECOND
        slots = [slot + round(spread_s * SECOND * n / _AT_ONCE) for n in range(_AT_ONCE)]
        committed: list[float] = []
        publish, all_fired = service.signals.publish, asyncio.Event()

        def note(effects: Effects) -> None:
            committed.extend([time.time()] * sum(effects.ready.values()))
            publish(effects)
            if len(committed) == _AT_ONCE:
                all_fired.set()

        service.signals.publish = note  # type: ignore[method-assign]
        await _make(service, [f"at {rfc3339(at)}" for at in slots])
        await asyncio.wait_for(all_fired.wait(), 60)
        return [at - due / SECOND for at, due in zip(committed, slots, strict=True)]
