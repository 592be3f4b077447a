"""Loops that nothing ends but their owner: a step is taken again and again, and an error costs a pause that grows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

from rota import log
from rota.core.errors import NotFound, RotaError
from rota.core.retry import Backoff
from rota.worker.contact import Away

_PAUSES = Backoff(base=0.1, factor=2, limit=5)
_log = log.get("worker.loops")


class Over(Exception):
    """There is nothing more to do: ends a loop, quietly."""


async def repeat(
    name: str, step: Callable[[], Awaitable[bool]], *, longest_pause_s: float, jitter: Callable[[], float]
) -> None:
    """Take a step again and again; return when it raises Over. Raises NotFound.

    A step returns whether it was of use. One vain step is a false alarm, as they happen, and the next follows at once;
    after more of them, and after an error, there is a pause.
    """
    vain = 0
    while True:
        try:
            if await step():
                vain = 0
                continue
            if not vain:
                vain = 1
                continue
        except Over:
            return
        except NotFound:
            raise
        except Away:
            pass
        except RotaError as refusal:
            _log.error("verb_refused", verb=name, error=str(refusal))
        except Exception:
            _log.exception("loop_failed", loop=name)
        vain += 1
        await asyncio.sleep(min(_PAUSES.delay_s(vain, jitter()), longest_pause_s))


async def cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks, and return when they have ended."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def wait_for(event: asyncio.Event, seconds: float | None) -> None:
    """Wait for an event, `seconds` at most."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
