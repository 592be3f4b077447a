"""Where the time of a job went, by its events: it waited for other jobs, for its time, for a slot, ran, backed off."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

from rota.core.jobs import Event
from rota.core.states import FINAL, Outcome, State
from rota.core.times import SECOND

Part = Literal["dependency", "scheduled", "queued", "ran", "backoff", "other"]
_PARTS: tuple[Part, ...] = ("dependency", "scheduled", "queued", "ran", "backoff", "other")
_BY_STATE: dict[State, Part] = {State.BLOCKED: "dependency", State.QUEUED: "queued", State.RUNNING: "ran"}
_NO_FAILURES = {Outcome.SUCCEEDED.value, Outcome.SNOOZED.value, Outcome.INTERRUPTED.value}
_FAILURES = frozenset(outcome.value for outcome in Outcome if outcome.value not in _NO_FAILURES)
_MOST_SPANS = 100
_WORDS: tuple[tuple[Part, str], ...] = (
    ("dependency", "waited for other jobs"),
    ("scheduled", "for its time"),
    ("queued", "for a slot"),
    ("ran", "ran"),
)


class Span(Struct, frozen=True, kw_only=True):
    """One stretch of a job's life, in seconds since its submission; `attempt` is the one that ran, or the last one before."""

    part: Part
    begin_s: float
    end_s: float
    attempt: int


class Spent(Struct, frozen=True, kw_only=True):
    """Where the time of a job went, in seconds, from its submission to its end, or until now; the parts sum to `total_s`.

    It waited for other jobs (`dependency_s`), for its time or the end of a snooze (`scheduled_s`), for a slot (`queued_s`),
    `ran_s`, and backed off after failed attempts (`backoff_s`). `other_s` is what its history is too long to tell of.
    `attempts` were begun (of an array: shards), `retries` of them after one that failed. `text` says it in words; `spans`
    are the last 100 stretches that it is the sum of, the first first.
    """

    dependency_s: float = 0.0
    scheduled_s: float = 0.0
    queued_s: float = 0.0
    ran_s: float = 0.0
    backoff_s: float = 0.0
    other_s: float = 0.0
    total_s: float = 0.0
    attempts: int = 0
    retries: int = 0
    text: str = ""
    spans: list[Span] = []


def spent(submitted_at: int, until: int, events: Iterable[Event], *, attempts: int, whole: bool = True) -> Spent:
    """Add up a job's life from `submitted_at` to `until`, by its events, the first first. `whole`: these are all of them.

    A clock that was set back takes no time away: no event is earlier than the one before it.
    """
    took: dict[Part, int] = dict.fromkeys(_PARTS, 0)
    spans: list[Span] = []
    part: Part = "other"
    at, attempt, retries, failed = submitted_at, 0, 0, False

    def take(to: int) -> None:
        nonlocal at
        took[part] += to - at
        begin_s, end_s = (at - submitted_at) / SECOND, (to - submitted_at) / SECOND
        if spans and (spans[-1].part, spans[-1].attempt) == (part, attempt):
            begin_s = spans.pop().begin_s
        if end_s > begin_s or part == "ran":
            spans.append(Span(part=part, begin_s=begin_s, end_s=end_s, attempt=attempt))
        at = to

    for event in events:
        take(min(max(event.at, at), until))
        if event.kind == "started":
            retries += failed
            failed = False
        elif event.kind in _FAILURES and event.state not in FINAL:
            failed = True
        part, attempt = _part(event, failed), event.attempt
    if not whole:
        part = "other"
    take(until)
    seconds = {f"{name}_s": micros / SECOND for name, micros in took.items()}
    return Spent(
        **seconds, total_s=(until - submitted_at) / SECOND, attempts=attempts, retries=retries,
        text=_text(took, retries), spans=spans[-_MOST_SPANS:],
    )  # fmt: skip


def _part(event: Event, failed: bool) -> Part:
    if event.state is State.SCHEDULED:
        return "backoff" if failed else "scheduled"
    return _BY_STATE.get(event.state, "other")


def _text(took: dict[Part, int], retries: int) -> str:
    parts = [
        f"{words} {in_words(took[part] / SECOND)}" for part, words in _WORDS if took[part] or part in ("queued", "ran")
    ]
    if not parts[0].startswith("waited"):
        parts[0] = f"waited {parts[0]}"
    if took["backoff"] or retries:
        pause = f"back-off {in_words(took['backoff'] / SECOND)}"
        times = {0: "", 1: "retried once", 2: "retried twice"}.get(retries, f"retried {retries} times")
        parts.append(f"{times} ({pause})" if times else pause)
    if took["other"]:
        parts.append(f"more than its history tells: {in_words(took['other'] / SECOND)}")
    return ", ".join(parts)


def in_words(seconds: float) -> str:
    """Write a duration as people say it: `0 s`, `0.35 s`, `41 s`, `3 min 20 s`, `2 h 5 min`, `4 d 2 h`."""
    if seconds < 59.5:
        return f"{seconds:.0f} s" if seconds >= 10 or seconds == 0 else f"{seconds:.2g} s"
    whole = round(seconds)
    for size, unit, below, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            count, rest = divmod(whole, size)
            return f"{count} {unit}" + (f" {rest // below} {smaller}" if rest // below else "")
    return f"{whole} s"
