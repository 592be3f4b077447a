"""What a job demands of when and where it starts: labels of its worker, slots, a key that it is limited by. Checked, no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from rota.core.errors import Invalid
from rota.core.jobs import NO_INPUTS, HandlerSpec, Submission
from rota.core.keys import MAX_KEY, check_places, fill_key
from rota.core.needs import MAX_NEEDS, Value, text_of

MAX_NAME = 200
MAX_SLOTS = 1000
_NAME = re.compile(r"[^\x00-\x1f\x7f]+")


@lru_cache(maxsize=1024)  # the same few names come again and again
def is_name(name: str) -> bool:
    """Say whether a text is not empty, and has no control characters."""
    return _NAME.fullmatch(name) is not None


def check_key(field: str, key: str, where: str) -> None:
    """Raise Invalid unless this can be a key."""
    if len(key) > MAX_NAME or not is_name(key):
        raise Invalid(where + field, f"is 1 to {MAX_NAME} characters, no control characters")


def check_needs(field: str, needs: Mapping[str, str | bool | float], where: str) -> None:
    """Raise Invalid unless these can be needs, or a worker's labels."""
    if len(needs) > MAX_NEEDS:
        raise Invalid(where + field, f"are at most {MAX_NEEDS}")
    for name, value in needs.items():
        if not (0 < len(name) <= 100 and is_name(name) and "=" not in name):
            raise Invalid(where + field, "have names of 1 to 100 characters, without '=' and control characters")
        if len(text_of(value)) > MAX_NAME or (isinstance(value, str) and value and not is_name(value)):
            raise Invalid(where + field, f"have values of at most {MAX_NAME} characters, without control characters")


def demands_of(s: Submission, where: str, spec: HandlerSpec | None) -> tuple[dict[str, Value] | None, int, str | None]:
    """Return what a job needs, how many slots it takes, and its key, if any. Raises Invalid.

    What it does not say its handler says, if it is known. An array has no key, whatever its handler says.
    """
    check_needs("needs", s.needs or {}, where)
    if s.slots is not None:
        check_slots(s.slots, where)
    is_array = s.inputs != NO_INPUTS or s.map is not None
    if s.limit_key is not None and is_array:
        raise Invalid(where + "limit_key", "is a job's alone; how many inputs run at once is what parallel says")
    if spec is None:
        return s.needs or None, s.slots or 1, None if s.limit_key is None else _filled(s.limit_key, s, where)
    template = spec.limit_key if s.limit_key is None and not is_array else s.limit_key
    return (
        (spec.needs if s.needs is None else s.needs) or None,
        s.slots or spec.slots or 1,
        None if template is None else _filled(template, s, where),
    )


def check_spec(spec: HandlerSpec, where: str) -> None:
    """Raise Invalid unless a handler's jobs can be what it says of them."""
    check_needs("needs", spec.needs, where)
    if spec.slots is not None:
        check_slots(spec.slots, where)
    if spec.limit_key is not None:
        check_key("limit_key", spec.limit_key, where)
        try:
            check_places(spec.limit_key)
        except ValueError as error:
            raise Invalid(where + "limit_key", str(error)) from None


def check_slots(slots: int, where: str) -> None:
    """Raise Invalid unless a job can take so many."""
    if not 1 <= slots <= MAX_SLOTS:
        raise Invalid(where + "slots", f"are 1 to {MAX_SLOTS:,}")


def _filled(template: str, s: Submission, where: str) -> str:
    """Return the key that a template makes of a submission's data. Raises Invalid."""
    check_key("limit_key", template, where)
    try:
        key = fill_key(template, s.data)
    except ValueError as error:
        raise Invalid(where + "limit_key", str(error)) from None
    if len(key) > MAX_KEY:
        raise Invalid(where + "limit_key", f"comes to {len(key):,} characters, and a key has at most {MAX_KEY}")
    check_key("limit_key", key, where)
    return key
