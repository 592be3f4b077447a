"""Running again what is over: a new job that does what an old one was to do."""

from __future__ import annotations

from msgspec.structs import replace

from rota.core.ids import Ids
from rota.core.jobs import Job
from rota.core.quotas import stored_bytes
from rota.core.settling import check_over
from rota.core.states import State
from rota.service import graphs
from rota.service.inputs import retry_array
from rota.store.protocol import Tx


async def copy_of(
    tx: Tx, ids: Ids, old: Job, traceparent: str | None, *, dry_run: bool = False, alone: bool = True
) -> Job:
    """Return a new job that runs a whole one that is over again. Raises Conflict unless it is over.

    Of an array the ranges that it has to run are written, but for a `dry_run`. `alone`: it waits for nothing but
    the results that it refers to.
    """
    check_over(old)
    id_ = ids.new(tx.now)
    new = Job(
        id=id_, state=State.QUEUED, kind=old.kind, handler=old.handler, script=old.script,
        data=old.data, args=old.args, variables=old.variables, owner=old.owner, queue=old.queue,
        priority=old.priority, labels=old.labels, run_at=tx.now, submitted_at=tx.now,
        max_failures=old.max_failures, timeout_s=old.timeout_s, grace_s=old.grace_s, backoff=old.backoff,
        hook=old.hook, retry_of=old.id, image=old.image, options=old.options, api=old.api, needs=old.needs,
        limit_key=old.limit_key, slots=old.slots,
        traceparent=traceparent,
        array=old.array and (old.array if dry_run else await retry_array(tx, id_, old)),
        refers=old.refers, map=old.map if old.array is None else None,
    )  # fmt: skip
    if new.array is not None:  # it holds the inputs of the one before
        new.array.size = max(0, old.size - stored_bytes(replace(old, array=None)))
    if alone and (named := graphs.references_of(new)):
        states = {each: found.state for each, found in (await tx.lock_jobs(named)).items()}
        new.after, new.after_on, new.referred = list(states), dict.fromkeys(states, "any"), frozenset(states)
        graphs.place(new, states, tx.now)
        if not dry_run:
            await graphs.open_map(tx, new)
    return new
