"""Submits inside the caller's own database transaction: the job exists exactly when the rest of what it wrote does."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Awaitable
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any, Unpack, overload

import msgspec

from rota import tracing
from rota.client.submission import Options, body_of, encode
from rota.core.errors import Invalid
from rota.core.ids import Ids
from rota.core.jobs import NO_INPUTS, Submission
from rota.service import admission
from rota.service.changes import insert_jobs
from rota.service.handlers import NOBODY, Known, check_arguments, look, look_at
from rota.service.inputs import upload_in
from rota.service.signals import Effects
from rota.store import statements
from rota.store.protocol import Tx
from rota.store.sqlite.runner import drive
from rota.store.sqlite.store import host_clock
from rota.store.sqlite.tx import SqliteTx

if TYPE_CHECKING:
    import asyncpg

_IDS = Ids(random.SystemRandom().getrandbits)


@overload
def submit_in(connection: sqlite3.Connection, handler: str, data: Any = None, **options: Unpack[Options]) -> str: ...


@overload
def submit_in(
    connection: asyncpg.Connection[Any], handler: str, data: Any = None, **options: Unpack[Options]
) -> Awaitable[str]: ...


def submit_in(connection: Any, handler: str, data: Any = None, **options: Unpack[Options]) -> str | Awaitable[str]:
    """Submit a job through the caller's connection to Rota's store, and return its id; awaited on PostgreSQL (asyncpg).

    The job is there when the caller commits, and never was when it rolls back; a server notices it within a second.
    On SQLite the caller's transaction holds the one write lock from here on, on PostgreSQL the jobs named in `after`, and
    streams of events wait for it: so commit soon. Raises Invalid for what the server would refuse, for a database that is
    no store, and on PostgreSQL for a connection that is in no transaction.
    """
    if (span := tracing.current()) is not None:
        options.setdefault("traceparent", span)
    body = encode(body_of(options, handler=handler, data=data))
    try:
        submission = msgspec.json.decode(body, type=Submission)
    except msgspec.ValidationError as wrong:
        raise Invalid("", str(wrong)) from None
    if isinstance(connection, sqlite3.Connection):
        return _submit_to_file(connection, submission)
    return _submit_to_postgres(connection, submission)


async def _submit_to_postgres(connection: asyncpg.Connection[Any], submission: Submission) -> str:
    from asyncpg import UndefinedTableError

    from rota.store.postgres.store import transaction_of

    if not connection.is_in_transaction():
        raise Invalid("connection", "is in no transaction: begin one, and commit it with what belongs to the job")
    try:
        async with transaction_of(connection) as tx:
            return await _insert(tx, submission)
    except UndefinedTableError as error:
        raise Invalid("connection", "is to a database that is no store of Rota; rota migrate makes it one") from error


async def _insert(tx: Tx, submission: Submission) -> str:
    uploads = {} if submission.inputs == NO_INPUTS else {0: await upload_in(tx, _IDS, submission.inputs)}
    known = await _known(tx, submission)
    (job,) = await admission.admit(tx, [submission], _IDS, _zone(), bulk=False, uploads=uploads, known=known)
    await insert_jobs(tx, [job], Effects())
    return job.id


async def _known(tx: Tx, submission: Submission) -> Known:
    """Return what there is to know of a handler: in most cases the version that was offered last is enough."""
    if submission.handler is None:
        return NOBODY
    known = await look_at(tx, submission.handler)
    try:
        check_arguments(submission, "", known)
    except Invalid:
        return await look(tx)
    return known


def _zone() -> tzinfo:
    return datetime.fromtimestamp(time.time(), UTC).astimezone().tzinfo or UTC


def _submit_to_file(connection: sqlite3.Connection, submission: Submission) -> str:
    cursor = connection.cursor()
    cursor.row_factory = None  # the caller's own rows may be anything

    async def write(tx: SqliteTx) -> str:
        job = await _insert(tx, submission)
        tx.flush_counts()
        return job

    if not connection.in_transaction:
        connection.execute("BEGIN IMMEDIATE")
    try:
        return drive(write, SqliteTx(cursor, host_clock(), statements.load("rota.store.sqlite.sql")))
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            raise Invalid("connection", "is to a file that is no store of Rota; rota migrate makes it one") from error
        raise
