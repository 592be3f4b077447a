"""One run: the cluster, the load, lanes of faults side by side, and then the reckoning."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from rota.client.client import Client
from rota.core.errors import RotaError
from tests.chaos.app import now
from tests.chaos.check import Findings, check, check_calm
from tests.chaos.cluster import Cluster
from tests.chaos.faults import Fault, strike
from tests.chaos.load import Load, Record

RECOVERY_S = 60.0
_ALL_OVER_S = 240.0


@dataclass
class Struck:
    """A fault that happened, and how long after it was mended a fresh job was seen to succeed. The ledger's clock."""

    fault: Fault
    from_s: float
    to_s: float = 0.0
    recovered_s: float | None = None


@dataclass
class Run:
    """What is known of a run."""

    seed: int
    lease_s: float
    began_at: float = field(default_factory=now)
    took_s: float = 0.0
    faults: list[Struck] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings)


class Chaos:
    """A cluster under load, and what happens to it. `say` tells how it goes; `logs` is the folder for theirs."""

    def __init__(
        self, seed: int, folder: Path, *, lease_s: float, per_s: float, say: Callable[[str], None], logs: Path
    ) -> None:
        self.result = Run(seed, lease_s)
        self._say = say
        self._logs = logs
        self._stop = threading.Event()
        self._cluster = Cluster(folder, lease_s=lease_s)
        self._load = Load(self._cluster.urls, self._cluster.token, str(self._cluster.ledger), seed=seed, per_s=per_s)

    def run(self, calm: Sequence[Fault], lanes: Sequence[Sequence[Fault]], seconds: float) -> Run:
        """Lead the cluster through what is done on purpose, which no client may notice, and then through the faults of all
        lanes at once, which begin within so many seconds; judge what is left, and leave nothing running.
        """
        wrong = self.result.violations
        try:
            self._cluster.start()
            self._told("the cluster is up")
            self._load.start()
            self._strike_all([calm], math.inf)
            wrong += [f"a client was shown: {error}" for _, error in self._load.errors]
            if not self._cluster.noted()["lease_over"]:  # else all stood still for longer than a lease has
                wrong += check_calm(self._url)
            self._told("what is done on purpose is over")
            self._strike_all(lanes, seconds)
            self._told("the faults are over")
            self._load.stop_submitting()
            wrong += [self._explained(late) for late in self._load.wait_for_all(_ALL_OVER_S)]
            self._told("the load is over")
            self.result.findings = check(self._load, self._url, self._cluster.ledger, self._frozen())
            wrong += self.result.findings.violations
            wrong += self._cluster.stop()
            wrong += [f"still runs: {process}" for process in self._cluster.left_over()]
            wrong += self._cluster.complaints()
            self.result.findings.counts["logged"] = dict(self._cluster.noted())
        finally:
            self._stop.set()
            self._cluster.save_logs(self._logs)
            self._cluster.end()
            self.result.took_s = now() - self.result.began_at
        return self.result

    @property
    def _url(self) -> str:
        return self._cluster.database.url("rota")

    def _told(self, what: str) -> None:
        jobs = f"{self._load.acked()} jobs acknowledged, {self._load.done()} seen to end"
        self._say(f"{now() - self.result.began_at:6.1f} s  {what}; {jobs}, {len(self._load.errors)} errors")

    def _frozen(self) -> list[tuple[float, float]]:
        return [(s.from_s, s.to_s) for s in self.result.faults if s.fault.more == "with all it runs"]

    def _explained(self, record: Record) -> str:
        assert record.job is not None
        try:
            client = Client(self._cluster.urls, self._cluster.token, timeout=10.0)
            why = client.explain(record.job).summary
        except RotaError as error:
            why = str(error)
        return f"job {record.job} ({record.kind}) was not seen to end: {why}"

    # -- faults

    def _strike_all(self, lanes: Sequence[Sequence[Fault]], seconds: float) -> None:
        until = now() + seconds
        threads = [threading.Thread(target=self._strike_lane, args=(lane, until), daemon=True) for lane in lanes]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():  # a join without an end would not hear Ctrl-C
                thread.join(0.5)

    def _strike_lane(self, lane: Sequence[Fault], until: float) -> None:
        for fault in lane:
            if self._stop.wait(fault.after_s) or now() > until:
                return
            try:
                with ExitStack() as held:
                    for lock in self._cluster.locks_of(fault.target):
                        held.enter_context(lock)
                    struck = self._strike(fault)
                struck.recovered_s = self._recovered()
            except Exception as error:
                self.result.violations.append(f"{fault}: {type(error).__name__}: {error}")
                continue
            self._told(f"{fault}, {struck.to_s - struck.from_s:.1f} s; going again {_seconds(struck.recovered_s)}")
            if struck.recovered_s is None:
                self.result.violations.append(f"{fault}: no fresh job succeeded within {RECOVERY_S:g} s of its end")

    def _strike(self, fault: Fault) -> Struck:
        struck = Struck(fault, now())
        self.result.faults.append(struck)
        mend = strike(self._cluster, fault)
        try:
            self._stop.wait(fault.hold_s)
        finally:
            mend()
            struck.to_s = now()
        return struck

    def _recovered(self) -> float | None:
        """Submit until a job succeeds, and return how long that took; the other lane may be in the way."""
        began = time.monotonic()
        client = Client(self._cluster.urls, self._cluster.token, timeout=5.0, tries=1)
        while (passed := time.monotonic() - began) < RECOVERY_S and not self._stop.is_set():
            try:
                if client.submit("awork", {"seconds": 0.0}, priority=9).wait(5.0).state == "succeeded":
                    return time.monotonic() - began
            except (RotaError, TimeoutError):
                time.sleep(min(0.1, RECOVERY_S - passed))
        return None


def _seconds(passed: float | None) -> str:
    return "never" if passed is None else f"{passed:.1f} s later"
