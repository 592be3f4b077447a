"""How jobs come into a store: admitted and inserted in one transaction, once for every Idempotency-Key."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import tzinfo
from typing import Literal

import msgspec
from msgspec.structs import replace

from rota.core.access import DEFAULT_OWNER, Caller
from rota.core.errors import InFlight, KeyReused, RotaError
from rota.core.ids import Ids
from rota.core.jobs import NO_INPUTS, Job, Submission
from rota.core.runs import RunSubmission
from rota.service import admission
from rota.service.changes import insert_jobs, insert_run
from rota.service.dry_runs import DryRun, rehearse
from rota.service.handlers import Handlers, Known
from rota.service.inputs import discard, measure, upload
from rota.service.observer import Observer, Stopwatch
from rota.service.quotas import room_of, take_room
from rota.service.signals import Effects, Signals
from rota.store.protocol import Begins, Store, Tx

_encode_submissions = msgspec.json.Encoder().encode
_answers = msgspec.json.Decoder(list[Job])
_encode_answer = msgspec.json.Encoder().encode
_SLICE = 500  # jobs of a bulk that are admitted together
What = Literal["one", "bulk", "run"]  # is submitted in one request
_LISTS: dict[What, str | None] = {"one": None, "bulk": "", "run": "jobs"}  # the field that jobs are listed in


class Submissions:
    """Makes jobs of what is submitted; `key` is an Idempotency-Key, kept for 24 hours."""

    def __init__(
        self,
        store: Store,
        signals: Signals,
        observer: Observer,
        ids: Ids,
        zone: tzinfo,
        *,
        stopwatch: Stopwatch,
        handlers: Handlers,
    ) -> None:
        self._store = store
        self._stopwatch = stopwatch
        self._signals = signals
        self._observer = observer
        self._ids = ids
        self._zone = zone
        self._handlers = handlers
        self._in_flight: set[str] = set()

    async def submit(
        self,
        submissions: Sequence[Submission],
        key: str | None,
        what: What,
        *,
        api: str | None = None,
        caller: Caller,
        traceparent: str | None,
        run: RunSubmission | None = None,
    ) -> list[Job]:
        """Submit jobs, all or none, and the run that they are of; answers in their order.

        Raises Invalid, TooLarge, KeyTaken, QuotaFull; with a key InFlight, KeyReused.
        """
        uploads: dict[int, admission.Upload] = {}
        known = await self._handlers.known()
        makes = [
            self._maker(
                part, what, first=first, uploads=uploads, known=known, caller=caller, run=run, api=api,
                traceparent=traceparent,
            )
            for first, part in _slices(submissions, what)
        ]  # fmt: skip
        fingerprint = "" if key is None else _fingerprint(what.encode(), submissions, run)
        try:
            for at, submission in enumerate(submissions):
                if submission.inputs != NO_INPUTS:
                    uploads[at] = await upload(self._store, self._ids, submission.inputs, _where(what, at))
            owners = {submission.owner or DEFAULT_OWNER for submission in submissions}
            jobs = await self.insert(fingerprint, key, makes, caller, owners)
        except (RotaError, asyncio.CancelledError):
            await discard(self._store, uploads.values())
            raise
        used = {job.array.root for job in jobs if job.array is not None}  # none of them when the key came before
        await discard(self._store, [upload for upload in uploads.values() if upload.root not in used])
        return jobs

    async def rehearse(
        self, submissions: Sequence[Submission], what: What, key: str | None, caller: Caller, run: RunSubmission | None
    ) -> DryRun:
        """Say what `submit` would come to, and write nothing. Raises what it would."""
        uploads = {
            at: measure(self._ids, submission.inputs, _where(what, at))
            for at, submission in enumerate(submissions)
            if submission.inputs != NO_INPUTS
        }
        fingerprint = "" if key is None else _fingerprint(what.encode(), submissions, run)
        key = _own_key(key, caller)
        self._check_flight(key)
        known = await self._handlers.known()
        make = self._maker(submissions, what, uploads=uploads, known=known, caller=caller, run=run)

        async def rehearsed(tx: Tx, effects: Effects) -> tuple[list[Job], bool]:
            if (kept := await _kept(tx, key, fingerprint)) is not None:
                return kept, False
            return await make(tx, effects), True

        return await rehearse(self._store, rehearsed, [submission.ref for submission in submissions], caller)

    async def insert(
        self,
        fingerprint: str,
        key: str | None,
        makes: Sequence[admission.Maker],
        caller: Caller,
        owners: Iterable[str] = (),
    ) -> list[Job]:
        """Insert the jobs that `makes` return, once for every key; `fingerprint` is what the request is known by again.

        While a database far away inserts those of one, the next are made. A user's keys are its owner's alone; `owners` are
        those of the jobs, if known. Raises InFlight, KeyReused, QuotaFull.
        """
        effects = Effects()
        key = _own_key(key, caller)

        async def write(tx: Tx) -> tuple[list[Job], bool]:
            effects.begin()
            if (kept := await _kept(tx, key, fingerprint)) is not None:
                return kept, False
            room = await room_of(tx, owners)
            jobs = []
            for make in makes:
                part = await make(tx, effects)
                if len(makes) > 1:  # jobs of slices make no room: what there was is what there is
                    take_room(room, part)
                await insert_jobs(tx, part, effects, by=caller.by, admitted=len(makes) > 1)
                jobs += part
            if key is not None:
                await tx.put_answer(key, fingerprint, _encode_answer(jobs))
            return jobs, True

        self._check_flight(key)
        if key is not None:
            self._in_flight.add(key)
        try:
            jobs, new = await self._stopwatch.write("submit", Begins(write, answer=key, owners=owners))
        finally:
            if key is not None:
                self._in_flight.discard(key)
        if new:
            self._signals.publish(effects)
            self._observer.submitted(sum(not job.existed for job in jobs))
        return jobs

    def _maker(
        self, submissions: Sequence[Submission], what: What, *, first: int = 0, uploads: Mapping[int, admission.Upload],
        known: Known, caller: Caller, run: RunSubmission | None, api: str | None = None, traceparent: str | None = None,
    ) -> admission.Maker:  # fmt: skip
        """Return what admits submissions, in a transaction; a run itself is written then too."""

        async def make(tx: Tx, effects: Effects) -> list[Job]:
            jobs = await admission.admit(
                tx, submissions, self._ids, self._zone, effects, lists=_LISTS[what], first=first, uploads=uploads, api=api,
                caller=caller, traceparent=traceparent, known=known,
            )  # fmt: skip
            if run is not None:
                await insert_run(tx, admission.new_run(run, jobs, self._ids, tx.now), jobs, by=caller.by)
            return jobs

        return make

    def _check_flight(self, key: str | None) -> None:
        if key in self._in_flight:
            raise InFlight("a request with this Idempotency-Key is being worked on; ask again in a moment")


async def _kept(tx: Tx, key: str | None, fingerprint: str) -> list[Job] | None:
    """Return the jobs that were answered to a key, None if it is new. Raises KeyReused."""
    kept = None if key is None else await tx.get_answer(key)
    if kept is None:
        return None
    if kept[0] != fingerprint:
        raise KeyReused("this Idempotency-Key came before, with another body; use a new key for a new request")
    return _answers.decode(kept[1])


def _own_key(key: str | None, caller: Caller) -> str | None:
    """Return a caller's Idempotency-Key as it is kept. Neither part can hold a line's end."""
    return key if key is None or caller.owner is None else f"{caller.owner}\n{key}"


def digest(*parts: bytes | memoryview) -> str:
    """Return what these bytes are known by again."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part)
    return sha.hexdigest()


def _slices(submissions: Sequence[Submission], what: What) -> list[tuple[int, Sequence[Submission]]]:
    """Return the parts that a request's jobs are admitted in, each with the place of its first one.

    More than one, if none has to do with another, or with a job that is there.
    """
    few = what != "bulk" or len(submissions) <= _SLICE
    if few or any(s.after or s.ref or s.unique_key or s.inputs != NO_INPUTS for s in submissions):
        return [(0, submissions)]
    return [(first, submissions[first : first + _SLICE]) for first in range(0, len(submissions), _SLICE)]


def _where(what: What, at: int) -> str:
    """Return where in its request the submission at a place stands."""
    return "" if (lists := _LISTS[what]) is None else f"{lists}[{at}]."


def _fingerprint(kind: bytes, submissions: Sequence[Submission], run: RunSubmission | None) -> str:
    """Return what tells one request from another. Inputs, which may be hundreds of megabytes, are read where they lie."""
    inputs: list[bytes | memoryview] = []
    rest = []
    for at, submission in enumerate(submissions):
        if submission.inputs == NO_INPUTS:
            rest.append(submission)
        else:
            inputs += (b"%d:" % at, memoryview(submission.inputs))
            rest.append(replace(submission, inputs=NO_INPUTS))
    about = b"" if run is None else _encode_submissions(replace(run, jobs=[]))
    return digest(kind, about, _encode_submissions(rest), *inputs)
