"""What the attempts wrote of themselves, read back."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ran:
    """One attempt, or one input in it (`index`), as one process tree ran it. Seconds of the ledger's clock."""

    job: str
    attempt: int
    index: str
    nonce: str
    started: float
    last: float
    ended: bool


def read(folder: Path) -> dict[str, list[Ran]]:
    """Return what ran, by job, in the order in which it began."""
    by_job: defaultdict[str, list[Ran]] = defaultdict(list)
    for path in folder.iterdir():
        if path.name.startswith("flaky-"):
            continue
        job, attempt, index, nonce = path.name.split(".")
        lines = [line.split() for line in path.read_text().splitlines()]
        whole = [line for line in lines if len(line) == 3]
        if whole:  # else it was killed before it had written a word
            times = [float(line[1]) for line in whole]
            ended = any(line[0] == "end" for line in whole)
            by_job[job].append(Ran(job, int(attempt), index, nonce, times[0], max(times), ended))
    for entries in by_job.values():
        entries.sort(key=lambda ran: (ran.started, ran.attempt))
    return by_job
