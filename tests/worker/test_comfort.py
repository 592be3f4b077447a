"""Handlers' comfort: typed arguments, middlewares, a start for each process, ends that say more, results of many types."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import functools
import uuid
from typing import Any

import msgspec
import pytest
from msgspec import Raw

import rota
from rota.core.arguments import MAX_SCHEMA, Fit, check_fit
from rota.core.checkpoints import Checkpoint, CheckpointNote
from rota.core.errors import Invalid
from rota.core.states import Outcome
from rota.worker.output import Output
from rota.worker.signatures import Signature
from rota.worker.testing import run_inline
from tests.worker.comfort_app import app
from tests.worker.executor_rig import live, rigged, value


@pytest.mark.parametrize("handler", ["draw", "adraw"])
@live
async def test_sync_and_async_handlers_get_the_same_comfort(handler: str):
    async with rigged("tests.worker.comfort_app:app") as rig:
        lease = rig.lease(handler, {"width": 5, "shape": {"height": 3, "depth": 2}, "tag": "a"})
        assert value(await rig.run(lease)) == {
            "width": 5, "area": 6, "tag": "a!", "mode": "fill", "started": True, "seen": True,
        }  # fmt: skip
        inner = ["inner"] if handler == "adraw" else []
        assert rig.text(lease, "log").splitlines() == [f"outer {handler} ['shape', 'tag', 'width']", *inner]
        assert value(await rig.run(rig.lease(handler, 1))) == "found nothing"
        failed = await rig.run(rig.lease(handler, 0))
        assert failed.refused and failed.error and failed.error.message == "nobody divides by zero"
        snoozed = await rig.run(rig.lease(handler, {"width": 2}))
        assert (snoozed.outcome, snoozed.retry_in_s, snoozed.error) == (Outcome.SNOOZED, 300, None)
        retried = await rig.run(rig.lease(handler, {"width": 3}))
        assert (retried.outcome, retried.retry_in_s, retried.refused) == (Outcome.ERRORED, 30, False)
        wrong = await rig.run(rig.lease(handler, {"width": "5"}))
        assert wrong.outcome is Outcome.ERRORED and wrong.error
        assert wrong.error.message == "the argument width does not fit: Expected `int`, got `str`"


@pytest.mark.parametrize("handler", ["steps", "asteps"])
@pytest.mark.parametrize("how", ["raise", "kill"])
@live
async def test_a_checkpoint_outlives_what_left_it(handler: str, how: str):
    async with rigged("tests.worker.comfort_app:app") as rig:
        lease = rig.lease(handler, how)
        report = await rig.run(lease)
        assert report.outcome is (Outcome.LOST if how == "kill" else Outcome.ERRORED)
        (left,) = [each for each in rig.output if isinstance(each, CheckpointNote)]  # before the report
        assert (left.job, left.attempt, bytes(left.value)) == (lease.job, lease.attempt, b"1")
        again = rig.lease(handler, how, checkpoint=Checkpoint(left.attempt, left.value))
        assert value(await rig.run(again)) == [1, 2]
        assert "has no checkpoint" in str((await rig.run(rig.lease(handler, index=0, inputs=[Raw(b'"x"')]))).error)


def test_a_checkpoint_has_its_bounds():
    assert run_inline(app, "keeps", "fine").checkpoints == [None]
    assert run_inline(app, "steps", "raise", checkpoint=4).result == [4, 5]
    for what, kind in (("object", "TypeError"), ("long", "ValueError")):
        error = run_inline(app, "keeps", what).error
        assert error is not None and error.type == kind


def test_of_checkpoints_the_newest_is_told_and_none_is_dropped():
    output = Output(lambda: 0.0)
    for n in range(30):
        for job in ("a", "b", "c"):
            output.put(CheckpointNote(job=job, attempt=1, value=Raw(b'"%s"' % (b"%d" % (n % 10) * 200_000))))
    told = []
    while output.due_in_s() is not None:
        batch = output.batch()
        assert all(output.is_pending((note.job, 1)) for note in batch.checkpoints), "a report has to wait for it"
        told += batch.checkpoints
        output.told()
    assert [(note.job, bytes(note.value)[1:2]) for note in told] == [("a", b"9"), ("b", b"9"), ("c", b"9")]
    assert not any(output.is_pending((job, 1)) for job in "abc")


def test_durations_are_said_in_three_ways():
    assert rota.Snooze("1h30m").seconds == 5400 == rota.Snooze(5400).seconds
    assert rota.Retry(after=datetime.timedelta(minutes=2)).after == 120
    assert str(rota.Retry(after="2m")) == "retry after 120 s"
    for wrong in ("soon", -1, datetime.timedelta(seconds=-1), float("nan")):
        with pytest.raises(ValueError, match="duration"):
            rota.Retry(after=wrong)
        with pytest.raises(ValueError, match="duration"):
            rota.Context("j", 1, "o", None, None).snooze(wrong)  # type: ignore[arg-type]


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Report:
    at: datetime.datetime
    pages: set[int]


class Money(msgspec.Struct):
    amount: decimal.Decimal
    of: uuid.UUID


RESULTS = [
    (Report(datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC), {3}), Report),
    (Money(decimal.Decimal("1.10"), uuid.UUID(int=7)), Money),
    (b"\0\1", bytes), ({3, 4}, set[int]), (Colour.RED, Colour), ((1, "a"), tuple[int, str]),
    (datetime.timedelta(seconds=90), datetime.timedelta), ({1: 2}, dict[int, int]), (2**70, int),
]  # fmt: skip


@pytest.mark.parametrize(("result", "kind"), RESULTS, ids=lambda value: type(value).__name__)
def test_results_of_many_types_come_back(result: Any, kind: Any):
    made = rota.App()

    @made.handler
    def give():
        return result

    ran = run_inline(made, "give")
    assert ran.outcome is Outcome.SUCCEEDED, ran.error
    if result != 2**70:  # what JSON can hold and msgspec's ints cannot comes back as a float
        assert msgspec.convert(ran.result, kind, str_keys=True) == result


@pytest.mark.parametrize("result", [object(), {object(): 1}, {1, object()}, lambda: 1, "\ud800"])
def test_what_cannot_be_encoded_is_a_bad_result(result: Any):
    made = rota.App()

    @made.handler
    def give():
        return result

    assert run_inline(made, "give").outcome is Outcome.BAD_RESULT


def fit_of(function: Any) -> Fit:
    schema = Signature(function).schema("f", "")
    assert schema is not None
    return Fit(bytes(schema))


def refusal(fit: Fit, data: Any = None, args: Any = ()) -> str | None:
    try:
        fit.check(msgspec.json.encode(data), msgspec.json.encode(list(args)))
    except Invalid as wrong:
        return str(wrong)
    return None


def test_what_does_not_fit_a_signature_is_named():
    fit = fit_of(app.handlers["draw"].function)
    assert refusal(fit, {"width": 80}) is None
    assert refusal(fit, 80) is None
    assert refusal(fit, {"shape": None, "colours": ["a"], "mode": "line"}, [80]) is None
    assert refusal(fit, {"width": "80"}) == "data.width: expected int, got str"
    assert refusal(fit, "80") == "data: expected int, got str"
    assert refusal(fit, None, ["80"]) == "args[0]: expected int, got str"
    assert refusal(fit) == "data.width: is missing"
    assert refusal(fit, {"width": 1, "wide": 2}) == (
        "data.wide: is no argument of the handler; it takes width, shape, colours, mode, tag"
    )
    assert refusal(fit, {"width": 1, "shape": {"height": "x"}}) == "data.shape.height: expected int, got str"
    assert refusal(fit, {"width": 1, "shape": {}}) == "data.shape.height: is missing"
    assert refusal(fit, {"width": 1, "colours": ["a", 2]}) == "data.colours[1]: expected str, got int"
    assert refusal(fit, {"width": 1, "mode": "dots"}) == "data.mode: invalid enum value 'dots'"
    assert refusal(fit, {"width": 1}, [1]) == "data.width: is given twice, also by position"
    assert refusal(fit, 9, [1, None, None, "fill"]) == (
        "data: is one too many: the handler takes 4 arguments by position"
    )
    assert refusal(fit, {"ctx": 1, "width": 1}) is not None


def test_all_kinds_of_parameters():
    def kinds(a: int, /, b: str = "x", *more: float, c: bool, **others: int):
        pass

    fit = fit_of(kinds)
    assert refusal(fit, {"c": True}, [1, "b", 2.5, 3]) is None
    assert refusal(fit, {"c": True, "z": 9}, [1]) is None
    assert refusal(fit, {"c": True}, [1, "b", "2"]) == "args[2]: expected float, got str"
    assert refusal(fit, {"a": 1, "c": True}) == "args: a is missing, which is given by position"
    assert refusal(fit, {"b": "y"}, [1]) == "data.c: is missing"


def test_without_annotations_the_names_are_checked():
    def plain(a, b=2):
        pass

    fit = fit_of(plain)
    assert refusal(fit, {"a": object.__name__, "b": [1, {}]}) is None
    assert refusal(fit, {}) == "data.a: is missing"
    assert refusal(fit, {"a": 1, "d": 1}) == "data.d: is no argument of the handler; it takes a, b"
    assert refusal(fit, 1, [1, 2]) == "data: is one too many: the handler takes 2 arguments by position"

    def nothing():
        pass

    assert refusal(fit_of(nothing), 1) == "data: is one too many: the handler takes no arguments by position"


def test_annotations_that_nothing_decodes_into_check_nothing():
    import pathlib

    def odd(a: pathlib.Path, b: Nowhere, c: Any, d: 1 + 1, e: object, f: Fit | dict):  # type: ignore  # noqa: F821
        pass

    assert refusal(fit_of(odd), {name: [1] for name in "abcdef"}) is None
    assert not Signature(odd).typed


class Tree(msgspec.Struct):
    leaves: list[Tree] = []


def test_recursive_types_are_checked_by_the_worker():
    def climb(tree: Tree):
        assert isinstance(tree, Tree)

    assert refusal(fit_of(climb), {"tree": {"leaves": 3}}) == "data.tree.leaves: expected array, got int"
    assert refusal(fit_of(climb), {"tree": {"leaves": [3]}}) is None
    made = rota.App()
    made.handler(climb)
    assert run_inline(made, "climb", {"tree": {"leaves": [{"leaves": []}]}}).outcome is Outcome.SUCCEEDED
    assert run_inline(made, "climb", {"tree": {"leaves": [3]}}).outcome is Outcome.ERRORED


def test_what_wraps_another_function_may_take_anything():
    def inject(function: Any):
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any):
            return function("db", *args, **kwargs)

        return wrapper

    made = rota.App()

    @made.handler
    @inject
    def store(db: str, n: int):
        return [db, n]

    assert made.handlers["store"].signature.schema("store", "") is None
    assert run_inline(made, "store", 3).result == ["db", 3]


def test_a_schema_is_small():
    def many(a: int, b: int = 3, c: str = "x" * 500):
        pass

    def huge(a: Any):
        pass

    huge.__annotations__["a"] = msgspec.defstruct("Huge", [(f"field_{n}", int) for n in range(1000)])
    schema = msgspec.json.decode(Signature(many).schema("many", "what it does"))
    assert schema["properties"]["b"] == {"type": "integer", "default": 3}
    assert "default" not in schema["properties"]["c"] and schema["description"] == "what it does"
    small = Signature(huge).schema("huge", "")
    assert small is not None and len(bytes(small)) <= MAX_SCHEMA
    assert refusal(Fit(bytes(small)), {"a": 1}) is None and refusal(Fit(bytes(small)), {}) == "data.a: is missing"


def test_of_two_versions_either_may_take_it():
    def old(a: int):
        pass

    def new(a: int, b: int):
        pass

    both: list[Fit | None] = [fit_of(new), fit_of(old)]
    check_fit(both, b'{"a": 1}', b"[]")
    check_fit(both, b'{"a": 1, "b": 2}', b"[]")
    with pytest.raises(Invalid, match=r"data\.c: is no argument"):
        check_fit(both, b'{"a": 1, "c": 2}', b"[]")
    check_fit([fit_of(new), None], b"7", b"[]")
    check_fit([], b"7", b"[]")


@pytest.mark.parametrize(
    "schema",
    [b"[]", b'{"properties": 1}', b'{"x-by-position": [1]}', b"nonsense"],
)
def test_what_is_no_schema_is_refused(schema: bytes):
    with pytest.raises(ValueError, match="no schema"):
        Fit(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"$ref": "#/$defs/none"}}},
        {"properties": {"a": {"type": ["integer", "null"]}, "b": {"anyOf": []}, "c": {"enum": [1.5]}, "d": 3}},
        {"properties": {"a": {"type": "integer", "minimum": "x"}, "b": {"type": "string", "minLength": -1}}},
        {"properties": {"a": {"anyOf": [{"type": "object"}, {"type": "object", "properties": {}}]}}},
        {"properties": {"a": {"type": "array", "prefixItems": []}, "b": {"type": "object", "required": 3}}},
    ],
)
def test_a_schema_of_another_make_checks_what_it_can(schema: Any):
    assert refusal(Fit(msgspec.json.encode(schema)), {"a": [1], "b": {}, "c": 2, "d": None}) in (
        None, "data.a: expected int, got array", "data.b: expected str, got object",
    )  # fmt: skip


def test_wrong_middlewares():
    made = rota.App()
    with pytest.raises(TypeError, match="yields once"):
        made.middleware(lambda call: None)  # type: ignore[arg-type,return-value]
    with pytest.raises(TypeError, match="plain function"):

        @made.on_start  # type: ignore[arg-type]
        async def start():
            pass


def test_a_start_that_fails_is_the_attempts_error():
    made = rota.App()

    @made.on_start
    def start():
        raise OSError("no licence")

    @made.handler
    def noop():
        pass

    error = run_inline(made, "noop").error
    assert error is not None and error.message == "no licence"


def test_formats_are_checked():
    def take(id: uuid.UUID, price: decimal.Decimal, wait: datetime.timedelta, day: datetime.date, raw: bytes):
        return [type(each).__name__ for each in (id, price, wait, day, raw)]

    good = {"id": str(uuid.UUID(int=1)), "price": "1.5", "wait": "PT1M", "day": "2030-01-01", "raw": "AAE="}
    assert refusal(fit_of(take), good) is None
    for name in good:
        assert (refusal(fit_of(take), good | {name: "?"}) or "").startswith(f"data.{name}: "), name
    made = rota.App()
    made.handler(take)
    assert run_inline(made, "take", good).result == ["UUID", "Decimal", "timedelta", "date", "bytes"]
