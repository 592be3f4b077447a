"""What the service asks of a store. One conformance suite (tests/conformance/store) runs against every store.

A *transaction function* is an `async def` that takes a `Tx` and does all that must happen together. The store runs it,
commits (perhaps together with others: group commit), and only then returns its value; when it raises, nothing of it is
kept. It may run again, after a lost connection or when it lost against another transaction, so it has no effects but
those on its `Tx`, and on `Effects` that it begins anew. On SQLite none of the awaits below ever suspends: the store's one
writer thread drives the function to its end, with no event loop. Elsewhere others write at the same time: what decides
must be locked before it is read (a worker first, then jobs), or compared in the update.

Methods that change a job's state keep the counters, and whose turn it is; the caller appends the events, in the same function.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Generic, Literal, Protocol, TypeVar

from rota.core.arrays import Range, Shard
from rota.core.forecasts import Pace
from rota.core.jobs import Array, Attempt, Event, HandlerSpec, InputResult, Job, Lease, LogChunk, Progress, WorkerHello
from rota.core.settling import Settlement
from rota.store.handler_protocol import HandlerTx
from rota.store.input_protocol import InputTx
from rota.store.key_protocol import KeyTx
from rota.store.limit_protocol import LimitTx
from rota.store.overview_protocol import OverviewTx
from rota.store.quota_protocol import QuotaTx
from rota.store.rows import (
    AuditRow,
    Claimed,
    CountRow,
    DeliveryRow,
    Dependency,
    NewAudit,
    NewEvent,
    Overdue,
    Query,
    RunningRow,
    SeriesRow,
    Take,
    TokenRow,
    Tried,
    Wakeups,
    WorkerRow,
)
from rota.store.run_protocol import RunTx
from rota.store.schedule_protocol import ScheduleTx
from rota.store.turn_protocol import TurnTx
from rota.store.unique_protocol import UniqueTx

T = TypeVar("T")
Which = Literal["all", "good", "bad"]


class Begins(Generic[T]):
    """A transaction function that says what it asks for first: to lock `workers`, or `jobs`; or for the `answer` of a key, and
    for the quotas of `owners`.

    A store to which each question is a journey asks that together with what begins a transaction.
    """

    __slots__ = ("_function", "answer", "jobs", "owners", "workers")

    def __init__(
        self,
        function: Callable[[Tx], Awaitable[T]],
        *,
        workers: Iterable[str] = (),
        jobs: Iterable[str] = (),
        answer: str | None = None,
        owners: Iterable[str] = (),
    ) -> None:
        self._function = function
        self.workers = sorted(set(workers))
        self.jobs = sorted(set(jobs))
        self.answer = answer
        self.owners = sorted(set(owners))

    def __call__(self, tx: Tx) -> Awaitable[T]:
        """Begin the function."""
        return self._function(tx)


class Tx(LimitTx, KeyTx, QuotaTx, ScheduleTx, RunTx, TurnTx, OverviewTx, UniqueTx, HandlerTx, InputTx, Protocol):
    """One transaction. `now` is the store's clock, the same through the whole transaction (microseconds)."""

    now: int
    has_limits: bool  # as `turns` has seen it
    has_keys: bool  # whether some of them are of keys

    # -- jobs -----------------------------------------------------------------------------------------------------
    async def insert_jobs(self, jobs: Sequence[Job]) -> None:
        """Write new jobs with their labels and dependencies."""
        ...

    async def get_job(self, job: str) -> Job | None:
        """Return a whole job."""
        ...

    async def lock_jobs(self, jobs: Iterable[str]) -> dict[str, Job]:
        """Return what decides (all but payloads) of the jobs that exist, locked until the end of the transaction."""
        ...

    async def find_jobs(self, query: Query) -> tuple[list[Job], str | None]:
        """Return a page of jobs, newest first, and the id after which the next page begins.

        Reads a bounded number of rows: with several filters a page may be short, or empty, and yet have a next one.
        """
        ...

    async def claim_jobs(self, worker: str, takes: Sequence[Take]) -> list[list[Claimed]]:
        """queued -> running, `attempt` + 1: of each row of turns its first jobs. Of each take those that it got.

        What somebody else holds is passed over: where others claim too these may be other jobs than were seen, or fewer.
        What a job left open (timeout, retries) is taken from the handler. See `Take` for what keys with limits change.
        """
        ...

    async def settle_jobs(self, settled: Sequence[tuple[Job, Settlement]]) -> None:
        """running -> as settled, compared with (id, attempt, running). The jobs come from `lock_jobs`."""
        ...

    async def settle_known(self, worker: str, settled: Sequence[tuple[Job, Settlement]]) -> set[str]:
        """running -> succeeded, and return the ids of those that were written; the jobs, sorted by id, need not be locked.

        Left alone is what is not in that attempt on this worker, and that whose abort was asked for. Nothing may be locked yet.
        """
        ...

    async def move_jobs(self, moved: Sequence[tuple[Job, Settlement]]) -> None:
        """blocked | scheduled | queued -> as settled. The jobs come from `lock_jobs`."""
        ...

    async def request_aborts(self, jobs: Sequence[Job]) -> None:
        """Set the abort flag of running jobs to `now`; one that is set stays as it is."""
        ...

    async def edit_job(self, job: Job, *, priority: int, run_at: int, queue: str, state: str) -> None:
        """Change a waiting job that comes from `lock_jobs`."""
        ...

    async def due_jobs(self, limit: int) -> list[str]:
        """Return scheduled jobs whose time has come, the longest due first.

        In a transaction that writes they are held, and those that somebody else holds are left out.
        """
        ...

    async def overdue_jobs(self, deadline: int, limit: int) -> list[Overdue]:
        """Return running jobs whose deadline is not after `deadline`, the longest overdue first."""
        ...

    async def over_before(self, at: int, limit: int) -> list[tuple[str, str, str, str]]:
        """Return (id, queue, lane, state as it is counted) of jobs over before `at`, the oldest first; held as due ones are."""
        ...

    async def delete_jobs(self, jobs: Sequence[tuple[str, str, str, str]]) -> bool:
        """Remove jobs that are over, with all that belongs to them; False when that is too much for one transaction."""
        ...

    async def held_lanes(self, workers: Sequence[str]) -> dict[str, int]:
        """Return how many jobs, and shards of arrays, of each lane these workers run."""
        ...

    async def recent_runs(self, limit: int) -> list[Pace]:
        """Return how long the jobs ran that were over last, so many of them, by owner, priority and lane."""
        ...

    async def wakeups(self) -> Wakeups:
        """Return when the next job is due, attempt overdue, lease over, hook to be called, slot of a schedule."""
        ...

    # -- leases ---------------------------------------------------------------------------------------------------
    async def running_of(self, worker: str) -> list[RunningRow]:
        """Return what a worker holds."""
        ...

    async def held_by(self, workers: Sequence[str]) -> dict[str, list[RunningRow]]:
        """Return what each of these workers holds."""
        ...

    async def unname_leases(self, leases: Sequence[tuple[str, int, int | None]]) -> None:
        """Give the lease of a (job, attempt) an end of its own (its worker did not name it), or None: its worker's."""
        ...

    async def clamp_leases(self, until: int) -> None:
        """Let no lease end after `until`: the clock was set back."""
        ...

    async def unnamed_leases(self, limit: int) -> list[str]:
        """Return jobs whose own end of lease has passed; held like due ones."""
        ...

    async def set_progress(self, worker: str, notes: Sequence[tuple[str, int, Progress]]) -> list[str]:
        """Store (job, attempt, progress) of attempts that the worker holds, and return their jobs."""
        ...

    async def holds(self, worker: str, job: str, attempt: int) -> bool:
        """Say whether the worker holds this attempt."""
        ...

    # -- arrays ---------------------------------------------------------------------------------------------------
    async def begin_upload(self, root: str) -> None:
        """Note that the inputs of an array are being written, before there is a job; `insert_jobs` ends that."""
        ...

    async def insert_inputs(self, root: str, pieces: Sequence[tuple[int, int, str]]) -> None:
        """Write (first, n, JSON list) pieces of an array's inputs."""
        ...

    async def inputs_at(self, root: str, index: int) -> tuple[int, int, str] | None:
        """Return the piece (first, n, JSON list) that has the input `index`."""
        ...

    async def old_uploads(self, before: int, limit: int) -> list[str]:
        """Return arrays whose inputs began to be written before `before`, and which have no job yet."""
        ...

    async def delete_upload(self, root: str) -> None:
        """Remove the inputs of an array that has come to nothing; those that a job was inserted with stay."""
        ...

    async def get_array(self, job: str) -> Array | None:
        """Return how far an array is. Its job is locked for a change of it."""
        ...

    async def put_array(self, job: str, array: Array) -> None:
        """Write how far an array is."""
        ...

    async def cut_array(self, job: Job, spec: HandlerSpec | None) -> Claimed | None:
        """queued -> running, or one more shard of a running array: `attempt` + 1. None when it cannot be cut."""
        ...

    async def set_open(self, job: Job, value: bool) -> None:
        """Say whether a running array (from `lock_jobs`) has inputs that may be cut."""
        ...

    async def insert_shard(self, shard: Shard) -> None:
        """Write a new lease."""
        ...

    async def get_shard(self, job: str, attempt: int) -> Shard | None:
        """Return a leased shard."""
        ...

    async def shards_of(self, job: str) -> list[Shard]:
        """Return all leased shards of an array."""
        ...

    async def note_told(self, shard: Shard) -> None:
        """Write up to where a shard's inputs have been told."""
        ...

    async def delete_shard(self, shard: Shard) -> None:
        """End a lease."""
        ...

    async def unname_shards(self, leases: Sequence[tuple[str, int, int | None]]) -> None:
        """Do to shards what `unname_leases` does to jobs."""
        ...

    async def unnamed_shards(self, limit: int) -> list[tuple[str, int]]:
        """Return (job, attempt) of shards whose own end of lease has passed."""
        ...

    async def put_ranges(self, job: str, ranges: Sequence[Range]) -> None:
        """Write inputs that are to run again; a range that begins where another did takes its place."""
        ...

    async def ready_ranges(self, job: str, limit: int) -> list[Range]:
        """Return ranges whose time has come, the lowest first."""
        ...

    async def delete_ranges(self, job: str, ranges: Sequence[Range]) -> None:
        """Take ranges away: they are being cut."""
        ...

    async def promote_ranges(self, limit: int) -> set[str]:
        """Make ranges ready whose time has come, and return their arrays, which are held."""
        ...

    async def insert_results(self, job: str, results: Sequence[InputResult]) -> None:
        """Store what became of inputs; one that is there already is left as it is."""
        ...

    async def results_of(self, job: str, after: int, limit: int, *, which: Which) -> list[InputResult]:
        """Return results in the order of the inputs, from after the input `after` on; `bad`: those that are no success."""
        ...

    async def successes_of(self, job: str, after: int, limit: int) -> list[int]:
        """Return the numbers of the inputs that have succeeded, from after the input `after` on."""
        ...

    # -- history --------------------------------------------------------------------------------------------------
    async def insert_attempts(self, attempts: Sequence[tuple[str, Attempt]]) -> None:
        """Write tries that are over, with their job's id."""
        ...

    async def attempts_of(self, job: str) -> list[Attempt]:
        """Return the tries that are over, the first first."""
        ...

    async def append_events(self, events: Sequence[NewEvent]) -> None:
        """Record changes, at `now`."""
        ...

    async def events_of(self, job: str, after: int, limit: int) -> list[Event]:
        """Return a job's events from after `after` on."""
        ...

    async def events_after(self, seq: int, limit: int) -> list[Event]:
        """Return everybody's events from after `seq` on."""
        ...

    async def is_event(self, seq: int) -> bool:
        """Say whether there is an event of this number: events go with their jobs."""
        ...

    async def last_event(self) -> int:
        """Return the newest event's number, or 0."""
        ...

    async def append_logs(self, chunks: Sequence[LogChunk]) -> None:
        """Store output; a chunk that is there already is left as it is."""
        ...

    async def logs_of(self, job: str, attempt: int | None, after: tuple[int, int], limit: int) -> list[LogChunk]:
        """Return output of one or all attempts, in order, from after the pair (attempt, n) on."""
        ...

    async def counts(self) -> list[CountRow]:
        """Return how many jobs of each queue and lane are in each state, without counting rows."""
        ...

    async def timed_out_tasks(self) -> int:
        """Return how many tasks of API C have failed because they timed out, without counting rows."""
        ...

    # -- workers --------------------------------------------------------------------------------------------------
    async def insert_worker(self, worker: str, hello: WorkerHello, lease_until: int) -> None:
        """Write a worker, and remember its handlers; one that is there already comes again, and keeps what it holds."""
        ...

    async def get_worker(self, worker: str) -> WorkerRow | None:
        """Return a worker, present or gone."""
        ...

    async def lock_worker(self, worker: str) -> WorkerRow | None:
        """Return a worker, locked until the end of the transaction: who changes what it holds comes one after another."""
        ...

    async def lock_workers(self, workers: Iterable[str]) -> dict[str, WorkerRow]:
        """Return those of these workers that there are, locked as by `lock_worker`, in the order of their ids."""
        ...

    async def list_workers(self) -> list[WorkerRow]:
        """Return all workers, those that are present first."""
        ...

    async def renew_workers(self, leases: Sequence[tuple[str, int]]) -> None:
        """Note heartbeats of (worker, lease until)."""
        ...

    async def drain_worker(self, worker: str) -> None:
        """Note that a worker is to take no more jobs."""
        ...

    async def bury_worker(self, worker: str, why: str) -> None:
        """Note that a worker is gone."""
        ...

    async def expired_workers(self, limit: int) -> list[str]:
        """Return present workers whose lease has run out."""
        ...

    async def forget_workers(self, before: int) -> None:
        """Remove workers that are gone since before `before`."""
        ...

    async def handlers(self) -> list[tuple[HandlerSpec, int]]:
        """Return every handler that a worker ever offered, and when last."""
        ...

    # -- hooks and answers ----------------------------------------------------------------------------------------
    async def insert_deliveries(self, rows: Sequence[tuple[str, str, str, str]]) -> None:
        """Write (id, job, url, body) of calls to make; one that is there already is left as it is."""
        ...

    async def take_deliveries(self, limit: int, until: int) -> list[DeliveryRow]:
        """Return calls that are due, and hide them until `until`."""
        ...

    async def note_delivery(self, row: DeliveryRow) -> None:
        """Write what became of a call."""
        ...

    async def resend_delivery(self, job: str, delivery: str) -> bool:
        """Let a call of a job's hook be made again, from now on; False when there is no such call."""
        ...

    async def deliveries_of(self, job: str) -> list[DeliveryRow]:
        """Return a job's calls."""
        ...

    async def get_answer(self, key: str) -> tuple[str, bytes] | None:
        """Return the (fingerprint, body) that was answered to an Idempotency-Key."""
        ...

    async def put_answer(self, key: str, fingerprint: str, body: bytes) -> None:
        """Keep an answer."""
        ...

    async def forget_answers(self, before: int, limit: int) -> None:
        """Remove answers made before `before`, at most `limit` of them."""
        ...

    # -- tokens ---------------------------------------------------------------------------------------------------
    async def insert_token(self, token: TokenRow) -> None:
        """Write a new token."""
        ...

    async def tokens(self) -> list[TokenRow]:
        """Return all tokens that ever were, the oldest first."""
        ...

    async def revoke_token(self, token: str) -> None:
        """Note that a token is revoked; one that is already stays as it is."""
        ...

    async def tokens_version(self) -> int:
        """Return a number that grows with every change of a token."""
        ...

    async def append_audit(self, rows: Sequence[NewAudit]) -> None:
        """Write lines of the audit trail, at `now`."""
        ...

    async def audit_before(self, seq: int | None, limit: int, token: str | None) -> list[AuditRow]:
        """Return lines of the trail, of one token or of all, the newest first, from before `seq` on."""
        ...

    async def prune_audit(self, before: int, keep: int, limit: int) -> None:
        """Remove lines older than `before`, and all but the newest `keep`; at most `limit` of them."""
        ...


class Store(Protocol):
    """Where state lives. Only one process uses a store that is `exclusive`: what it does not know of, nobody does."""

    exclusive: bool

    async def open(self) -> None:
        """Take hold of the store and bring its schema up to date.

        Raises StoreInUse when another process owns it, StoreTooNew when a later version wrote it.
        """
        ...

    async def write(self, function: Callable[[Tx], Awaitable[T]]) -> T:
        """Run a transaction function and return its value once it is durable. Raises Unavailable when it cannot be."""
        ...

    async def read(self, function: Callable[[Tx], Awaitable[T]]) -> T:
        """Run a function that only reads, on one snapshot."""
        ...

    async def close(self) -> None:
        """Let go of the store, after what was begun."""
        ...


__all__ = [
    "AuditRow",
    "Begins",
    "Claimed",
    "CountRow",
    "DeliveryRow",
    "Dependency",
    "Lease",
    "NewAudit",
    "NewEvent",
    "Overdue",
    "Query",
    "RunningRow",
    "SeriesRow",
    "Store",
    "Take",
    "TokenRow",
    "Tried",
    "Tx",
    "Wakeups",
    "WorkerRow",
]
