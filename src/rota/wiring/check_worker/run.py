"""Runs the checks, several at once: each has a server and a worker process of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec import Struct

from rota.core.errors import Invalid
from rota.wiring.check_worker import jobs, leases, network
from rota.wiring.check_worker.ground import LEASE_S, PATIENCE_S, Failed, Ground, Skipped, Worker
from rota.wiring.check_worker.scene import Check, Scene

CHECKS: list[Check] = [*jobs.CHECKS, *network.CHECKS, *leases.CHECKS]
_AT_ONCE = 4
_LONGEST_S = 120.0


class Result(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a check: passed, or `skipped` (why), or `expected` and `seen`, with the worker's last words."""

    name: str
    what: str
    passed: bool
    seconds: float
    skipped: str | None = None
    expected: str | None = None
    seen: str | None = None
    output: list[str] = []


def chosen(names: Sequence[str]) -> list[Check]:
    """Return the checks of these names, or all. Raises Invalid."""
    known = {check.name for check in CHECKS}
    for name in names:
        if name not in known:
            raise Invalid("--only", f"there is no check {name!r}; rota check-worker --list shows them")
    return [check for check in CHECKS if not names or check.name in names]


async def run_checks(
    command: Sequence[str],
    checks: Sequence[Check],
    *,
    handlers: Sequence[str] = (),
    slots: int | None = None,
    lease_s: float = LEASE_S,
    patience_s: float = PATIENCE_S,
    told: Callable[[Result], None] = lambda _: None,
) -> list[Result]:
    """Put a command through checks, several at once; `told` hears of each as it ends.

    `lease_s` is how long leases last, longer for a slow worker on a slow machine; `patience_s` how long things may take
    that the protocol gives no time.
    """
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(check: Check) -> Result:
        async with room:
            with TemporaryDirectory(prefix="rota-check-") as name:
                ground = Ground(Path(name), lease_s=check.leases * lease_s, patience_s=patience_s)
                result = await _run(check, command, ground, tuple(handlers), slots)
        told(result)
        return result

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(check)) for check in checks]
    return [task.result() for task in tasks]


async def _run(
    check: Check, command: Sequence[str], ground: Ground, handlers: tuple[str, ...], slots: int | None
) -> Result:
    began_at = time.monotonic()
    skipped = expected = seen = None
    await ground.open()
    worker = Worker(command, ground, slots)
    scene = Scene(ground, worker, handlers, slots)
    try:
        async with asyncio.timeout(_LONGEST_S):
            await check.run(scene)
        scene.audit()
    except Skipped as why:
        skipped = str(why)
    except Failed as failure:
        expected, seen = failure.expected, failure.seen
    except TimeoutError:
        expected, seen = f"that this takes less than {_LONGEST_S:g} s", "it did not end"
    finally:
        await worker.kill()
        await ground.close()
    output = worker.last_words() if expected else []
    return Result(
        name=check.name, what=check.what, passed=expected is None, seconds=round(time.monotonic() - began_at, 2),
        skipped=skipped, expected=expected, seen=seen, output=output,
    )  # fmt: skip
