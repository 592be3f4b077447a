"""The clients: they submit, wait, abort, and remember every answer that they were given."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import rota
from rota.client.client import Client
from rota.core.errors import Conflict, RotaError
from tests.chaos.app import now

SCRIPT = """
file={{ledger}}/$ROTA_JOB_ID.$ROTA_ATTEMPT..$$
note() { read -r up _ </proc/uptime; echo "$1 $up $$" >>"$file"; }
note start
for n in 1 2 3 4 5 6; do sleep 0.05; note tick; done
note end
"""
_BACKLOG = 100  # jobs that are not over, at which clients hold back
_SOON = {"base": 0.1, "limit": 1.0}


@dataclass
class Record:
    """A submission: what was asked, and what was answered. Times are seconds of the ledger's clock."""

    n: int
    kind: str
    asked_at: float
    parent: int | None = None  # the submission that it waits for
    job: str | None = None  # acknowledged
    acked_at: float | None = None
    abort_acked: bool = False
    seen: dict[str, Any] | None = None  # the job, final, as a client was shown it
    errors: list[str] = field(default_factory=list)


class Load:
    """`per_s` submissions a second from `clients` threads; as many more wait for the ends. `seed` decides what is submitted."""

    def __init__(self, urls: str, token: str, ledger: str, *, seed: int, per_s: float, clients: int = 6) -> None:
        self.records: list[Record] = []
        self.errors: list[tuple[float, str]] = []  # everything that a client's caller was raised
        self._ledger = ledger
        self._make = lambda: Client(urls, token, timeout=10.0)
        self._seed = seed
        self._pause_s = clients / per_s
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._over = threading.Event()
        self._to_wait: queue.Queue[Record] = queue.Queue()
        self._submitters = [threading.Thread(target=self._submit_on, args=(n,), daemon=True) for n in range(clients)]
        self._waiters = [threading.Thread(target=self._wait_on, daemon=True) for _ in range(2 * clients)]

    def start(self) -> None:
        for thread in [*self._submitters, *self._waiters]:
            thread.start()

    def stop_submitting(self) -> None:
        self._stop.set()
        for thread in self._submitters:
            thread.join(120)
            assert not thread.is_alive(), "a client's call does not end"

    def wait_for_all(self, seconds: float) -> list[Record]:
        """Wait until every acknowledged job was seen to be over; return those that were not."""
        until = time.monotonic() + seconds
        while (late := [r for r in self.records if r.job and r.seen is None]) and time.monotonic() < until:
            time.sleep(0.1)
        self._over.set()
        for thread in self._waiters:
            thread.join(60)
        return late

    def acked(self) -> int:
        return sum(r.job is not None for r in self.records)

    def done(self) -> int:
        return sum(r.seen is not None for r in self.records)

    # -- what a client does

    def _submit_on(self, number: int) -> None:
        rng = random.Random(f"{self._seed}/{number}")
        client = self._make()
        while not self._stop.is_set():
            if self._to_wait.qsize() > _BACKLOG:  # the machine is slow, or nothing works just now
                self._stop.wait(0.2)
                continue
            try:
                self._one(client, rng)
            except RotaError as error:
                self._failed(error)
            self._stop.wait(rng.uniform(0.5, 1.5) * self._pause_s)
        client.close()

    def _one(self, client: Client, rng: random.Random) -> None:
        kind = rng.choices(list(_KINDS), weights=[weight for weight, _ in _KINDS.values()])[0]
        _KINDS[kind][1](self, client, rng)

    def _asked(self, kind: str, parent: int | None = None) -> Record:
        with self._lock:
            record = Record(len(self.records), kind, now(), parent)
            self.records.append(record)
        return record

    def _acked(self, record: Record, job: rota.Job) -> None:
        record.acked_at = now()
        record.job = job.id
        self._to_wait.put(record)

    def _submit(
        self, client: Client, kind: str, handler: str, data: Any, parent: int | None = None, **options: Any
    ) -> Record:
        record = self._asked(kind, parent)
        labels = {"n": str(record.n)}
        try:
            job = client.submit(handler, data, labels=labels, key=f"n-{record.n}", backoff=_SOON, **options)
        except RotaError as error:
            record.errors.append(str(error))
            raise
        self._acked(record, job)
        return record

    def _work(self, client: Client, rng: random.Random) -> None:
        self._submit(client, "work", "work", {"seconds": round(rng.uniform(0.02, 0.3), 3)})

    def _awork(self, client: Client, rng: random.Random) -> None:
        self._submit(client, "awork", "awork", {"seconds": round(rng.uniform(0.02, 0.5), 3)})

    def _long(self, client: Client, rng: random.Random) -> None:
        self._submit(client, "long", rng.choice(["work", "awork"]), {"seconds": rng.uniform(3, 9)}, queue="long")

    def _flaky(self, client: Client, rng: random.Random) -> None:
        self._submit(client, "flaky", "flaky", {"fails": rng.choice([1, 2, 3])})

    def _delayed(self, client: Client, rng: random.Random) -> None:
        self._submit(client, "delayed", "awork", {"seconds": 0.02}, delay=rng.uniform(0.5, 4.0))

    def _tree(self, client: Client, rng: random.Random) -> None:
        self._submit(client, "tree", "tree", {"seconds": rng.uniform(0.2, 1.0)}, grace=0.3)

    def _timeout(self, client: Client, rng: random.Random) -> None:
        self._submit(client, "timeout", "tree", {"seconds": 600}, grace=0.3, timeout=rng.uniform(0.5, 1.5))

    def _array(self, client: Client, rng: random.Random) -> None:
        inputs = [{"seconds": 0.05}] * rng.randint(3, 8)
        self._submit(client, "array", rng.choice(["work", "awork"]), None, inputs=inputs)

    def _chain(self, client: Client, rng: random.Random) -> None:
        first = self._submit(client, "parent", *rng.choice([("work", {"seconds": 0.1}), ("flaky", {"fails": 3})]))
        self._submit(client, "dependent", "awork", {"seconds": 0.05}, parent=first.n, after=[first.job])

    def _bulk(self, client: Client, rng: random.Random) -> None:
        records = [self._asked("bulk") for _ in range(5)]
        items = [{"handler": "awork", "data": {"seconds": 0.02}, "labels": {"n": str(r.n)}} for r in records]
        for record, job in zip(records, client.submit_many(items, key=f"bulk-{records[0].n}"), strict=True):
            self._acked(record, job)

    def _script(self, client: Client, rng: random.Random) -> None:
        record = self._asked("script")
        labels = {"n": str(record.n)}
        job = client.submit_script(SCRIPT, {"ledger": self._ledger}, labels=labels, key=f"n-{record.n}", backoff=_SOON)
        self._acked(record, job)

    def _abort(self, client: Client, rng: random.Random) -> None:
        """Abort a job some time after its submission: it may be waiting, running, or over."""
        handler = rng.choice(["tree", "work", "awork"])
        record = self._submit(client, "aborted", handler, {"seconds": 20.0}, grace=0.3, priority=5)
        assert record.job is not None
        until = now() + rng.choice([0.0, 5.0, 10.0])
        while now() < until and client.get(record.job).state == "queued":
            time.sleep(0.1)
        time.sleep(rng.uniform(0.0, 0.5))
        try:
            client.abort(record.job, wait=rng.choice([0.0, 5.0]))
        except Conflict as over:
            record.errors.append(f"abort: {over}")
        else:
            record.abort_acked = True

    # -- waiting

    def _wait_on(self) -> None:
        client = self._make()
        while not self._over.is_set():
            try:
                record = self._to_wait.get(timeout=0.2)
            except queue.Empty:
                continue
            assert record.job is not None
            try:
                job = client.wait(record.job, timeout=0.5)
                names = ("id", "state", "attempt", "result", "reason", "confirmed")
                record.seen = {name: getattr(job, name) for name in names}
            except TimeoutError:
                self._to_wait.put(record)
            except RotaError as error:
                self._failed(error)
                self._to_wait.put(record)
        client.close()

    def _failed(self, error: Exception) -> None:
        with self._lock:
            self.errors.append((now(), f"{type(error).__name__}: {error}"))


_KINDS: dict[str, tuple[int, Callable[[Load, Client, random.Random], None]]] = {
    "work": (30, Load._work),
    "awork": (25, Load._awork),
    "long": (3, Load._long),
    "flaky": (6, Load._flaky),
    "delayed": (5, Load._delayed),
    "tree": (4, Load._tree),
    "timeout": (2, Load._timeout),
    "array": (5, Load._array),
    "chain": (6, Load._chain),
    "bulk": (4, Load._bulk),
    "script": (5, Load._script),
    "aborted": (5, Load._abort),
}
