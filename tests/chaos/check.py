"""The reckoning: what clients were told, what the store says, and what really ran must tell one story."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from tests.chaos import ledger
from tests.chaos.app import now
from tests.chaos.ledger import Ran
from tests.chaos.load import Load, Record

FINAL = {"succeeded", "failed", "aborted", "canceled"}
_SLACK_S = 0.25  # between the two clocks, and of what is read from them
# A plain success has no row of its own: it stands in its job's.
_TRIES = """SELECT job, attempt, worker, started_at, finished_at, outcome FROM rota_attempts
  UNION ALL SELECT id, attempt, worker, started_at, finished_at, 'succeeded' FROM rota_jobs j
  WHERE state = 'succeeded' AND worker IS NOT NULL AND inputs IS NULL
  AND NOT EXISTS (SELECT 1 FROM rota_attempts a WHERE a.job = j.id AND a.attempt = j.attempt)
  ORDER BY job, attempt"""
_LABELS = "SELECT value::int AS n, job FROM rota_labels WHERE name = 'n'"
_DIFFERENT_COUNTS = """
SELECT * FROM (SELECT queue, lane, state, sum(n)::bigint AS n FROM rota_counts GROUP BY 1, 2, 3) counted
FULL JOIN (SELECT queue, lane, state, count(*) AS really FROM rota_jobs GROUP BY 1, 2, 3) rows USING (queue, lane, state)
WHERE coalesce(n, 0) <> coalesce(really, 0)
"""
Row = dict[str, Any]


@dataclass
class Story:
    """All that is known: the store's tables by job, the ledger by job. `offset` turns the store's time into the ledger's."""

    jobs: dict[str, Row]
    attempts: dict[str, list[Row]]
    events: dict[str, list[Row]]
    results: dict[str, list[Row]]
    arrays: dict[str, Row]
    labels: dict[int, list[str]]
    counts: list[Row]
    shards: int
    deadlocks: int
    offset: float
    ran: dict[str, list[Ran]]

    def at(self, stored: int) -> float:
        return stored / 1e6 - self.offset


@dataclass
class Findings:
    """What is wrong, and what there was of everything."""

    violations: list[str] = field(default_factory=list)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)


def check(load: Load, url: str, folder: Path, frozen: list[tuple[float, float]]) -> Findings:
    """Judge a run that has come to rest. While `frozen`, attempts stood still with all that watches them."""
    story = asyncio.run(_read(url, folder))
    return Findings(judge(story, load.records, frozen), _count(story, load))


def judge(story: Story, records: list[Record], frozen: list[tuple[float, float]]) -> list[str]:
    """Return what does not fit together."""
    parts = [
        _submissions(story, records),
        _answers(story, records),
        _tries(story),
        _what_ran(story, frozen),
        _successes(story),
        _arrays(story),
        _dependents(story, records),
        _histories(story),
        _totals(story),
    ]
    return [what for part in parts for what in part]


def check_calm(url: str) -> list[str]:
    """Say what was lost while nothing went wrong: stops that drain lose no attempt."""
    lost = asyncio.run(_fetch(url, "SELECT * FROM rota_attempts WHERE outcome = 'lost'"))
    return [f"job {row['job']} was lost by {row['worker']}, though all was stopped gracefully" for row in lost]


async def _fetch(url: str, statement: str) -> list[Row]:
    con = await asyncpg.connect(url)
    try:
        return [dict(row) for row in await con.fetch(statement)]
    finally:
        await con.close()


async def _read(url: str, folder: Path) -> Story:
    con = await asyncpg.connect(url)
    try:
        before = now()
        clock = await con.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
        offset = clock - (before + now()) / 2

        async def rows(statement: str) -> list[Row]:
            return [dict(row) for row in await con.fetch(statement)]

        labels: defaultdict[int, list[str]] = defaultdict(list)
        for row in await rows(_LABELS):
            labels[row["n"]].append(row["job"])
        return Story(
            jobs={row["id"]: row for row in await rows("SELECT * FROM rota_jobs")},
            attempts=_by_job(await rows(_TRIES)),
            events=_by_job(_each(await rows("SELECT * FROM rota_events ORDER BY seq"))),
            results=_by_job(await rows("SELECT * FROM rota_results ORDER BY job, n")),
            arrays={row["job"]: row for row in await rows("SELECT * FROM rota_arrays")},
            labels=labels,
            counts=await rows(_DIFFERENT_COUNTS),
            shards=await con.fetchval("SELECT count(*) FROM rota_shards"),
            deadlocks=await con.fetchval("SELECT sum(deadlocks)::bigint FROM pg_stat_database"),
            offset=offset,
            ran=ledger.read(folder),
        )
    finally:
        await con.close()


def _each(events: list[Row]) -> list[Row]:
    """Return the rows of events with one for each job of those that several share."""
    return [
        event | {"job": job}
        for event in events
        for job in [*filter(None, (event["others"] or "").split(",")), event["job"]]
    ]


def _by_job(rows: list[Row]) -> dict[str, list[Row]]:
    found: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["job"]].append(row)
    return found


# -- each part yields what is wrong


def _submissions(story: Story, records: list[Record]) -> Iterator[str]:
    """Every acknowledged job is there, once, and in a final state; what was not acknowledged is there at most once."""
    for record in records:
        jobs = story.labels.get(record.n, [])
        if len(jobs) > 1:
            yield f"submission {record.n} ({record.kind}) became {len(jobs)} jobs: {jobs}"
        if record.job is None:
            continue
        if record.job not in story.jobs:
            yield f"{_name(record)} was acknowledged and is not there"
        elif story.jobs[record.job]["state"] not in FINAL:
            yield f"{_name(record)} is {story.jobs[record.job]['state']}, not over"
    for job in story.jobs.values():
        if job["state"] not in FINAL:
            yield f"job {job['id']} is {job['state']}, not over"


def _answers(story: Story, records: list[Record]) -> Iterator[str]:
    """What a client was told of an end stays true, and an abort that was accepted is one."""
    for record in records:
        job = story.jobs.get(record.job or "")
        if job is None:
            continue
        if record.abort_acked and job["state"] not in ("aborted", "canceled"):
            yield f"{_name(record)}: its abort was accepted, and it {job['state']}"
        if record.seen is None:
            continue
        result = None if job["result"] is None else json.loads(job["result"])
        stored = (job["state"], job["attempt"], job["reason"], job["confirmed"], result)
        told = tuple(record.seen[name] for name in ("state", "attempt", "reason", "confirmed", "result"))
        if stored != told:
            yield f"{_name(record)} was shown as {told}, and is {stored}"


def _tries(story: Story) -> Iterator[str]:
    """Every attempt is on record with how it ended, and nothing follows a success."""
    for job in story.jobs.values():
        if job["id"] in story.arrays:
            continue
        tries = story.attempts.get(job["id"], [])
        if [t["attempt"] for t in tries] != list(range(1, job["attempt"] + 1)):
            yield f"job {job['id']} has had {job['attempt']} attempts, and on record are {[t['attempt'] for t in tries]}"
        for early in tries[:-1]:
            if early["outcome"] in ("succeeded", "aborted"):
                yield f"job {job['id']} ran again after attempt {early['attempt']} {early['outcome']}"
        if job["state"] == "succeeded" and (not tries or tries[-1]["outcome"] != "succeeded"):
            yield f"job {job['id']} succeeded, and its last attempt has not: {tries[-1:]}"


def _what_ran(story: Story, frozen: list[tuple[float, float]]) -> Iterator[str]:
    """What ran was an attempt that the store knows of, each once, one after another, and none beyond its recorded end."""
    for job, entries in story.ran.items():
        tries = {t["attempt"]: t for t in story.attempts.get(job, [])}
        ends = {attempt: story.at(t["finished_at"]) for attempt, t in tries.items()}
        once = Counter((ran.attempt, ran.index) for ran in entries)
        yield from (f"job {job}: attempt {key} ran {n} times" for key, n in once.items() if n > 1)
        before: dict[str, Ran] = {}
        for ran in entries:
            last = _last_watched(ran, frozen)
            if ran.attempt not in ends:
                yield f"job {job}: attempt {ran.attempt} ran and is not on record"
            elif last > ends[ran.attempt] + _SLACK_S:
                late, how = last - ends[ran.attempt], tries[ran.attempt]
                said = f"{how['outcome']} on {how['worker']} at {ends[ran.attempt]:.1f} s"
                yield f"job {job}: attempt {ran.attempt}, {said}, ran on for {late:.2f} s"
            if (former := before.get(ran.index)) and _last_watched(former, frozen) > ran.started + _SLACK_S:
                yield f"job {job}: attempts {former.attempt} and {ran.attempt} ran side by side"
            before[ran.index] = ran


def _last_watched(ran: Ran, frozen: list[tuple[float, float]]) -> float:
    """Return its last sign of life, but for the moments in which what stood still came to, to be ended."""
    for from_s, to_s in frozen:
        if ran.started < to_s and from_s < ran.last and to_s - 0.1 <= ran.last <= to_s + 3.0:
            return from_s
    return ran.last


def _successes(story: Story) -> Iterator[str]:
    """A success is that of its last attempt, which has really come to its end: no other's report was believed."""
    for job in story.jobs.values():
        if job["state"] != "succeeded" or job["id"] in story.arrays:
            continue
        entries = [ran for ran in story.ran.get(job["id"], []) if ran.attempt == job["attempt"]]
        result = json.loads(job["result"]) if job["result"] else None
        if job["kind"] == "handler":
            entries = [ran for ran in entries if result == [ran.attempt, ran.nonce]]
        if not any(ran.ended for ran in entries):
            yield f"job {job['id']} succeeded in attempt {job['attempt']} with {result}, which never came to its end"


def _arrays(story: Story) -> Iterator[str]:
    """Every input of an array that succeeded has one result, of a run that came to its end; nothing of it is leased."""
    if story.shards:
        yield f"{story.shards} shards are leased though all is over"
    for name, array in story.arrays.items():
        job = story.jobs[name]
        if job["state"] != "succeeded":
            continue
        results = story.results.get(name, [])
        if [row["n"] for row in results] != list(range(array["inputs"])) or array["done"] != array["inputs"]:
            yield f"array {name} succeeded with {len(results)} results of {array['inputs']}"
        for row in results:
            result = json.loads(row["body"])["result"]
            ended = {(ran.attempt, ran.nonce) for ran in story.ran[name] if ran.index == str(row["n"]) and ran.ended}
            if tuple(result) not in ended:
                yield f"array {name}: input {row['n']} has the result {result}, of nothing that came to its end"


def _dependents(story: Story, records: list[Record]) -> Iterator[str]:
    """A dependent starts after its parent has succeeded, or never."""
    by_n = {record.n: record for record in records}
    for record in records:
        if record.kind != "dependent" or record.job not in story.jobs:
            continue
        parent = by_n[record.parent or 0].job or ""
        if parent not in story.jobs:
            continue  # said already
        starts = [ran.started for ran in story.ran.get(record.job or "", [])]
        ends = [ran.last for ran in story.ran.get(parent, [])]
        succeeded = story.jobs[parent]["state"] == "succeeded"
        if starts and not succeeded:
            yield f"{_name(record)} ran though {parent} has not succeeded"
        elif starts and min(starts) < max(ends):
            yield f"{_name(record)} started before {parent} had ended"


def _histories(story: Story) -> Iterator[str]:
    """Each job has one beginning and one end, which is what its row says, and an event for each attempt."""
    for job in story.jobs.values():
        events = story.events.get(job["id"], [])
        kinds = [event["kind"] for event in events]
        ends = [event["state"] for event in events if event["state"] in FINAL]
        if kinds[:1] != ["submitted"] or kinds.count("submitted") != 1 or ends != [job["state"]]:
            yield f"job {job['id']} is {job['state']}, and its events are {kinds}"
        elif job["id"] not in story.arrays and kinds.count("started") != job["attempt"]:
            yield f"job {job['id']} has had {job['attempt']} attempts, and its events are {kinds}"


def _totals(story: Story) -> Iterator[str]:
    """Counters say what the rows say; PostgreSQL had to break no tie."""
    for row in story.counts:
        yield f"counter {row['queue']}/{row['lane']}/{row['state']} is {row['n']}, and there are {row['really']}"
    if story.deadlocks:
        yield f"{story.deadlocks} deadlocks"


def _name(record: Record) -> str:
    return f"job {record.job} ({record.kind}, submission {record.n})"


def _count(story: Story, load: Load) -> dict[str, dict[str, int]]:
    outcomes = Counter(t["outcome"] for tries in story.attempts.values() for t in tries)
    return {
        "submissions": {
            "asked": len(load.records),
            "acknowledged": load.acked(),
            "errors shown to clients": len(load.errors),
        },
        "jobs": dict(Counter(job["state"] for job in story.jobs.values())),
        "failed because": dict(Counter(job["reason"] for job in story.jobs.values() if job["state"] == "failed")),
        "aborted": dict(Counter("confirmed" if j["confirmed"] else "not confirmed" for j in story.jobs.values()
                                if j["state"] == "aborted")),
        "attempts": dict(outcomes),
        "ledger": {
            "attempts and inputs that began": sum(map(len, story.ran.values())),
            "that came to their end": sum(ran.ended for entries in story.ran.values() for ran in entries),
        },
        "events": {"in all": sum(map(len, story.events.values()))},
    }  # fmt: skip
