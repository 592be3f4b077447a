"""Jobs that wait for each other, before there are any: names become ids, circles are found, first states are set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from rota.core.errors import Invalid
from rota.core.jobs import Failure, Job
from rota.core.results import ResultOf, Unusable, names, renamed
from rota.core.states import FINAL, Reason, State
from rota.core.waits import Condition, Verdict, begin, meets, never
from rota.service.parents import inputs_of
from rota.service.uniques import Wish
from rota.store.protocol import Tx

_MOST_NAMED = 20  # of a circle


class Draft(Struct):
    """A checked submission: a job that lacks only its state, and what it waits for (ids, or refs of its list).

    `wish` is what it wants of its unique key; `stands` is the job that has the key, and stands for this one.
    """

    job: Job
    after: dict[str, Condition]
    ref: str | None
    referred: frozenset[str] = frozenset()
    wish: Wish | None = None
    stands: str | None = None

    @property
    def id(self) -> str:
        """Return the id of the job that others wait for."""
        return self.stands or self.job.id


def resolve(drafts: Sequence[Draft], lists: str) -> set[str]:
    """Replace refs by ids, and return the ids that must exist in the store. Raises Invalid for a ref that comes twice."""
    by_ref: dict[str, Draft] = {}
    for at, entry in enumerate(drafts):
        if entry.ref is not None and by_ref.setdefault(entry.ref, entry) is not entry:
            raise Invalid(f"{lists}[{at}].ref", f"{entry.ref!r} is used twice")
    local = {entry.job.id for entry in drafts if entry.stands is None}
    outside: set[str] = set()
    for entry in drafts:
        if not entry.after:
            continue
        ids = {name: by_ref[name].id for name in entry.after if name in by_ref}
        entry.after = {ids.get(name, name): on for name, on in entry.after.items()}
        if ids and entry.referred:
            rename(entry.job, ids)
            entry.referred = frozenset(ids.get(name, name) for name in entry.referred)
        outside.update(name for name in entry.after if name not in local)
    return outside


def rename(job: Job, ids: Mapping[str, str]) -> None:
    """Let a new job's references, and what it is a map over, name jobs by their ids."""
    if job.refers:
        job.data, job.args = renamed(job.data, ids), renamed(job.args, ids)
        if job.variables is not None:
            job.variables = {
                name: ResultOf(ids.get(value.job, value.job), value.path) if isinstance(value, ResultOf) else value
                for name, value in job.variables.items()
            }
    if job.map is not None:
        job.map = replace(job.map, over=ids.get(job.map.over, job.map.over))


def references_of(job: Job) -> set[str]:
    """Return the jobs whose results a job uses, by their ids."""
    found: set[str] = set() if job.map is None else {job.map.over}
    if job.refers:
        found.update(names(job.data), names(job.args))
        found.update(value.job for value in (job.variables or {}).values() if isinstance(value, ResultOf))
    return found


def in_order(drafts: Sequence[Draft], lists: str = "") -> list[Draft]:
    """Return the drafts so that each comes after those it waits for. Raises Invalid, naming the cycle, when none does."""
    local = {entry.job.id: at for at, entry in enumerate(drafts)}
    waits = [[local[after] for after in entry.after if after in local] for entry in drafts]
    dependents: list[list[int]] = [[] for _ in drafts]
    open_ = [len(w) for w in waits]
    for at, afters in enumerate(waits):
        for after in afters:
            dependents[after].append(at)
    ready = [at for at, n in enumerate(open_) if n == 0]
    for at in ready:  # grows while it is walked
        for dependent in dependents[at]:
            open_[dependent] -= 1
            if open_[dependent] == 0:
                ready.append(dependent)
    if len(ready) < len(drafts):
        at = next(i for i, n in enumerate(open_) if n > 0)
        seen: dict[int, int] = {}
        while at not in seen:
            seen[at] = len(seen)
            at = next(i for i in waits[at] if open_[i] > 0)
        cycle = [drafts[i].ref or drafts[i].job.id for i in [*list(seen)[seen[at] :], at]]
        if len(cycle) > _MOST_NAMED:
            cycle[_MOST_NAMED // 2 : -_MOST_NAMED // 2] = [f"{len(cycle) - _MOST_NAMED} others"]
        raise Invalid(f"{lists}[{at}].after", "the jobs wait for each other: " + " after ".join(cycle))
    return [drafts[at] for at in ready]


def place(job: Job, states: dict[str, State], now: int) -> None:
    """Set the state a new job begins in, from the states of those it waits for; those that are over are not waited for."""
    if not job.after and job.least is None:
        job.state = State.SCHEDULED if job.run_at > now else State.QUEUED
        return
    job.told = {after: state for after in job.after if (state := states[after]) in FINAL}
    stands = begin(len(job.after), [(job.on(after), state) for after, state in job.told.items()], job.least)
    job.waiting_for, job.spare = stands.need, stands.spare
    if stands.verdict is Verdict.NEVER:
        bad = next(after for after, state in job.told.items() if not meets(job.on(after), state))
        job.state, job.finished_at, job.reason = State.CANCELED, now, Reason.DEPENDENCY
        job.error = Failure(type="dependency", message=never(bad, job.on(bad), job.told[bad]))
    elif stands.verdict is Verdict.WAIT:
        job.state = State.BLOCKED
    else:
        job.state = State.SCHEDULED if job.run_at > now else State.QUEUED


async def open_map(tx: Tx, job: Job) -> None:
    """Give a new map its inputs, if what it is over has ended; one over nothing, or over what is no list, is over itself."""
    if job.map is None or job.state in FINAL or job.state is State.BLOCKED:
        return
    try:
        job.array = await inputs_of(tx, job)
    except Unusable as error:
        job.state, job.finished_at, job.reason = State.FAILED, tx.now, Reason.REFUSED
        job.error = Failure(type="bad_map", message=str(error))
        return
    if job.array is None:
        job.state, job.finished_at = State.SUCCEEDED, tx.now
