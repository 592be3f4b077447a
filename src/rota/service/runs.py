"""Runs: workflows that are submitted, looked at, aborted and run again as a whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from rota.core.access import LOCAL, Caller
from rota.core.errors import Conflict, NotFound
from rota.core.ids import Ids
from rota.core.jobs import Job
from rota.core.runs import ID_PREFIX, EdgeView, GraphView, NodeView, Run, RunSubmission, open_jobs
from rota.core.states import State
from rota.core.times import SECOND, rfc3339
from rota.service import graphs
from rota.service.admission import run_submissions
from rota.service.changes import end_runs, insert_run
from rota.service.copies import copy_of
from rota.service.dry_runs import DryRun
from rota.service.jobs import Jobs
from rota.service.signals import Effects, Signals, Waiter
from rota.service.stopping import stop_all
from rota.service.submissions import Submissions, digest
from rota.store.protocol import NewEvent, Store, Tx
from rota.store.run_rows import Node, RunQuery

_BATCH = 1000  # jobs in one transaction of an abort
_PAGE = 10_000
_PAUSE_S = 0.05  # between two looks at runs whose jobs end one after another
_POLL_S = 30.0  # between two looks at all runs that are open: what a server left undone when it died
_MOST_POLLED = 100


class Runs:
    """What people do with runs."""

    def __init__(self, store: Store, signals: Signals, ids: Ids, jobs: Jobs, submissions: Submissions) -> None:
        self._store = store
        self._signals = signals
        self._ids = ids
        self._jobs = jobs
        self._submissions = submissions

    async def submit(
        self, new: RunSubmission, *, key: str | None = None, caller: Caller = LOCAL, traceparent: str | None = None
    ) -> tuple[Run, dict[str, str]]:
        """Submit a run, all of its jobs or none; return it, and the ids of its jobs by their refs.

        Raises Invalid, TooLarge; with a key InFlight, KeyReused.
        """
        return await self._made(await self._jobs.submit_run(new, key=key, caller=caller, traceparent=traceparent))

    async def dry_run(self, new: RunSubmission, *, key: str | None = None, caller: Caller = LOCAL) -> DryRun:
        """Say what would become of the jobs of a run, and write nothing. Raises what submitting it would."""
        return await self._jobs.dry_run(run_submissions(new), bulk=True, key=key, caller=caller, run=new)

    async def get(self, run: str) -> Run:
        """Return a run. Raises NotFound."""
        return _existing(await self._store.read(lambda tx: tx.get_runs([run])), run)

    async def find(self, query: RunQuery) -> tuple[list[Run], str | None]:
        """Return a page of runs, newest first, and the cursor of the next page."""
        return await self._store.read(lambda tx: tx.find_runs(query))

    async def wait(self, run: str, wait_s: float) -> Run:
        """Return a run when it is over, or after `wait_s` seconds as it is then. Raises NotFound."""
        with self._signals.on("over", run) as waiter:
            return await self._at_end(run, waiter, wait_s)

    async def graph(self, run: str, after: str, limit: int) -> GraphView:
        """Return a part of a run's graph: its jobs with ids above `after`, and all that they wait for. Raises NotFound."""

        async def look(tx: Tx) -> GraphView:
            _existing(await tx.get_runs([run]), run)
            ids = await tx.jobs_of_run(run, after, limit)
            edges = await tx.edges_into(ids)
            nodes = await tx.nodes(ids)
            others = sorted({edge.after for edge in edges} - set(ids))
            nodes += [node for node in await tx.nodes(others) if node.run != run]
            return GraphView(
                nodes=[node_view(node) for node in nodes],
                edges=[EdgeView(from_=edge.after, to=edge.job, on=edge.on) for edge in edges],
                next=ids[-1] if len(ids) == limit else None,
            )

        return await self._store.read(look)

    async def abort(self, run: str, *, wait_s: float = 0.0, by: str | None = None) -> Run:
        """Stop a run: what waits is canceled, what runs is told to end. The request is durable before it reaches any job.

        Returns the run as it stands after up to `wait_s` seconds. Raises NotFound, Conflict when it was over before.
        """

        async def write(tx: Tx) -> None:
            found = _existing(await tx.lock_runs([run]), run)
            if found.finished_at is not None:
                raise Conflict(f"run {run} is over: it is {found.state}", found.state)
            await tx.stop_run(run)
            if found.abort_requested_at is None:
                await tx.append_events([NewEvent(run, found.owner, "run_abort_requested", State.RUNNING, by=by)])

        with self._signals.on("over", run) as waiter:
            await self._store.write(write)
            await stop_jobs(self._store, self._signals, run, by=by)
            return await self._at_end(run, waiter, wait_s)

    async def retry(
        self, run: str, *, key: str | None = None, caller: Caller = LOCAL, traceparent: str | None = None
    ) -> tuple[Run, dict[str, str]]:
        """Run again, as a new run, what has not succeeded in one that is over; what has succeeded stands.

        Raises NotFound, Conflict unless it is over, or when all has succeeded.
        """

        async def make(tx: Tx, _effects: Effects) -> list[Job]:
            old = _existing(await tx.lock_runs([run]), run)
            if old.finished_at is None:
                raise Conflict(f"run {run} is running; only a run that is over can be retried", old.state)
            jobs = list((await tx.whole_jobs(await tx.jobs_of_run(run, "", _PAGE))).values())
            left = [job for job in jobs if job.state is not State.SUCCEEDED]
            if not left:
                raise Conflict(f"every job of run {run} has succeeded: there is nothing to run again", old.state)
            made = await self._again(tx, left, traceparent)
            new = Run(
                id=ID_PREFIX + self._ids.new(tx.now), state=State.RUNNING, name=old.name, owner=old.owner,
                labels=old.labels, hook=old.hook, jobs=len(made), submitted_at=tx.now, retry_of=run,
            )  # fmt: skip
            await insert_run(tx, new, made, by=caller.by)
            return made

        return await self._made(await self._submissions.insert(digest(f"retry {run}".encode()), key, [make], caller))

    async def _again(self, tx: Tx, left: Sequence[Job], traceparent: str | None) -> list[Job]:
        """Return new jobs that do what these were to do, and wait for each other as they did, or for what stands."""
        copies = [await copy_of(tx, self._ids, old, traceparent, alone=False) for old in left]
        ids = {old.id: new.id for old, new in zip(left, copies, strict=True)}
        stands = {after for job in left for after in job.after} - set(ids)
        states = {
            id_: job.state for id_, job in (await tx.lock_jobs(stands)).items()
        }  # what is pruned is not waited for
        drafts = []
        for old, job in zip(left, copies, strict=True):
            job.ref, job.least = old.ref, old.least
            after = {ids.get(each, each): old.on(each) for each in old.after if each in ids or each in states}
            job.after = list(after)
            job.after_on = {each: on for each, on in after.items() if on != "succeeded"}
            graphs.rename(job, ids)
            job.referred = frozenset(graphs.references_of(job) & after.keys())
            drafts.append(graphs.Draft(job=job, after=after, ref=old.ref))
        for entry in graphs.in_order(drafts):
            graphs.place(entry.job, states, tx.now)
            await graphs.open_map(tx, entry.job)
            states[entry.job.id] = entry.job.state
        return [entry.job for entry in drafts]

    async def _made(self, jobs: Sequence[Job]) -> tuple[Run, dict[str, str]]:
        run = jobs[0].run
        assert run is not None, "they were inserted as its own"
        return await self.get(run), {job.ref or job.id: job.id for job in jobs}

    async def _at_end(self, run: str, waiter: Waiter, wait_s: float) -> Run:
        found = await self.get(run)
        if found.finished_at is None and await waiter.wait(wait_s):
            found = await self.get(run)
        return found


class RunUpkeep:
    """Notices that runs are over, and goes on with aborts that a server did not bring to their end.

    The transactions that end jobs do not touch their run's row, so none waits for another because of it: they say which
    runs to look at. Nothing is lost when nobody hears it: now and then all open runs are looked at.
    """

    def __init__(self, store: Store, signals: Signals, monotonic: Callable[[], float]) -> None:
        self._store = store
        self._signals = signals
        self._monotonic = monotonic
        self._next_at = 0.0
        self._poll_at = 0.0

    def due_at(self, now: int) -> int | None:
        """Return when there is something to do: a time of the store's clock, or None."""
        if self._signals.runs:
            return now + max(0, round((self._next_at - self._monotonic()) * SECOND))
        return now if self._monotonic() >= self._poll_at else None

    async def step(self) -> int:
        """Look at runs whose jobs have ended, and write of those that are over what they have come to."""
        polls = self._monotonic() >= self._poll_at
        named, self._signals.runs = self._signals.runs, set()
        self._next_at = self._monotonic() + _PAUSE_S

        async def look(tx: Tx) -> tuple[list[str], list[Run]]:
            old = await tx.open_runs(tx.now - round(_POLL_S * SECOND), _MOST_POLLED) if polls else []
            return old, list((await tx.get_runs({*named, *old})).values())

        try:
            old, runs = await self._store.read(look)
            over = [run.id for run in runs if run.finished_at is None and not open_jobs(run.counts)]
            if over or old:
                await self._end(over, old)
        except BaseException:
            self._signals.runs |= named
            raise
        for run in runs:
            if run.id in old and run.stopping and run.id not in over:
                await stop_jobs(self._store, self._signals, run.id, by=None)
        if polls and len(old) < _MOST_POLLED:
            self._poll_at = self._monotonic() + _POLL_S
        return len(over)

    async def _end(self, over: Sequence[str], seen: Sequence[str]) -> None:
        effects = Effects()

        async def write(tx: Tx) -> None:
            effects.begin()
            await end_runs(tx, list((await tx.lock_runs(over)).values()), effects)
            await tx.runs_seen(seen)

        await self._store.write(write)
        if over:
            self._signals.publish(effects)


async def stop_jobs(store: Store, signals: Signals, run: str, *, by: str | None) -> None:
    """Cancel or abort all jobs of a run, some at a time: those that were submitted last first, for others wait for none of
    them. No job is missed, for a run gets no new ones.
    """
    effects = Effects()
    below = "~"

    async def write(tx: Tx) -> list[str]:
        effects.begin()
        jobs = await tx.newest_of_run(run, below, _BATCH)
        await stop_all(tx, (await tx.lock_jobs(jobs)).values(), effects, by=by, why="its run is aborted")
        return jobs

    more = True
    while more:
        jobs = await store.write(write)
        signals.publish(effects)
        more = len(jobs) == _BATCH
        below = jobs[-1] if jobs else below
    await store.write(lambda tx: tx.run_stopped(run))


def _existing(runs: dict[str, Run], run: str) -> Run:
    if run not in runs:
        raise NotFound(f"there is no run {run!r}")
    return runs[run]


def node_view(node: Node) -> NodeView:
    """Render what a graph shows of a job."""
    return NodeView(
        id=node.id, ref=node.ref, run=node.run, state=node.state.value, handler=node.handler, kind=node.kind,
        attempt=node.attempt, submitted_at=rfc3339(node.submitted_at),
        started_at=None if node.started_at is None else rfc3339(node.started_at),
        finished_at=None if node.finished_at is None else rfc3339(node.finished_at), inputs=node.inputs,
    )  # fmt: skip


def narrowed(query: RunQuery, caller: Caller) -> RunQuery:
    """Return a query as one of the caller's own runs."""
    return query if caller.owner is None else replace(query, owner=caller.owner)
