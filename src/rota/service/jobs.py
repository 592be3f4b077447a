"""What people do with jobs: submit, look, abort, run again, edit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo

from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.structs import replace

from rota.core.access import LOCAL, Caller
from rota.core.checkpoints import Kept
from rota.core.errors import Conflict, Invalid, NotFound, TooLarge
from rota.core.ids import Ids
from rota.core.jobs import Array, Attempt, Event, Job, LogChunk, Submission
from rota.core.runs import RunSubmission
from rota.core.settling import tries_of
from rota.core.states import FINAL, WAITING, State
from rota.service import admission
from rota.service.copies import copy_of
from rota.service.dry_runs import DryRun
from rota.service.explain import Explanation, explain
from rota.service.inputs import InputLine, Inputs, read_results, whole_inputs
from rota.service.signals import Effects, Signals, Waiter
from rota.service.stopping import stop
from rota.service.submissions import Submissions, What, digest
from rota.store.protocol import DeliveryRow, NewEvent, Query, Store, Tx


class Edit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be changed of a job that has not started; what is unset stays."""

    priority: int | UnsetType = UNSET
    run_at: str | UnsetType = UNSET
    delay: str | float | UnsetType = UNSET
    queue: str | UnsetType = UNSET


class Jobs:
    """Every method is one transaction; `key` is an Idempotency-Key, kept for 24 hours."""

    def __init__(self, store: Store, signals: Signals, ids: Ids, submissions: Submissions, zone: tzinfo) -> None:
        self._store = store
        self._signals = signals
        self._ids = ids
        self._submissions = submissions
        self._zone = zone
        self._inputs = Inputs()

    async def submit(
        self,
        submission: Submission,
        *,
        key: str | None = None,
        api: str | None = None,
        caller: Caller = LOCAL,
        traceparent: str | None = None,
    ) -> Job:
        """Submit a job, through which of the four APIs if any.

        Raises Invalid, TooLarge, KeyTaken; with a key InFlight, KeyReused.
        `traceparent` names the span that submits it, unless the submission does.
        """
        jobs = await self._submissions.submit([submission], key, "one", api=api, caller=caller, traceparent=traceparent)
        return jobs[0]

    async def submit_many(
        self,
        submissions: Sequence[Submission],
        *,
        key: str | None = None,
        caller: Caller = LOCAL,
        traceparent: str | None = None,
    ) -> list[Job]:
        """Submit up to 10,000 jobs, all or none; they may name each other by `ref` in `after`. Answers in their order."""
        if len(submissions) > admission.MAX_BULK:
            raise TooLarge("bulk", admission.MAX_BULK, f"a bulk has at most {admission.MAX_BULK} jobs")
        return await self._submissions.submit(submissions, key, "bulk", caller=caller, traceparent=traceparent)

    async def submit_run(
        self, new: RunSubmission, *, key: str | None = None, caller: Caller = LOCAL, traceparent: str | None = None
    ) -> list[Job]:
        """Submit the jobs of a run, all or none, and the run with them. Raises as `submit_many` does."""
        submissions = admission.run_submissions(new)
        return await self._submissions.submit(submissions, key, "run", caller=caller, traceparent=traceparent, run=new)

    async def dry_run(
        self,
        submissions: Sequence[Submission],
        *,
        bulk: bool,
        key: str | None = None,
        caller: Caller = LOCAL,
        run: RunSubmission | None = None,
    ) -> DryRun:
        """Say what would become of submissions, and write nothing. Raises what submitting them would."""
        what: What = "run" if run is not None else "bulk" if bulk else "one"
        return await self._submissions.rehearse(submissions, what, key, caller, run)

    async def get(self, job: str) -> Job:
        """Return a job, with what there is to know of its checkpoint. Raises NotFound."""

        async def look(tx: Tx) -> Job:
            found = _existing(await tx.get_job(job), job)
            if found.attempt and found.array is None:
                found.checkpoint = await tx.about_checkpoint(job)
            return found

        return await self._store.read(look)

    async def checkpoint(self, job: str) -> Kept:
        """Return what an attempt has left for the next one. Raises NotFound, also when none has."""

        async def look(tx: Tx) -> Kept:
            if (kept := (await tx.checkpoints_of([job])).get(job)) is None:
                _existing((await tx.lock_jobs([job])).get(job), job)
                raise NotFound(f"job {job} has no checkpoint")
            return kept

        return await self._store.read(look)

    async def owner_of(self, job: str) -> str:
        """Return whose job it is. Raises NotFound."""
        found = await self._store.read(lambda tx: tx.lock_jobs([job]))
        return _existing(found.get(job), job).owner

    async def explain(self, job: str, caller: Caller = LOCAL) -> Explanation:
        """Say why a job does not run, or where it stands; of jobs that `caller` does not see nothing is said."""

        async def look(tx: Tx) -> Explanation:
            return await explain(tx, _existing(await tx.get_job(job), job), caller)

        return await self._store.read(look)

    async def wait(self, job: str, wait_s: float) -> Job:
        """Return a job when it is over, or after `wait_s` seconds as it is then."""
        with self._signals.on("over", job) as waiter:
            return await self._at_end(job, waiter, wait_s)

    async def find(self, query: Query) -> tuple[list[Job], str | None]:
        """Return a page of jobs, newest first, and the cursor of the next page."""
        return await self._store.read(lambda tx: tx.find_jobs(query))

    async def find_each(self, queries: Sequence[Query]) -> list[tuple[list[Job], str | None]]:
        """Return a page for each query, all of one moment: no job is in two of them, or in none, because it moved."""

        async def look(tx: Tx) -> list[tuple[list[Job], str | None]]:
            return [await tx.find_jobs(query) for query in queries]

        return await self._store.read(look)

    async def attempts(self, job: str) -> list[Attempt]:
        """Return a job's tries, of an array its shards; those that run have no end and no outcome."""

        async def look(tx: Tx) -> list[Attempt]:
            found = _existing(await tx.get_job(job), job)
            tries = tries_of(found, await tx.attempts_of(job))
            tries += [shard.as_attempt() for shard in await tx.shards_of(job)]
            return sorted(tries, key=lambda attempt: attempt.attempt)

        return await self._store.read(look)

    async def events(self, job: str, *, after: int = 0, limit: int = 1000) -> list[Event]:
        """Return a job's history."""

        async def look(tx: Tx) -> list[Event]:
            events = await tx.events_of(job, after, limit)
            if not events:
                _existing(await tx.get_job(job), job)
            return events

        return await self._store.read(look)

    async def logs(
        self, job: str, *, attempt: int | None = None, after: tuple[int, int] | None = None, limit: int = 1000
    ) -> list[LogChunk]:
        """Return output in order of (attempt, n), from after that pair on."""

        async def look(tx: Tx) -> list[LogChunk]:
            chunks = await tx.logs_of(job, attempt, after or (0, -1), limit)
            if not chunks:
                _existing(await tx.get_job(job), job)
            return chunks

        return await self._store.read(look)

    async def results(self, job: str, *, after: int = -1, limit: int = 1000, bad: bool = False) -> list[InputLine]:
        """Return what became of an array's inputs, in their order, from after the input `after` on.

        `bad`: only those that are no success. Raises NotFound, also for a job that is no array.
        """

        async def look(tx: Tx) -> list[InputLine]:
            array = await _array(tx, job)
            return await read_results(tx, self._inputs, job, array, after=after, limit=limit, bad=bad)

        return await self._store.read(look)

    async def deliveries(self, job: str) -> list[DeliveryRow]:
        """Return the calls of a job's hook, with every try."""

        async def look(tx: Tx) -> list[DeliveryRow]:
            _existing(await tx.get_job(job), job)
            return await tx.deliveries_of(job)

        return await self._store.read(look)

    async def resend(self, job: str, delivery: str) -> list[DeliveryRow]:
        """Make a call of a job's hook again, with all its tries, and return its calls. Raises NotFound."""
        effects = Effects()

        async def write(tx: Tx) -> list[DeliveryRow]:
            effects.begin()
            if not await tx.resend_delivery(job, delivery):
                raise NotFound(f"job {job} has no call {delivery!r} of a hook")
            effects.wake(tx.now)
            return await tx.deliveries_of(job)

        rows = await self._store.write(write)
        self._signals.hint(effects)
        return rows

    async def inputs(self, job: str) -> Raw:
        """Return an array's inputs as a JSON list. Raises NotFound, also for a job that is no array."""

        async def look(tx: Tx) -> Raw:
            return await whole_inputs(tx, await _array(tx, job))

        return await self._store.read(look)

    async def abort(self, job: str, *, wait_s: float = 0.0, by: str | None = None, only_waiting: bool = False) -> Job:
        """Stop a job: one that waits is canceled; a running one gets the flag, its worker is told, and the end follows.

        Returns the job as it stands after up to `wait_s` seconds. Raises Conflict when it was over before; with
        `only_waiting` also when it is running, and nothing is changed then.
        """
        effects = Effects()

        async def write(tx: Tx) -> None:
            effects.begin()
            found = _existing((await tx.lock_jobs([job])).get(job), job)
            if found.state in FINAL:
                raise Conflict(f"job {job} is over: it is {found.state}", found.state)
            if only_waiting and found.state is State.RUNNING:
                raise Conflict(f"job {job} is running", found.state)
            await stop(tx, found, effects, by=by)

        with self._signals.on("over", job) as waiter:
            await self._store.write(write)
            self._signals.publish(effects)
            return await self._at_end(job, waiter, wait_s)

    async def retry(
        self, job: str, *, key: str | None = None, caller: Caller = LOCAL, traceparent: str | None = None
    ) -> Job:
        """Run a job that is over again, as a new job that points to the old one. Raises Conflict unless it is over."""

        async def make(tx: Tx, _effects: Effects) -> list[Job]:
            await tx.lock_jobs([job])  # so that it is not pruned meanwhile
            old = _existing(await tx.get_job(job), job)
            return [await copy_of(tx, self._ids, old, traceparent)]

        return (await self._submissions.insert(digest(f"retry {job}".encode()), key, [make], caller))[0]

    async def edit(self, job: str, edit: Edit, *, by: str | None = None) -> Job:
        """Change priority, time or queue of a job that has not started. Raises Conflict when it has."""
        effects = Effects()

        async def write(tx: Tx) -> None:
            effects.begin()
            found = _existing((await tx.lock_jobs([job])).get(job), job)
            await change(tx, found, edit, effects, by=by, zone=self._zone)

        await self._store.write(write)
        self._signals.publish(effects)
        return await self.get(job)

    async def _at_end(self, job: str, waiter: Waiter, wait_s: float) -> Job:
        found = await self.get(job)
        if found.state not in FINAL and await waiter.wait(wait_s):
            found = await self.get(job)
        return found


async def change(
    tx: Tx, job: Job, edit: Edit, effects: Effects, *, by: str | None, zone: tzinfo, dry_run: bool = False
) -> None:
    """Change a job (from `lock_jobs`) that has not started. Raises Conflict when it has, Invalid."""
    if job.state not in WAITING:
        raise Conflict(f"job {job.id} has started: it is {job.state}", job.state)
    priority = job.priority if edit.priority is UNSET else edit.priority
    if not -admission.MAX_PRIORITY <= priority <= admission.MAX_PRIORITY:
        raise Invalid("priority", f"is between -{admission.MAX_PRIORITY} and {admission.MAX_PRIORITY}")
    if priority > job.priority:
        await admission.check_priorities(tx, [replace(job, priority=priority)])
    queue = job.queue if edit.queue is UNSET else edit.queue
    admission.check_name("queue", queue, "")
    at, delay = None if edit.run_at is UNSET else edit.run_at, None if edit.delay is UNSET else edit.delay
    run_at = job.run_at
    if at is not None or delay is not None:
        run_at = admission.run_at(at, delay, "", tx.now, zone)
    state = job.state
    if state is not State.BLOCKED:
        state = State.SCHEDULED if run_at > tx.now else State.QUEUED
    if dry_run:
        return
    await tx.edit_job(job, priority=priority, run_at=run_at, queue=queue, state=state.value)
    if job.limit_key is not None:  # what was ready in its place may be another one now
        effects.keys.add(job.limit_key)
    await tx.append_events([NewEvent(job.id, job.owner, "edited", state, job.attempt, by)])
    if state is State.QUEUED:
        effects.ready[queue, job.lane] += 1
    elif state is State.SCHEDULED:
        effects.wake(run_at)


def _existing(job: Job | None, id_: str) -> Job:
    if job is None:
        raise NotFound(f"there is no job {id_!r}")
    return job


async def _array(tx: Tx, job: str) -> Array:
    """Return how far an array is. Raises NotFound, also for a job that is none."""
    array = await tx.get_array(job)
    if array is None:
        _existing(await tx.get_job(job), job)
        raise NotFound(f"job {job} has no inputs, and so no results; its own is in /v1/jobs/{job}")
    return array
