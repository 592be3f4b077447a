"""Why a job does not run, or where it stands: ordered reasons with facts and the way out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from rota.core.access import LOCAL, Caller
from rota.core.arrays import left_s
from rota.core.forecasts import about
from rota.core.jobs import Event, Job
from rota.core.keys import KeyLimits
from rota.core.lifetimes import Spent, in_words, spent
from rota.core.limits import Use, pools_of
from rota.core.needs import needs_of, shown
from rota.core.states import FINAL, Outcome, State
from rota.core.times import SECOND, rfc3339
from rota.core.waits import join_of, words
from rota.service.forecasting import MOST_COUNTED, UNKNOWN, Outlook, outlook_of
from rota.service.limiting import uses
from rota.service.offers import Offer
from rota.service.owners import share_of
from rota.store.protocol import Tx, WorkerRow

NOT_RUNNABLE = frozenset(
    {"needs-unmet", "no-worker", "queue-not-served", "too-few-slots", "workers-draining"}
)  # no live worker could run it
_MOST_NAMED = 10  # jobs that use up a key
_EVENTS_A_PAGE, _MOST_PAGES = 1000, 5  # of a job's history that are read to say where its time went


class Why(Struct, frozen=True, kw_only=True):
    """One reason: a stable `code`, a sentence, its facts, and what would change it."""

    code: str
    text: str
    facts: dict[str, Any] = {}
    way_out: str | None = None


class Explanation(Struct, frozen=True, kw_only=True):
    """Why a job stands where it stands. `summary` is the first reason's sentence; `time` is where its time went so far.

    `starts_at` and `starts_in_s` say when a job that waits for its time or its turn is expected to start, and `ahead` how many
    start before it; null: nobody can know.
    """

    job: str
    state: State
    summary: str
    reasons: list[Why]
    time: Spent
    ahead: int | None = None
    starts_at: str | None = None
    starts_in_s: float | None = None


async def explain(tx: Tx, job: Job, caller: Caller = LOCAL) -> Explanation:
    """Explain a job; of others that `caller` does not see it says nothing."""
    events, whole = await _events(tx, job)
    outlook = UNKNOWN
    match job.state:
        case State.BLOCKED:
            reasons = [*await _blocked(tx, job, caller), *await _no_worker(tx, job)]
        case State.SCHEDULED:
            missing = await _no_worker(tx, job)
            reasons = [await _scheduled(tx, job, events), *missing]
            outlook = UNKNOWN if missing else Outlook(0, max(0.0, (job.run_at - tx.now) / SECOND))
        case State.QUEUED:
            reasons, outlook = await _queued(tx, job)
        case State.RUNNING:
            reasons = await _running(tx, job)
        case _:
            assert job.state in FINAL
            reasons = [_over(job)]
    until = tx.now if job.finished_at is None else job.finished_at
    time = spent(job.submitted_at, until, events, attempts=job.attempt, whole=whole)
    in_s = outlook.starts_in_s
    return Explanation(
        job=job.id, state=job.state, summary=reasons[0].text, reasons=reasons, time=time, ahead=outlook.ahead,
        starts_at=None if in_s is None else rfc3339(tx.now + round(in_s * SECOND)), starts_in_s=in_s,
    )  # fmt: skip


async def _events(tx: Tx, job: Job) -> tuple[list[Event], bool]:
    """Return a job's history, the first first, and whether that is all of it."""
    events: list[Event] = []
    for _ in range(_MOST_PAGES):
        page = await tx.events_of(job.id, events[-1].seq if events else 0, _EVENTS_A_PAGE)
        events += page
        if len(page) < _EVENTS_A_PAGE:
            return events, True
    return events, False


async def _blocked(tx: Tx, job: Job, caller: Caller) -> list[Why]:
    reasons = []
    for each in await tx.unmet_of(job.id, 10):
        after = each.after
        other = await tx.get_job(after)
        if other is not None and not caller.sees(other.owner):
            reasons.append(Why(code="waits-for-job", text=f"waits for job {after}, which is another owner's"))
            continue
        since = (
            f" since {rfc3339(other.started_at)}" if other and other.state is State.RUNNING and other.started_at else ""
        )
        named = f"job {after}" + (f" ({other.ref})" if other and other.ref else "")
        if each.on == "succeeded":
            text = f"waits for {named}, which is {other.state if other else 'gone'}{since}"
        else:
            text = f"waits for {named} {words(each.on)}; it is {other.state if other else 'gone'}{since}"
        reasons.append(
            Why(
                code="waits-for-job",
                text=text,
                facts={
                    "job": after, "ref": other.ref if other else None, "on": each.on, "state": other.state if other else None,
                    "waiting_for": job.waiting_for,
                },
                way_out=f"see what that job waits for: rota explain {after}",
            )
        )  # fmt: skip
    if job.least is not None:
        text = f"starts as soon as {job.least} of the {len(job.after)} ends it waits for came about: {job.waiting_for} more"
        facts: dict[str, Any] = {
            "join": join_of(job.least), "after": len(job.after), "needed": job.waiting_for, "spare": job.spare,
        }  # fmt: skip
        reasons.append(Why(code="join", text=text, facts=facts))
    return reasons or [Why(code="waits-for-job", text=f"waits for {job.waiting_for} other jobs")]


async def _scheduled(tx: Tx, job: Job, events: Sequence[Event]) -> Why:
    in_s = max(0.0, (job.run_at - tx.now) / SECOND)
    facts: dict[str, Any] = {"run_at": rfc3339(job.run_at), "in_s": round(in_s, 3)}
    way_out = f'run it now: PATCH /v1/jobs/{job.id} with {{"delay": 0}}'
    when = f"{rfc3339(job.run_at)}, in {in_words(in_s)}"
    last = next((event for event in reversed(events) if event.kind != "edited"), None)
    if last is not None and last.kind == Outcome.SNOOZED:
        facts["snoozes"] = n = await tx.count_snoozes(job.id, MOST_COUNTED)
        times = f", {n} times by now" if n > 1 else ""
        return Why(code="snoozed", text=f"has put itself off until {when}{times}", facts=facts, way_out=way_out)
    if job.failures + job.crashes:
        facts |= {"failures": job.failures, "max_failures": job.max_failures, "crashes": job.crashes}
        why = f"; the last attempt: {job.error.type}: {job.error.message}" if job.error else ""
        text = f"backs off after a failed attempt, and is tried again at {when}{why}"
        return Why(code="backs-off", text=text, facts=facts, way_out=way_out)
    schedule = (job.labels or {}).get("schedule")
    if schedule is not None and events and events[0].by == "schedule":
        text = f"is to run at {when}: schedule {schedule!r} spreads its jobs behind the slot"
        return Why(code="waits-for-slot", text=text, facts=facts | {"schedule": schedule}, way_out=way_out)
    return Why(code="waits-for-time", text=f"is to run at {when}", facts=facts, way_out=way_out)


async def _queued(tx: Tx, job: Job) -> tuple[list[Why], Outlook]:
    limits = await _limits(tx, job)
    limited = await _limited(tx, job, limits)
    if missing := await _no_worker(tx, job):
        return [*limited, *missing], UNKNOWN
    able = [w for w in await tx.list_workers() if _serves(w, job)]
    outlook = await outlook_of(tx, job, able, limits)
    if any(why.code == "queue-paused" for why in limited):  # nobody knows when that ends
        outlook = replace(outlook, starts_in_s=None)
    reasons = limited
    if outlook.free == 0:
        reasons.append(
            Why(
                code="workers-busy",
                text=f"all {outlook.slots} slots of the {len(able)} workers that can run it are in use",
                facts={"workers": len(able), "slots": outlook.slots, "in_use": outlook.busy},
                way_out="start another worker (rota worker), or give workers more --slots",
            )
        )
    if outlook.ahead:
        reasons.append(await _jobs_ahead(tx, job, outlook))
    return reasons or [Why(code="about-to-start", text="is next, and a worker is about to claim it")], outlook


async def _jobs_ahead(tx: Tx, job: Job, outlook: Outlook) -> Why:
    """Say how many jobs start before this one, what its owner gets and uses, and when it is expected to start."""
    share = await share_of(tx, job.owner, Counter())
    ahead = outlook.ahead or 0
    text = (
        ("more than " if ahead >= MOST_COUNTED else "")
        + ("1 job is ahead of it" if ahead == 1 else f"{ahead} jobs are ahead of it")
        + (f"; the share of {job.owner!r}: {share.share:.0%}, used {share.used:.0%} in the last hour")
    )
    if outlook.starts_in_s is not None:
        text += f"; expected to start in about {about(outlook.starts_in_s)}"
    return Why(
        code="jobs-ahead",
        text=text,
        facts={
            "ahead": ahead, "priority": job.priority, "owner": job.owner, "weight": share.weight,
            "share": round(share.share, 4), "used": round(share.used, 4), "active_owners": share.active_owners,
            "starts_in_s": outlook.starts_in_s,
        },
        way_out=f'raise its priority: PATCH /v1/jobs/{job.id} with {{"priority": {job.priority + 1}}}',
    )  # fmt: skip


async def _limits(tx: Tx, job: Job) -> list[Use]:
    """Return the limits of its queue, its handler and its key that a job counts against, and how much of each is used."""
    pools = pools_of(job.queue, job.lane)
    limits = await tx.limits()
    mine = [limit for limit in limits if limit.pool in pools]
    return await uses(tx, mine + KeyLimits(limits).of_all([] if job.limit_key is None else [job.limit_key]))


async def _limited(tx: Tx, job: Job, limits: Sequence[Use]) -> list[Why]:
    """Say which pause, and which limits of its queue, its handler, its key and its owner, keep a job from starting."""
    reasons = []
    row = next((row for row in await tx.queue_rows() if row.queue == job.queue), None)
    if row is not None and row.paused_at is not None:
        by = f" by {row.paused_by}" if row.paused_by else ""
        text = f"queue {job.queue!r} is paused since {rfc3339(row.paused_at)}{by}"
        facts: dict[str, Any] = {"queue": job.queue, "paused_at": rfc3339(row.paused_at), "paused_by": row.paused_by}
        reasons.append(Why(code="queue-paused", text=text, facts=facts, way_out=f"rota queue resume {job.queue}"))
    for use in limits:
        kind, name = use.limit.pool
        most, rate = use.limit.concurrency, use.limit.rate
        if most is not None and use.running >= most:
            facts = {"kind": kind, "name": name, "in_use": use.running, "concurrency": most}
            text = f"{kind} {name!r} is full: {use.running} of {most} in use"
            way_out = f"wait for one to end, or raise it: rota limit set {kind}:{name} --concurrency {most + 1}"
            if kind == "key":
                facts["jobs"] = jobs = await tx.running_of_key(name, _MOST_NAMED)
                others = f" and {use.running - len(jobs)} others" if use.running > len(jobs) else ""
                text = f"limit key {name}: {use.running} of {most} in use, by {', '.join(jobs)}{others}"
                reasons.append(Why(code="limit-key-full", text=text, facts=facts, way_out=way_out))
            elif kind == "queue":
                reasons.append(Why(code="queue-full", text=text, facts=facts, way_out=way_out))
            else:
                reasons.append(Why(code="handler-full", text=text, facts=facts, way_out=way_out))
        if rate is not None and rate.room(use.full_at, tx.now) == 0:
            in_s = round((rate.next_at(use.full_at, tx.now) - tx.now) / SECOND, 3)
            facts = {"kind": kind, "name": name, "rate": str(rate), "burst": rate.burst, "next_in_s": in_s}
            text = f"{kind} {name!r} starts at most {rate}: the next one in about {in_s:g} s"
            way_out = f"wait, or change it: rota limit set {kind}:{name} --rate N/TIME"
            reasons.append(Why(code="rate-limited", text=text, facts=facts, way_out=way_out))
    if (places := (await tx.places_of([job.owner])).get(job.owner)) is not None and not places.free:
        facts = {"owner": job.owner, "in_use": places.running, "max_running": places.most}
        text = f"owner {job.owner!r} is full: {places.running} of {places.most} in use"
        way_out = f"wait for one to end, or raise it: rota owner {job.owner} --max-running {places.most + 1}"
        reasons.append(Why(code="owner-full", text=text, facts=facts, way_out=way_out))
    return reasons


async def _no_worker(tx: Tx, job: Job) -> list[Why]:
    workers = [w for w in await tx.list_workers() if w.gone_at is None]
    what, way_out = _what(job)
    what = what if job.array is None else f"arrays of {what}"
    offering = [w for w in workers if _offers(w, job)]
    if not offering:
        offered = sorted({spec.name for w in workers for spec in w.hello.handlers})
        near = get_close_matches(job.handler or "", offered, 1)
        hint = f"; the nearest is {near[0]!r}" if near else ""
        facts: dict[str, Any] = {
            "offered": offered[:100],
            "workers": len(workers),
            "nearest": near[0] if near else None,
        }
        seen = next((at for spec, at in await tx.handlers() if spec.name == job.handler), None)
        if seen is not None:
            facts["last_offered_at"] = rfc3339(seen)
        text = "no live worker has a container engine" if job.kind == "image" else f"no live worker offers {what}{hint}"
        return [Why(code="no-worker", text=text, facts=facts, way_out=way_out)]
    serving = [w for w in offering if not w.hello.queues or job.queue in w.hello.queues]
    if not serving:
        queues = sorted({q for w in offering for q in w.hello.queues})
        return [
            Why(
                code="queue-not-served",
                text=f"no live worker that offers {what} takes jobs from queue {job.queue!r}",
                facts={"queue": job.queue, "served": queues},
                way_out=f"start a worker for it: rota worker --queue {job.queue}",
            )
        ]
    able = [w for w in serving if not Offer(w.hello).lacks(job.lane)]
    if not able:
        nearest = min(serving, key=lambda w: (len(Offer(w.hello).lacks(job.lane)), w.id))
        lacks, needs = shown(Offer(nearest.hello).lacks(job.lane)), shown(needs_of(job.lane))
        return [
            Why(
                code="needs-unmet",
                text=f"no live worker that offers {what} has {needs}; the nearest, {nearest.id}, lacks {lacks}",
                facts={"needs": job.needs, "nearest": nearest.id, "lacks": lacks, "workers": len(serving)},
                way_out="start a worker that has it: rota worker"
                + "".join(f" --label {name}={value}" for name, value in sorted(needs_of(job.lane))),
            )
        ]
    if job.slots > 1 and not any(Offer(w.hello).slots(job.lane) for w in able):
        return [_too_few_slots(job, able, what)]
    serving = able
    if all(w.draining for w in serving):
        return [
            Why(
                code="workers-draining",
                text=f"every worker that offers {what} is draining",
                facts={"workers": [w.id for w in serving]},
                way_out="start another worker",
            )
        ]
    return []


def _too_few_slots(job: Job, able: Sequence[WorkerRow], what: str) -> Why:
    nearest = max(able, key=lambda w: (Offer(w.hello).total(job.lane), w.id))
    has = Offer(nearest.hello).total(job.lane)
    return Why(
        code="too-few-slots",
        text=f"takes {job.slots} slots, and no live worker that offers {what} has so many; "
        f"the nearest, {nearest.id}, has {has}",
        facts={"slots": job.slots, "nearest": nearest.id, "has": has, "workers": len(able)},
        way_out=f"start a worker with more: rota worker --slots {job.slots}",
    )


async def _array(tx: Tx, job: Job) -> list[Why]:
    """Say how far a running array is, and what keeps its other inputs from running."""
    array = job.array
    assert array is not None and job.started_at is not None
    eta_s = left_s(array)
    facts: dict[str, Any] = {
        "inputs": array.inputs, "done": array.done, "failed": array.failed, "running": array.live,
        "eta_s": None if eta_s is None else round(eta_s, 3), "workers": sorted({s.worker for s in await tx.shards_of(job.id)}),
    }  # fmt: skip
    text = f"runs since {rfc3339(job.started_at)}: {array.done} of {array.inputs} inputs are over, {array.live} run now"
    reasons = [Why(code="running", text=text, facts=facts, way_out=f"stop it: rota abort {job.id}")]
    if job.abort_requested_at is not None:
        why = f"an abort was requested at {rfc3339(job.abort_requested_at)}: its inputs that run are being ended"
        return [Why(code="aborting", text=why), *reasons]
    if array.parallel is not None and array.live >= array.parallel:
        why = f"no more than {array.parallel} of its inputs may run at once"
        reasons.append(Why(code="parallel-limit", text=why, facts={"parallel": array.parallel}))
    elif not job.open:
        reasons.append(Why(code="no-input-ready", text="every other input is over, runs, or waits to be tried again"))
    return reasons


async def _running(tx: Tx, job: Job) -> list[Why]:
    if job.array is not None:
        return await _array(tx, job)
    assert job.worker is not None and job.started_at is not None
    ran_s = round((tx.now - job.started_at) / SECOND, 3)
    facts: dict[str, Any] = {"worker": job.worker, "attempt": job.attempt, "ran_s": ran_s}
    text = f"runs on {job.worker} since {rfc3339(job.started_at)} (attempt {job.attempt})"
    running = Why(code="running", text=text, facts=facts, way_out=f"stop it: rota abort {job.id}")
    row = await tx.get_worker(job.worker)
    silent = row is None or row.gone_at is not None or row.lease_until <= tx.now
    if job.abort_requested_at is None:
        return [running, *([_silent(tx, row)] if silent else [])]
    since_s = round((tx.now - job.abort_requested_at) / SECOND, 3)
    why = (
        "its worker is silent; the abort is final when its lease has run out"
        if silent
        else "its process tree is being ended"
    )
    aborting = Why(
        code="aborting",
        text=f"an abort was requested at {rfc3339(job.abort_requested_at)}: {why}",
        facts={"since_s": since_s, "grace_s": job.grace_s, "worker_silent": silent},
    )
    return [aborting, running]


def _silent(tx: Tx, row: WorkerRow | None) -> Why:
    """Say what becomes of a job whose worker is not heard of any more."""
    beat_at = None if row is None else row.beat_at
    since = "" if beat_at is None else f" for {in_words((tx.now - beat_at) / SECOND)}"
    return Why(
        code="worker-silent",
        text=f"its worker has been silent{since}, and its lease is over: the job is about to be taken from it",
        facts={"worker": None if row is None else row.id, "beat_at": None if beat_at is None else rfc3339(beat_at)},
    )


def _over(job: Job) -> Why:
    assert job.finished_at is not None
    facts: dict[str, Any] = {
        "finished_at": rfc3339(job.finished_at), "reason": job.reason, "attempt": job.attempt, "failures": job.failures,
        "crashes": job.crashes, "waited_s": round(((job.started_at or job.finished_at) - job.submitted_at) / SECOND, 3),
    }  # fmt: skip
    if job.started_at is not None:
        facts["last_attempt_s"] = round((job.finished_at - job.started_at) / SECOND, 3)
    error = f": {job.error.type}: {job.error.message}" if job.error else ""
    because = f" ({job.reason}{error})" if job.reason else ""
    way_out = None if job.state is State.SUCCEEDED else f"run it again, as a new job: rota retry {job.id}"
    return Why(
        code="over", text=f"is {job.state} since {rfc3339(job.finished_at)}{because}", facts=facts, way_out=way_out
    )


def _offers(worker: WorkerRow, job: Job) -> bool:
    return Offer(worker.hello).offers(job.lane)


def _serves(worker: WorkerRow, job: Job) -> bool:
    return worker.gone_at is None and not worker.draining and Offer(worker.hello).serves(job.queue, job.lane)


def _what(job: Job) -> tuple[str, str]:
    """Return what a worker must offer to run a job, and how to come to one that does."""
    match job.kind:
        case "handler":
            return f"handler {job.handler!r}", "start a worker that has it: rota worker --app MODULE:NAME"
        case "image":
            return "container images", (
                "start a worker beside a Docker or Podman engine, and name its socket if need be: ROTA_ENGINE=unix:///PATH"
            )
        case "pull":
            return f"function {job.handler!r}", "start a program that pulls tasks: POST /register_worker/NAME"
        case "script" | "command":
            return "scripts", "start a worker: rota worker"
