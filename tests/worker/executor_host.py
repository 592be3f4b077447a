"""A small worker process for tests: a pool that runs one job of each kind, until it is killed."""

import asyncio
import os
import sys

import msgspec
from msgspec import Raw

from rota.core.jobs import Lease
from rota.worker.pool import Pool
from tests.worker.executor_rig import APP, until


async def main(folder: str, keep_fd: int) -> None:
    pool = Pool([APP], slots=4, scripts=True, on_output=lambda _: None, keep_fds=(keep_fd,))
    await pool.start()
    link = pool._nursery._link
    assert link is not None
    wicked = (
        "trap '' TERM INT HUP; setsid sleep 600 & nohup sleep 600 & ( ( sleep 600 & ) & ); "
        'touch "$1"; while :; do sleep 600; done'
    )
    jobs = [
        ("stubborn", f"{folder}/a"),
        ("ignores_cancel", f"{folder}/b"),
        ("shell", {"path": f"{folder}/c", "script": wicked}),
        ("ashell", {"path": f"{folder}/d", "script": wicked}),
    ]
    leases = [
        Lease(job=handler, attempt=1, handler=handler, data=Raw(msgspec.json.encode(data))) for handler, data in jobs
    ]
    leases.append(Lease(job="script", attempt=1, kind="script", script=f"set -- {folder}/e; {wicked}"))
    tasks = [asyncio.create_task(pool.run(lease)) for lease in leases]
    await until(lambda: all(os.path.exists(f"{folder}/{name}") for name in "abcde"))
    print(link.pid, pool._nursery._folder, flush=True)
    await asyncio.gather(*tasks)


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
