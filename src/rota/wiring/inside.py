"""Submits inside the caller's own database transaction: the job exists exactly when the rest of what it wrote does."""

from __future__ import annotations

import random
import sqlite3
import time
from datetime import UTC, datetime
from typing import Any, Unpack

import msgspec

from rota.client.submission import Options, body_of, encode
from rota.core.errors import Invalid
from rota.core.ids import Ids
from rota.core.jobs import NO_INPUTS, Submission
from rota.service import admission
from rota.service.changes import insert_jobs
from rota.service.inputs import upload_in
from rota.service.signals import Effects
from rota.store import statements
from rota.store.sqlite.runner import drive
from rota.store.sqlite.store import host_clock
from rota.store.sqlite.tx import SqliteTx

_IDS = Ids(random.SystemRandom().getrandbits)


def submit_in(connection: sqlite3.Connection, handler: str, data: Any = None, **options: Unpack[Options]) -> str:
    """Submit a job through the caller's connection to the file that is Rota's store, and return its id.

    The job is there when the caller commits, and never was when it rolls back; the server notices it within a second.
    The caller's transaction holds SQLite's one write lock from here on, so commit soon. Raises Invalid for what the
    server would refuse, and for a file that is no store.
    """
    body = encode(body_of(options, handler=handler, data=data))
    try:
        submission = msgspec.json.decode(body, type=Submission)
    except msgspec.ValidationError as wrong:
        raise Invalid("", str(wrong)) from None
    zone = datetime.fromtimestamp(time.time(), UTC).astimezone().tzinfo or UTC
    cursor = connection.cursor()
    cursor.row_factory = None  # the caller's own rows may be anything

    async def write(tx: SqliteTx) -> str:
        uploads = {} if submission.inputs == NO_INPUTS else {0: await upload_in(tx, _IDS, submission.inputs)}
        (job,) = await admission.admit(tx, [submission], _IDS, zone, bulk=False, uploads=uploads)
        await insert_jobs(tx, [job], Effects())
        tx.flush_counts()
        return job.id

    if not connection.in_transaction:
        connection.execute("BEGIN IMMEDIATE")
    try:
        return drive(write, SqliteTx(cursor, host_clock(), statements.load("rota.store.sqlite.sql")))
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            raise Invalid("connection", "is to a file that is no store of Rota; rota migrate makes it one") from error
        raise
