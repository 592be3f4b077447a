"""A service on a store with a clock of its own, a worker that the test plays, and what `explain` says of a job."""

from __future__ import annotations

import random
from typing import Any

from rota.core.access import LOCAL, Caller
from rota.core.jobs import Free, HandlerSpec, Job, Lease, Report, Submission, WorkerHello
from rota.core.states import Outcome
from rota.core.times import SECOND
from rota.service.dry_runs import DryRun
from rota.service.explain import Explanation
from rota.service.service import Service
from tests.conformance.store.bench import START, Bench, Postgres
from tests.service.test_hooks import Receiver, status

_SQLITE_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table'"
_POSTGRES_ROWS = """SELECT table_name, query_to_xml('SELECT * FROM ' || table_name, true, false, '')::text
FROM information_schema.tables WHERE table_name LIKE 'rota%' ORDER BY 1"""
HANDLERS = [HandlerSpec(name="h"), HandlerSpec(name="again", retries=9)]


class Scene:
    """`lines` is what explain says, as the command prints it: text, and the way out below it."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.service = Service(
            bench.store, sender=Receiver(lambda _: status(204)), rng=random.Random(1),
            monotonic=lambda: (bench.now - START) / SECOND,
        )  # fmt: skip
        self.run(self.service.upkeep.begin())

    def run(self, coroutine: Any) -> Any:
        return self.bench.run(coroutine)

    def submit(self, handler: str = "h", **fields: Any) -> str:
        return self.run(self.service.jobs.submit(Submission(handler=handler, **fields))).id  # type: ignore[no-any-return]

    def job(self, job: str) -> Job:
        return self.run(self.service.jobs.get(job))  # type: ignore[no-any-return]

    def worker(self, name: str = "w", slots: int = 1, **hello: Any) -> str:
        made = WorkerHello(**{"name": name, "handlers": HANDLERS, "slots": slots, "arrays": True, **hello})
        return self.run(self.service.work.register(made)).worker  # type: ignore[no-any-return]

    def claim(self, worker: str, n: int = 1) -> list[Lease]:
        return self.run(self.service.work.claim(worker, Free(process=n, asynchronous=0, total=n)))  # type: ignore[no-any-return]

    def end(self, worker: str, lease: Lease, outcome: Outcome = Outcome.SUCCEEDED, **fields: Any) -> None:
        report = Report(job=lease.job, attempt=lease.attempt, outcome=outcome, **fields)
        self.run(self.service.work.settle(worker, [report]))

    def let(self, seconds: float, *beating: str) -> None:
        """Let time pass while upkeep goes round; these workers have sent heartbeats."""
        until = self.bench.now + round(seconds * SECOND)
        while self.bench.now < until:
            self.bench.now = min(self.bench.now + 5 * SECOND, until)
            for worker in beating:
                self.run(self.service.work.heartbeat(worker, []))
            while not self.run(self.service.upkeep.round()):
                pass

    def explain(self, job: str, caller: Caller = LOCAL) -> Explanation:
        return self.run(self.service.jobs.explain(job, caller))  # type: ignore[no-any-return]

    def lines(self, job: str, caller: Caller = LOCAL) -> list[str]:
        told = self.explain(job, caller)
        assert told.summary == told.reasons[0].text
        return [f"{why.code}: {why.text}" + (f" | {why.way_out}" if why.way_out else "") for why in told.reasons]

    def dry(
        self, *fields: dict[str, Any], caller: Caller = LOCAL, key: str | None = None, bulk: bool = False
    ) -> DryRun:
        """Ask what would become of submissions, and see that nothing of them is there afterwards, also when it raises."""
        before = self.rows()
        submissions = [Submission(**{"handler": "h", **each}) for each in fields]
        try:
            return self.run(  # type: ignore[no-any-return]
                self.service.jobs.dry_run(submissions, bulk=bulk or len(fields) > 1, caller=caller, key=key)
            )
        finally:
            assert self.rows() == before, "a dry run has written"

    def rows(self) -> dict[str, list[Any]]:
        """Return every row of every table."""
        sql = self.bench.kind.sql
        if isinstance(self.bench.kind, Postgres):
            return {name: sorted(rows.splitlines()) for name, rows in sql(_POSTGRES_ROWS)}
        return {name: sorted(sql(f"SELECT * FROM {name}"), key=repr) for (name,) in sql(_SQLITE_TABLES)}
