"""A small worker process for tests: it runs containers that nothing ends but force, until it is killed itself.

It writes the pid of its keeper when all containers run. With SIGUSR1 begins a lease of LEASE_S seconds, which nobody renews;
it writes `leased` then.
"""

import asyncio
import signal
import sys
import time

from rota.core.jobs import LogChunk
from rota.worker.images import ImageRunner
from rota.worker.pool import Pool
from rota.worker.supervisor import monotonic
from tests.worker.executor_rig import APP
from tests.worker.image_rig import shell


async def main(engine: str, count: int, lease_s: float) -> None:
    pool = Pool([APP], slots=count, scripts=True, on_output=lambda _: None)
    up, all_up = set(), asyncio.Event()

    def said(chunk: LogChunk) -> None:
        up.add(chunk.job)
        if len(up) == count:
            all_up.set()

    def begin_lease() -> None:
        pool.leased_until(time.clock_gettime(time.CLOCK_BOOTTIME) + lease_s)
        print("leased", flush=True)

    runner = ImageRunner(engine, pool, said, monotonic)
    await pool.start()
    await runner.start()
    jobs = [shell("trap '' TERM; echo up; while :; do sleep 1; done") for _ in range(count)]
    tasks = [asyncio.create_task(runner.run(job)) for job in jobs]
    await all_up.wait()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, begin_lease)
    link = pool._nursery._link
    assert link is not None
    print(link.pid, flush=True)
    reports = await asyncio.gather(*tasks)
    print(*(report.outcome for report in reports), flush=True)
    await runner.close()
    await pool.close()


asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
