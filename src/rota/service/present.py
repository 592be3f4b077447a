"""What goes on at this moment, beside the counts: rates of the last minutes, slots in use, what comes next. Small reads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from rota.core.times import SECOND
from rota.service.series import MINUTE, Sums
from rota.store.protocol import Tx
from rota.store.rows import NextSchedule, WorkerRow

MOST_NEXT = 5  # schedules
RATES_MINUTES = 5
_MOST_ROWS = 5000
_MOST_RUNNING = 2000
_ENDS = ("succeeded", "failed", "aborted", "canceled")
_sums = msgspec.json.Decoder(Sums).decode


class Present(Struct, frozen=True, kw_only=True):
    """What goes on.

    `rates` is how many jobs were submitted, started, and ended in each state, a minute, and `queue_rates` how many ended in
    each queue: over the last five minutes. `slots_in_use` are those for processes.
    """

    rates: dict[str, float]
    queue_rates: dict[str, float]
    slots_in_use: int
    next_schedules: list[NextSchedule]


async def read_present(tx: Tx, workers: Sequence[WorkerRow]) -> Present:
    """Return what goes on, on these workers."""
    begin = tx.now - tx.now % (MINUTE * SECOND) - (RATES_MINUTES - 1) * MINUTE * SECOND
    minutes = (tx.now - begin) / (MINUTE * SECOND)
    rates = dict.fromkeys(("submitted", "started", *_ENDS), 0.0)
    queues: defaultdict[str, float] = defaultdict(float)
    for row in await tx.recent_series(MINUTE, begin, _MOST_ROWS):
        sums = _sums(row.sums)
        if row.queue:
            queues[row.queue] += sum(getattr(sums, end) for end in _ENDS) / minutes
        else:
            for name in rates:
                rates[name] += getattr(sums, name) / minutes
    return Present(
        rates={name: round(rate, 3) for name, rate in rates.items()},
        queue_rates={queue: round(rate, 3) for queue, rate in queues.items() if rate},
        slots_in_use=await _slots_in_use(tx, workers),
        next_schedules=await tx.next_schedules(MOST_NEXT),
    )


async def _slots_in_use(tx: Tx, workers: Sequence[WorkerRow]) -> int:
    """Count what runs in processes: what runs in an event loop takes none of their slots."""
    running = await tx.running_now(_MOST_RUNNING)
    coroutines = {(row.id, spec.name) for row in workers for spec in row.hello.handlers if spec.mode == "async"}
    return sum(each.slots for each in running if (each.worker, each.handler) not in coroutines)
