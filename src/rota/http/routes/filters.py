"""Which jobs are meant: the filters of listings, of counts, and of what is done to many at once."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from rota.core.errors import Invalid
from rota.core.ids import floor_id, is_id
from rota.core.states import State
from rota.core.times import parse_time
from rota.store.protocol import Query

Limit = Annotated[int, Meta(ge=1, le=1000)]
_EARLIEST, _LATEST = 0, 253_402_300_799_999_999  # what ids can hold, and what RFC 3339 can say
_MOST_TEXT = 500  # characters of a text that is looked for


class Filter(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Filters; all must hold.

    `state` may be repeated, or be a list with commas; `label` is `name=value` and may be repeated; `after_time` and
    `before_time` bound the time of submission (from, and before); `error` is a text that the job's error has in it (type,
    message or traceback; small and capital letters are the same).
    """

    state: list[str] = []
    owner: str | None = None
    queue: str | None = None
    handler: str | None = None
    label: list[str] = []
    error: str | None = None
    run: str | None = None
    after_time: str | None = None
    before_time: str | None = None


class FindQuery(Filter, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Filters of a listing; all must hold.

    `state` may be repeated, or be a list with commas; `label` is `name=value` and may be repeated; `after_time` and
    `before_time` bound the time of submission (from, and before); `error` is a text that the job's error has in it (type,
    message or traceback; small and capital letters are the same).
    """

    limit: Limit = 100
    cursor: str | None = None


def query_of(given: Filter, *, where: str = "", cursor: str | None = None, limit: int = 100) -> Query:
    """Turn filters into the store's. Raises Invalid, naming the field, which is found below `where`."""
    if given.error is not None and not 0 < len(given.error) <= _MOST_TEXT:
        raise Invalid(where + "error", f"is 1 to {_MOST_TEXT} characters")
    if given.run is not None and given.error is not None:
        raise Invalid(where + "error", "does not go with run: look at the run's jobs with state=failed")
    if isinstance(given, FindQuery):
        cursor, limit = given.cursor, given.limit
    check_cursor(cursor)
    return Query(
        states=[_state(text, where) for listed in given.state for text in listed.split(",")],
        owner=given.owner,
        queue=given.queue,
        handler=given.handler,
        labels=[_label(text, where) for text in given.label],
        error=given.error,
        run=given.run,
        from_id=_bound(where + "after_time", given.after_time),
        below_id=_bound(where + "before_time", given.before_time),
        cursor=cursor,
        limit=limit,
    )


def check_cursor(cursor: str | None, field: str = "cursor", *, prefix: str = "") -> None:
    """Raise Invalid for what cannot be where a page has ended: its last id, which begins with `prefix`."""
    if cursor and not (cursor.startswith(prefix) and is_id(cursor.removeprefix(prefix))):
        raise Invalid(field, "is none that a page has given: take `next`, or `Link`, of the page before")


def moment(field: str, text: str | None) -> int | None:
    """Return the microseconds that a parameter means. Raises Invalid."""
    if text is None:
        return None
    try:
        return min(max(parse_time(text), _EARLIEST), _LATEST)
    except ValueError as error:
        raise Invalid(field, str(error)) from None


def _state(text: str, where: str) -> State:
    try:
        return State(text.strip())
    except ValueError:
        raise Invalid(where + "state", f"{text!r} is no state; there are {', '.join(State)}") from None


def _label(text: str, where: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise Invalid(where + "label", f"{text!r} is not name=value")
    return name, value


def _bound(field: str, text: str | None) -> str | None:
    at = moment(field, text)
    return None if at is None else floor_id(at)
