"""An app with all that handlers can be given for comfort, for tests: sync and async in one."""

from __future__ import annotations

import dataclasses
import os
from typing import Literal

import rota

app = rota.App()
started: list[int] = []


@app.on_start
def start() -> None:
    started.append(os.getpid())


@app.middleware
def outer(call: rota.Call):
    call.ctx.log(f"outer {call.handler} {sorted(call.kwargs)}")
    if "tag" in call.kwargs:
        call.kwargs["tag"] += "!"
    try:
        yield
    except ZeroDivisionError as error:
        raise rota.Fail("nobody divides by zero") from error
    except LookupError:
        call.result = "found nothing"
    else:
        if isinstance(call.result, dict):
            call.result["seen"] = True


@app.middleware
async def inner(call: rota.Call):
    call.ctx.log("inner")
    yield


@app.handler
def draw(
    width: int, shape: Shape | None = None, colours: list[str] | None = None, mode: Literal["fill", "line"] = "fill",
    *, tag: str = "t", ctx: rota.Context,
):  # fmt: skip
    """Draw a shape.

    It has a width.
    """
    if width == 0:
        1 / 0  # noqa: B018
    if width == 1:
        raise KeyError("x")
    if width == 2:
        ctx.snooze("5m")
    if width == 3:
        raise rota.Retry("busy", after="30s")
    area = 0 if shape is None else shape.area
    return {"width": width, "area": area, "tag": tag, "mode": mode, "started": started == [os.getpid()]}


@app.handler
async def adraw(width: int, shape: Shape | None = None, *, tag: str = "t", ctx: rota.Context):
    return draw(width, shape, tag=tag, ctx=ctx)


@dataclasses.dataclass
class Shape:  # after what names it, as annotations may
    height: int
    depth: int = 1

    @property
    def area(self) -> int:
        return self.height * self.depth


@app.handler
def steps(how: str, ctx: rota.Context):
    done = ctx.restore(0, type=int)
    ctx.checkpoint(done + 1)
    if done == 0 and how == "kill":
        os.kill(os.getpid(), 9)
    if done == 0 and how == "raise":
        raise RuntimeError("not yet")
    return [done, ctx.restore()]


@app.handler
async def asteps(how: str, ctx: rota.Context):
    return steps(how, ctx)


@app.handler
def keeps(what: str, ctx: rota.Context):
    ctx.checkpoint({"object": object(), "long": "x" * (1 << 20), "fine": None}[what])
