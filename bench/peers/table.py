"""The peers: what they are made of, how they are run, and what they keep."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class Peer(Struct, frozen=True, kw_only=True):
    """One peer. `keeps` says what is durable, and what is kept of a job that is over; `settings` how it is run.

    `requires` are the packages of its environment, none for Rota itself; the first one's version is the peer's. `bulk` says
    that it has something for many jobs at once. `workers` are the commands that run its jobs, `server` the one of a server
    that clients and workers need. In commands `{python}` is the environment's, `{broker}` the broker's URL, `{port}` the
    server's port. `backlog` is how many jobs it drains: about five seconds' worth. `cannot_abort` says why a running job cannot
    be aborted, where that is so. `once`: it is measured in the first repetition alone, for it is far from being the fastest.
    """

    name: str
    module: str
    requires: list[str]
    broker: Literal["valkey", "postgres", "sqlite"]
    keeps: str
    settings: str
    workers: list[str]
    server: str | None = None
    bulk: bool = True
    backlog: int = 20_000
    runtime: Literal["python", "node"] = "python"
    cannot_abort: str = ""
    once: bool = False


_NOT_DURABLE = "not durable (no AOF)"
_SERVER = "{python} -m rota serve --store {broker} --port {port} --workers 0"
_WORKER = "{python} -m rota worker --app bench.peers.rota_jobs:app --slots 500"  # for async jobs: docs/postgresql.md
_RQ = "{python} -m rq.cli worker -w rq.worker.SimpleWorker -q --url {broker}"
_ARQ = "{python} -m arq bench.peers.arq_jobs.WorkerSettings --custom-log-dict bench.peers.arq_jobs.QUIET"
_SAQ = "{python} -m saq bench.peers.saq_jobs.settings --quiet"
_PGQUEUER = "{python} -m bench.peers.pgqueuer_jobs"

OURS = {
    "sqlite": Peer(
        name="Rota on SQLite",
        module="rota_jobs",
        requires=[],
        broker="sqlite",
        keeps="durable, every commit synced; fenced; results, attempts and events kept",
        settings="one server, 2 workers of 500 slots over HTTP",
        server=_SERVER,
        workers=[_WORKER, _WORKER],
        backlog=100_000,
    ),
    "postgres": Peer(
        name="Rota on PostgreSQL",
        module="rota_jobs",
        requires=[],
        broker="postgres",
        keeps="durable; fenced; results, attempts and events kept",
        settings="one server, 2 workers of 500 slots over HTTP",
        server=_SERVER,
        workers=[_WORKER, _WORKER],
        backlog=100_000,
    ),
}
PEERS = {
    "celery": Peer(
        name="Celery, prefork",
        module="celery_jobs",
        requires=["celery[redis]==5.7.0"],
        broker="valkey",
        keeps=f"{_NOT_DURABLE}; results kept; acknowledged before it runs",
        settings="-c 2, prefetch 64, without gossip, mingle and heartbeat",
        workers=[
            "{python} -m celery -A bench.peers.celery_jobs worker -P prefork -c 2 -l CRITICAL"
            " --without-gossip --without-mingle --without-heartbeat"
        ],
        bulk=False,
        backlog=5_000,
        once=True,
    ),
    "rq": Peer(
        name="RQ, SimpleWorker",
        module="rq_jobs",
        requires=["rq==3.0.0"],
        broker="valkey",
        keeps=f"{_NOT_DURABLE}; results kept; no process of its own for a job",
        settings="2 processes",
        workers=[_RQ, _RQ],
        backlog=3_000,
        cannot_abort="cannot: only its forking workers, 30 times slower, can",
        once=True,
    ),
    "dramatiq": Peer(
        name="Dramatiq",
        module="dramatiq_jobs",
        requires=["dramatiq[redis]==2.2.1"],
        broker="valkey",
        keeps=f"{_NOT_DURABLE}; results kept; jobs run in threads",
        settings="-p 2 -t 8",
        workers=["{python} -m dramatiq bench.peers.dramatiq_jobs -p 2 -t 8"],
        bulk=False,
        cannot_abort="cannot: an add-on raises in a thread that runs Python",
        once=True,
    ),
    "huey": Peer(
        name="Huey on Redis, processes",
        module="huey_jobs",
        requires=["huey==3.5.4", "redis==7.1.0"],
        broker="valkey",
        keeps=f"{_NOT_DURABLE}; results kept",
        settings="-w 2 -k process",
        workers=["{python} -m huey.bin.huey_consumer bench.peers.huey_jobs.huey -w 2 -k process -q"],
        bulk=False,
        cannot_abort="cannot: what runs goes on",
    ),
    "taskiq": Peer(
        name="Taskiq",
        module="taskiq_jobs",
        requires=["taskiq==0.13.0", "taskiq-redis", "pydantic"],
        broker="valkey",
        keeps=f"{_NOT_DURABLE}; results kept; a job leaves the list before it runs",
        settings="-w 2, list broker",
        workers=["{python} -m taskiq worker bench.peers.taskiq_jobs:broker -w 2 --log-level ERROR"],
        cannot_abort="cannot",
        once=True,
    ),
    "arq": Peer(
        name="arq, tuned",
        module="arq_jobs",
        requires=["arq==0.28.0"],
        broker="valkey",
        keeps=f"{_NOT_DURABLE}; results kept",
        settings="2 processes, max_jobs 100, poll_delay 10 ms",
        workers=[_ARQ, _ARQ],
        backlog=10_000,
        once=True,
    ),
    "saq": Peer(
        name="SAQ on Redis",
        module="saq_jobs",
        requires=["saq[redis,hiredis]==0.26.4", "typing_extensions"],
        broker="valkey",
        keeps=f"{_NOT_DURABLE}; results kept for ten minutes",
        settings="2 processes, concurrency 100",
        workers=[_SAQ, _SAQ],
    ),
    "procrastinate": Peer(
        name="Procrastinate",
        module="procrastinate_jobs",
        requires=["procrastinate==3.10.0", "psycopg[binary,pool]"],
        broker="postgres",
        keeps="durable; the job's row stays, no result",
        settings="one process, concurrency 10",
        workers=["{python} -m procrastinate --app bench.peers.procrastinate_jobs.app --log-level error worker -c 10"],
        backlog=2_000,
        once=True,
    ),
    "pgqueuer": Peer(
        name="pgqueuer",
        module="pgqueuer_jobs",
        requires=["pgqueuer[asyncpg]==1.6.0", "uvloop"],
        broker="postgres",
        keeps="durable; a job that is over is deleted, no result",
        settings="2 processes, batches of 100",
        workers=[_PGQUEUER, _PGQUEUER],
        backlog=100_000,
    ),
    "bullmq": Peer(
        name="BullMQ",
        module="bullmq_jobs",
        requires=["bullmq@6.7.0", "ioredis@5"],
        broker="valkey",
        keeps=f"{_NOT_DURABLE}; results kept",
        settings="Node, one process, concurrency 100",
        workers=["{node} {module} work"],
        runtime="node",
        backlog=50_000,
        cannot_abort="cannot: what runs goes on",
    ),
    "graphile": Peer(
        name="graphile-worker, tuned",
        module="graphile_jobs",
        requires=["graphile-worker@0.17.3"],
        broker="postgres",
        keeps="durable; a job that is over is deleted, no result",
        settings="Node, one process, 24 jobs at once, a local queue of 500, completions in batches",
        workers=["{node} {module} work"],
        runtime="node",
        backlog=100_000,
        cannot_abort="cannot: what runs goes on",
    ),
}
