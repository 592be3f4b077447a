"""Submits inside the caller's own database transaction: the job exists exactly when the rest of what it wrote does."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Awaitable
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack, overload

import msgspec

from rota import tracing
from rota.client.submission import Options, body_of, encode
from rota.core.access import DEFAULT_OWNER
from rota.core.errors import Invalid
from rota.core.ids import Ids
from rota.core.jobs import NO_INPUTS, Submission
from rota.service import admission
from rota.service.changes import insert_jobs
from rota.service.handlers import NOBODY, Known, check_arguments, look, look_at
from rota.service.inputs import upload_in
from rota.service.quotas import hold_quotas
from rota.service.relay import LONGEST, News
from rota.service.signals import Effects
from rota.store import statements
from rota.store.protocol import Tx
from rota.store.sqlite.runner import drive
from rota.store.sqlite.store import host_clock
from rota.store.sqlite.tx import SqliteTx
from rota.wiring.callers import submit_through

if TYPE_CHECKING:
    import asyncpg
    import psycopg
    import sqlalchemy as sa
    from sqlalchemy import orm
    from sqlalchemy.ext import asyncio as sa_asyncio

    Blocking: TypeAlias = (
        sqlite3.Connection | psycopg.Connection[Any] | sa.Connection | orm.Session | orm.scoped_session[Any]
    )
    Awaited: TypeAlias = (
        asyncpg.Connection[Any]
        | psycopg.AsyncConnection[Any]
        | sa_asyncio.AsyncConnection
        | sa_asyncio.AsyncSession
        | sa_asyncio.async_scoped_session[Any]
    )

_IDS = Ids(random.SystemRandom().getrandbits)
_NOTIFY = "SELECT pg_notify($1, $2)"
_NO_TABLE = "42P01"  # PostgreSQL's code for a table that is not there
_NO_STORE = "is to {} that is no store of Rota; rota migrate makes it one"


@overload
def submit_in(connection: Blocking, handler: str, data: Any = None, **options: Unpack[Options]) -> str: ...


@overload
def submit_in(connection: Awaited, handler: str, data: Any = None, **options: Unpack[Options]) -> Awaitable[str]: ...


def submit_in(connection: Any, handler: str, data: Any = None, **options: Unpack[Options]) -> str | Awaitable[str]:
    """Submit a job through the caller's connection to Rota's store, and return its id, to be awaited on what is awaited.

    `connection` is one of sqlite3, psycopg (3), or asyncpg, or a connection or session of SQLAlchemy on one of these,
    blocking or asyncio. The job is there when the caller commits, and never was when it rolls back. On PostgreSQL servers are
    told by that commit; on SQLite the server notices it within a second. On SQLite the caller's transaction holds the one
    write lock from here on, on PostgreSQL the jobs named in `after`, and streams of events wait for it: so commit soon.
    Raises Invalid for what the server would refuse, for a database that is no store, and for a connection that is closed, of
    another kind, or (asyncpg; whatever commits by itself) in no transaction.
    """
    if (span := tracing.current()) is not None:
        options.setdefault("traceparent", span)
    body = encode(body_of(options, handler=handler, data=data))
    try:
        submission = msgspec.json.decode(body, type=Submission)
    except msgspec.ValidationError as wrong:
        raise Invalid("", str(wrong)) from None
    return submit_through(
        connection, lambda con: _submit_to_file(con, submission), lambda con: _submit_to_postgres(con, submission)
    )


async def _submit_to_postgres(connection: Any, submission: Submission) -> str:
    from rota.store.postgres.bell import CHANNEL
    from rota.store.postgres.store import transaction_of

    effects = Effects()
    try:
        async with transaction_of(connection) as tx:
            job = await _insert(tx, submission, effects)
        await connection.fetch(_NOTIFY, CHANNEL, _news(effects))  # heard when the caller commits, and not before
        return job
    except Exception as error:
        if getattr(error, "sqlstate", None) == _NO_TABLE:
            raise Invalid("connection", _NO_STORE.format("a database")) from error
        raise


def _submit_to_file(connection: Any, submission: Submission) -> str:
    async def write(tx: SqliteTx) -> str:
        job = await _insert(tx, submission, Effects())
        tx.flush()
        return job

    try:
        return drive(write, SqliteTx(connection, host_clock(), statements.load("rota.store.sqlite.sql")))
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            raise Invalid("connection", _NO_STORE.format("a file")) from error
        raise


async def _insert(tx: Tx, submission: Submission, effects: Effects) -> str:
    await hold_quotas(tx, [submission.owner or DEFAULT_OWNER])
    uploads = {} if submission.inputs == NO_INPUTS else {0: await upload_in(tx, _IDS, submission.inputs)}
    known = await _known(tx, submission)
    (job,) = await admission.admit(tx, [submission], _IDS, _zone(), effects, lists=None, uploads=uploads, known=known)
    await insert_jobs(tx, [job], effects)
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


def _news(effects: Effects) -> str:
    """Return what tells the servers of a new job."""
    news = News(ready=[(*lane, n) for lane, n in effects.ready.items()], events=True)
    text = msgspec.json.encode(news)
    return (text if len(text) <= LONGEST else msgspec.json.encode(News(everybody=True))).decode()


def _zone() -> tzinfo:
    return datetime.fromtimestamp(time.time(), UTC).astimezone().tzinfo or UTC
