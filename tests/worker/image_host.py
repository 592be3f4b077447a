"""A small worker process for tests: it runs containers that nothing ends but force, until it is killed itself."""

import asyncio
import sys
import time

from rota.worker.images import ImageRunner
from rota.worker.pool import Pool
from rota.worker.supervisor import monotonic
from tests.worker.executor_rig import APP
from tests.worker.image_rig import shell


async def main(engine: str, count: int, lease_s: float) -> None:
    pool = Pool([APP], slots=count, scripts=True, on_output=lambda _: None)
    said = asyncio.Event()
    runner = ImageRunner(engine, pool, lambda _: said.set(), monotonic)
    await pool.start()
    await runner.start()
    jobs = [shell("trap '' TERM; echo up; while :; do sleep 1; done") for _ in range(count)]
    tasks = [asyncio.create_task(runner.run(job)) for job in jobs]
    await said.wait()
    if lease_s:
        pool.leased_until(time.clock_gettime(time.CLOCK_BOOTTIME) + lease_s)
    link = pool._nursery._link
    assert link is not None
    print(link.pid, flush=True)
    reports = await asyncio.gather(*tasks)
    print(*(report.outcome for report in reports), flush=True)
    await runner.close()
    await pool.close()


asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
