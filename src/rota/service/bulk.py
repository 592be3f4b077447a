"""The same done to many jobs: those that are named, or those that a filter finds; in transactions of a bounded size.

Every job is judged by itself: one that cannot be stopped, or run again, keeps no other from it. All of it may be asked for
again: what is over is not stopped twice, and with an Idempotency-Key nothing is run again twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import tzinfo

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from rota.core.access import Caller
from rota.core.errors import Conflict, Invalid, NotFound, QuotaFull, RotaError
from rota.core.ids import Ids
from rota.core.jobs import Job
from rota.core.settling import check_over
from rota.core.states import FINAL, WAITING, Reason, State
from rota.service.access import check_kind_of, check_owner, missing
from rota.service.changes import cancel_jobs, insert_jobs
from rota.service.copies import copy_of
from rota.service.jobs import Edit, change
from rota.service.observer import Observer
from rota.service.quotas import measure, room_of
from rota.service.signals import Effects, Signals
from rota.service.stopping import stop
from rota.store.protocol import Query, Store, Tx
from rota.store.walks import MOST_SCANNED, exact_counts

MOST_IDS = 1000
MOST_JOBS = 10_000  # of a filter, that one request touches
_BATCH = 200  # jobs in a transaction: others wait for it
_MOST_PAGES = 50  # of a filter that are looked at in one request, found something or not
_MOST_TOLD = 1000  # failures

Act = Callable[[Tx, Sequence[str], Effects], Awaitable["Batch"]]


class Counted(Struct, kw_only=True):
    """How many jobs there are, in all and by state. Unless it is `exact` there are more of them than that."""

    count: int
    exact: bool
    states: dict[str, int]


class Refused(Struct, kw_only=True):
    """A job to which it was not done, and why: `error` is `not-found`, `conflict`, `forbidden` or `invalid`."""

    id: str
    error: str
    detail: str
    state: State | None = None


class Batch(Struct):
    """What one transaction did: to jobs in which states, to which not, and what new jobs it made (old id: new id)."""

    states: Counter[str] = msgspec.field(default_factory=Counter)
    refused: list[Refused] = []
    made: dict[str, str] = {}

    def refuse(self, job: str, error: RotaError) -> None:
        """Note that it was not done to a job."""
        state = State(error.state) if isinstance(error, Conflict) and error.state else None
        self.refused.append(Refused(id=job, error=_NAMES.get(type(error), "invalid"), detail=str(error), state=state))


class Answer(Struct, kw_only=True):
    """What was done, or with `dry_run` would be: to how many jobs, and in which states they were before.

    `made` are new jobs by the old one's id. Where there is a `next`, ask again with it as the `cursor` for the rest.
    """

    dry_run: bool
    done: int
    exact: bool
    states: dict[str, int]
    failed: list[Refused]
    made: dict[str, str] = {}
    next: str | None = None


class Asked(Struct, frozen=True, kw_only=True):
    """The jobs that are meant: `ids`, or what `query` finds, at most `limit` of them."""

    ids: Sequence[str] = ()
    query: Query | None = None
    limit: int = MOST_JOBS
    dry_run: bool = False


_NAMES: dict[type[RotaError], str] = {Conflict: "conflict", NotFound: "not-found", QuotaFull: "quota-full"}
_NOT_OVER = frozenset(State) - FINAL


class Bulk:
    """Each method is for one caller, to whom others' jobs do not exist."""

    def __init__(self, store: Store, signals: Signals, observer: Observer, ids: Ids, zone: tzinfo) -> None:
        self._store = store
        self._signals = signals
        self._observer = observer
        self._ids = ids
        self._zone = zone

    async def count(self, query: Query, caller: Caller) -> Counted:
        """Count jobs: by the counters where they know, else one by one, up to as many as one page reads."""
        narrowed = _narrow(query, caller)

        async def look(tx: Tx) -> Counted:
            known = exact_counts(narrowed, await tx.counts())
            if known is not None:
                return Counted(count=sum(known.values()), exact=True, states=known)
            found, more = await tx.find_ids(replace(narrowed, limit=MOST_SCANNED))
            return Counted(count=len(found), exact=more is None, states=Counter(state.value for _, state in found))

        return await self._store.read(look)

    async def abort(self, asked: Asked, caller: Caller) -> Answer:
        """Stop jobs: what waits is canceled, what runs gets the flag, and its end follows."""

        async def act(tx: Tx, jobs: Sequence[str], effects: Effects) -> Batch:
            batch, found = await _locked(tx, jobs, caller)
            waiting = []
            for job in found:
                if job.state in FINAL:
                    batch.refuse(job.id, Conflict(f"job {job.id} is over: it is {job.state}", job.state))
                    continue
                batch.states[job.state] += 1
                if job.state in WAITING:
                    waiting.append(job)
                elif not asked.dry_run:
                    await stop(tx, job, effects, by=caller.by)
            if not asked.dry_run:
                await cancel_jobs(tx, waiting, Reason.REQUESTED, effects, by=caller.by)
            return batch

        return await self._do(asked, caller, act, _NOT_OVER, _NOT_OVER)

    async def retry(
        self, asked: Asked, caller: Caller, *, key: str | None = None, traceparent: str | None = None
    ) -> Answer:
        """Run jobs that are over again, as new jobs; of a filter without states those that failed.

        With a `key`, jobs that it ran again before are not run again: the new ones are told once more.
        """

        async def act(tx: Tx, jobs: Sequence[str], effects: Effects) -> Batch:
            batch, found = await _locked(tx, jobs, caller)
            room = await room_of(tx, {job.owner for job in found})
            again: list[Job] = []
            for job in found:
                name = None if key is None else f"{caller.owner or ''}\nretry\n{key}\n{job.id}"
                kept = None if name is None else await tx.get_answer(name)
                if kept is not None:
                    batch.made[job.id] = kept[1].decode()
                    batch.states[job.state] += 1
                    continue
                try:
                    old = await tx.get_job(job.id)
                    assert old is not None, "it is locked"
                    check_kind_of(caller, old)
                    check_over(old)
                    room.take(old.owner, old.size)
                    new = await copy_of(tx, self._ids, old, traceparent, dry_run=asked.dry_run)
                except RotaError as error:
                    batch.refuse(job.id, error)
                    continue
                batch.states[job.state] += 1
                if asked.dry_run:
                    continue
                again.append(new)
                batch.made[job.id] = new.id
                if name is not None:
                    await tx.put_answer(name, "retry", new.id.encode())
            measure(again)
            await insert_jobs(tx, again, effects, by=caller.by, admitted=True)
            return batch

        return await self._do(asked, caller, act, FINAL, frozenset({State.FAILED}))

    async def move(self, asked: Asked, edit: Edit, caller: Caller) -> Answer:
        """Change priority, time or queue of jobs that have not started."""

        async def act(tx: Tx, jobs: Sequence[str], effects: Effects) -> Batch:
            batch, found = await _locked(tx, jobs, caller)
            for job in found:
                try:
                    await change(tx, job, edit, effects, by=caller.by, zone=self._zone, dry_run=asked.dry_run)
                except Conflict as error:
                    batch.refuse(job.id, error)
                else:
                    batch.states[job.state] += 1
            return batch

        return await self._do(asked, caller, act, WAITING, WAITING)

    async def _do(
        self, asked: Asked, caller: Caller, act: Act, possible: frozenset[State], usual: frozenset[State]
    ) -> Answer:
        if asked.query is None:
            ids = list(dict.fromkeys(asked.ids))
            batches = [
                await self._run(act, ids[at : at + _BATCH], dry_run=asked.dry_run) for at in range(0, len(ids), _BATCH)
            ]
            return _answer(batches, dry_run=asked.dry_run, more=None)
        states = [state for state in asked.query.states if state in possible] if asked.query.states else sorted(usual)
        if not states:
            raise Invalid("filter.state", f"names none of the states in which this can be done: {', '.join(possible)}")
        query = _narrow(replace(asked.query, states=states), caller, "filter.")
        if asked.dry_run:
            counted = await self.count(query, caller)
            return Answer(dry_run=True, done=counted.count, exact=counted.exact, states=counted.states, failed=[])
        return await self._filtered(asked, query, act)

    async def _filtered(self, asked: Asked, query: Query, act: Act) -> Answer:
        """Do it to what a filter finds, from the newest on: what comes into being meanwhile is not met."""
        batches: list[Batch] = []
        left, more = asked.limit, query.cursor
        for _ in range(_MOST_PAGES):
            page = replace(query, cursor=more, limit=min(_BATCH, left))
            found, more = await self._store.read(lambda tx, page=page: tx.find_ids(page))  # type: ignore[misc]
            if found:
                batches.append(await self._run(act, [job for job, _ in found], dry_run=False))
                left -= len(found)
            if more is None or left <= 0:
                break
        return _answer(batches, dry_run=False, more=more)

    async def _run(self, act: Act, jobs: Sequence[str], *, dry_run: bool) -> Batch:
        effects = Effects()

        async def write(tx: Tx) -> Batch:
            effects.begin()
            return await act(tx, jobs, effects)

        if dry_run:
            return await self._store.read(write)
        batch = await self._store.write(write)
        self._signals.publish(effects)
        if new := sum(effects.submitted.values()):
            self._observer.submitted(new)
        return batch


def _narrow(query: Query, caller: Caller, where: str = "") -> Query:
    check_owner(caller, query.owner, where + "owner")
    return query if caller.owner is None else replace(query, owner=caller.owner)


async def _locked(tx: Tx, jobs: Sequence[str], caller: Caller) -> tuple[Batch, list[Job]]:
    """Return those of the jobs that there are for a caller, locked, and a batch that refuses the others."""
    batch = Batch()
    found = await tx.lock_jobs(jobs)
    seen = [job for id_ in jobs if (job := found.get(id_)) is not None and caller.sees(job.owner)]
    have = {job.id for job in seen}
    for id_ in jobs:
        if id_ not in have:
            batch.refuse(id_, missing(id_))
    return batch, seen


def _answer(batches: Sequence[Batch], *, dry_run: bool, more: str | None) -> Answer:
    states: Counter[str] = Counter()
    refused: list[Refused] = []
    made: dict[str, str] = {}
    for batch in batches:
        states.update(batch.states)
        refused += batch.refused
        made |= batch.made
    return Answer(
        dry_run=dry_run, done=sum(states.values()), exact=True, states=states, failed=refused[:_MOST_TOLD], made=made, next=more
    )  # fmt: skip
