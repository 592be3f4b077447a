"""Every error that Rota raises on purpose.

    RotaError
    ├── Invalid        the input is wrong; `field` names where            (422)
    ├── TooLarge       the input is over a named limit                    (413)
    ├── NotFound       there is no such job, worker, ...                  (404)
    ├── Conflict       the state of the thing forbids it                  (409)
    │   ├── InFlight   the same Idempotency-Key is being worked on        (409)
    │   └── KeyTaken   another job has this unique key                    (409)
    ├── KeyReused      the Idempotency-Key came with another body         (422)
    ├── QuotaFull      a quota of the owner has no room for it            (429)
    ├── Forbidden      the caller's token does not allow it               (403)
    ├── Unavailable    the store cannot be written now; try again         (503)
    ├── StoreInUse     another process owns the file
    └── StoreTooNew    a later version of Rota wrote the store

`code` is stable: it ends the problem's `type` and may be matched by programs.
"""

from __future__ import annotations


class RotaError(Exception):
    """The root of all errors that Rota raises on purpose."""

    code = "error"


class Invalid(RotaError):
    """The input is wrong; `field` is the path of what is wrong (``delay``, ``[3].after[0]``)."""

    code = "invalid"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field
        self.message = message


class TooLarge(RotaError):
    """The input exceeds the limit called `limit`, which allows `allowed` (bytes or items)."""

    code = "too-large"

    def __init__(self, limit: str, allowed: int, message: str = "") -> None:
        super().__init__(message or f"{limit} allows {allowed}")
        self.limit = limit
        self.allowed = allowed


class NotFound(RotaError):
    """There is no such thing (any more)."""

    code = "not-found"


class Conflict(RotaError):
    """The state of the thing forbids what was asked; `state` is that state, where there is one."""

    code = "conflict"

    def __init__(self, message: str, state: str | None = None) -> None:
        super().__init__(message)
        self.state = state


class InFlight(Conflict):
    """A request with the same Idempotency-Key is being worked on at this moment."""

    code = "in-flight"


class KeyTaken(Conflict):
    """Another job of this owner has the unique key; `job` is its id, `state` its state."""

    code = "unique-key-taken"

    def __init__(self, message: str, job: str, state: str | None = None) -> None:
        super().__init__(message, state)
        self.job = job


class KeyReused(RotaError):
    """The Idempotency-Key was used before with a different body."""

    code = "idempotency-key-reused"


class QuotaFull(RotaError):
    """A quota of the jobs' owner has no room for them; `limit` is its name, `allowed` what it is, `used` what is in use."""

    code = "quota-full"

    def __init__(self, message: str, limit: str, allowed: int, used: int) -> None:
        super().__init__(message)
        self.limit = limit
        self.allowed = allowed
        self.used = used


class Forbidden(RotaError):
    """The caller's token does not allow this, whatever the state of things."""

    code = "forbidden"


class Unavailable(RotaError):
    """The store cannot take writes now (full disk, ...); nothing was written; try again.

    `away`: the database cannot be reached: it is stopped, starting, or its machine is; who waits will find it.
    """

    code = "unavailable"

    def __init__(self, message: str, *, away: bool = False) -> None:
        super().__init__(message)
        self.away = away


class StoreInUse(RotaError):
    """Another process owns the store's file; `pid` is that process, where it is known."""

    code = "store-in-use"

    def __init__(self, message: str, pid: int | None = None) -> None:
        super().__init__(message)
        self.pid = pid


class StoreTooNew(RotaError):
    """The store was written by a later version of Rota."""

    code = "store-too-new"
