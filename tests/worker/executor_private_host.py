"""A small worker for tests, as `rota worker` is one: it hides itself, runs the leases that it is given, and prints the reports.

`executor_private_host RUN_AS|- LEASES(JSON)`
"""

import asyncio
import os
import sys

import msgspec

from rota.core.jobs import Lease, LogChunk
from rota.worker import proctree
from rota.worker.identity import BadUser
from rota.worker.pool import Pool
from tests.worker.executor_rig import APP


async def main(run_as: str | None, leases: list[Lease]) -> None:
    proctree.set_readable(False)
    secret = os.environ["ROTA_TOKEN"]  # in this process's memory too
    output: list[LogChunk] = []
    apps = [APP] if any(lease.kind == "handler" for lease in leases) else []
    pool = Pool(apps, slots=2, scripts=True, on_output=output.append, run_as=run_as)
    await pool.start()
    link = pool._nursery._link
    own = f"{os.getpid()} {link.pid}"
    reports = []
    for lease in leases:
        lease = msgspec.structs.replace(lease, inputs=[msgspec.Raw(msgspec.json.encode(own))])
        reports.append(await pool.run(lease))
    folder = pool._nursery._folder
    await pool.close()
    assert secret and not os.path.exists(folder)
    print(msgspec.json.encode(reports).decode())


try:
    asyncio.run(main(None if sys.argv[1] == "-" else sys.argv[1], msgspec.json.decode(sys.argv[2], type=list[Lease])))
except BadUser as wrong:
    sys.exit(f"BadUser: {wrong}")
