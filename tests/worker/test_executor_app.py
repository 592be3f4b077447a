"""The user's side: App, Context, and running a handler inline."""

import asyncio
import subprocess
import sys
from datetime import timedelta

import pytest

import rota
from rota.core.states import Outcome
from rota.worker.testing import NOON, run_inline

app = rota.App()


@app.handler
def double(n: int) -> int:
    """Double a number.

    More text.
    """
    return 2 * n


@app.handler(name="said", timeout="1m30s", retries=2)
async def says(word, *, ctx: rota.Context):
    await asyncio.sleep(0)
    ctx.log("one\n")
    ctx.log("two")
    ctx.progress(0.5, "half")
    ctx.call_hook({"word": word})
    return [word, ctx.attempt, ctx.owner, ctx.aborting, ctx.deadline.isoformat() if ctx.deadline else None]


@app.handler
def fails(how):
    raise {"refuse": rota.Fail("no"), "snooze": rota.Snooze(3), "retry": rota.Retry(after=4), "x": KeyError("k")}[how]


def test_the_functions_stay_functions():
    assert double(4) == 8
    assert app.handlers["said"].function is says


def test_specs():
    spec = app.handlers["double"].spec
    assert (spec.name, spec.mode, spec.doc, spec.parameters) == ("double", "process", "Double a number.", ["n"])
    spec = app.handlers["said"].spec
    assert (spec.mode, spec.timeout, spec.retries, spec.parameters) == ("async", 90.0, 2, ["word"])


def test_wrong_handlers():
    wrong = rota.App()
    with pytest.raises(ValueError, match="no name"):
        wrong.handler(lambda: None)
    with pytest.raises(ValueError, match="no name"):
        wrong.handler(name="a:b")(double)
    with pytest.raises(ValueError, match="0 or more"):
        wrong.handler(retries=-1)(double)
    with pytest.raises(ValueError, match="duration"):
        wrong.handler(timeout="soon")(double)
    with pytest.raises(TypeError, match="positional-only"):

        @wrong.handler
        def f(ctx, /):
            pass

    wrong.handler(double)
    with pytest.raises(ValueError, match="two handlers named 'double'"):
        wrong.handler(double)
    assert list(wrong.handlers) == ["double"]


def test_inline():
    assert run_inline(app, "double", {"n": 4}).result == 8
    assert run_inline(app, double, 4).result == 8
    assert run_inline(app, double, args=[4]).result == 8
    ran = run_inline(app, says, "hi", attempt=3, owner="ana", timeout_s=60)
    assert ran.outcome is Outcome.SUCCEEDED
    assert ran.result == ["hi", 3, "ana", False, (NOON + timedelta(seconds=60)).isoformat()]
    assert (ran.lines, ran.hook_calls) == (["one", "two"], [{"word": "hi"}])
    assert [(p.fraction, p.message) for p in ran.updates] == [(0.5, "half")]
    with pytest.raises(KeyError):
        run_inline(app, "nobody")


def test_inline_outcomes():
    assert run_inline(app, "fails", "refuse").refused
    assert (run_inline(app, "fails", "snooze").outcome, run_inline(app, "fails", "snooze").retry_in_s) == ("snoozed", 3)
    assert run_inline(app, "fails", "retry").retry_in_s == 4
    error = run_inline(app, "fails", "x").error
    assert error is not None and error.type == "KeyError" and "in fails" in (error.traceback or "")
    assert run_inline(app, "double", {"wrong": 1}).outcome is Outcome.ERRORED


def test_progress_is_a_fraction():
    for wrong in (1.5, -1, float("nan")):
        with pytest.raises(ValueError, match="from 0 to 1"):
            rota.Context("j", 1, "o", None, None).progress(wrong)  # type: ignore[arg-type]


def test_importing_rota_imports_nothing():
    code = "import sys, rota; print(sorted(m for m in sys.modules if m.startswith(('rota.', 'msgspec', 'httpx'))))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    keeper = "import sys, rota.worker.keeper; print([m for m in sys.modules if m in ('msgspec', 'asyncio')])"
    assert subprocess.run([sys.executable, "-c", keeper], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_what_rota_exports():
    for name in ("App", "Context", "Aborted", "Fail", "Snooze", "Retry", "Client", "AsyncClient"):
        assert getattr(rota, name).__name__ == name
    with pytest.raises(AttributeError):
        rota.nothing  # noqa: B018
    assert not issubclass(rota.Aborted, Exception)
