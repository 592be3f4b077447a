"""A worker deploys the schedules that its apps declare, as `rota schedule deploy` does."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

from rota import log
from rota.client.work_queue import Deployment, HttpWorkQueue
from rota.core.errors import RotaError, Unavailable
from rota.core.retry import Backoff
from rota.worker.frames import Declared
from rota.worker.loops import cancel, wait_for

_PAUSES = Backoff(base=0.5, factor=2, limit=30)
_FIRST_S = 10.0  # how long jobs wait for it
_log = log.get("worker.deploying")
_Pause = Callable[[float], Awaitable[None]]


class Deployer:
    """Deploys what a worker's apps declare; unless it is `on`, nothing."""

    def __init__(self, queue: HttpWorkQueue, *, on: bool) -> None:
        self._queue = queue
        self._on = on
        self._task: asyncio.Task[None] | None = None

    async def begin(self, declared: Sequence[Declared], *, anyway: bool = False) -> None:
        """Deploy, in place of what is under way; return after the first try, which may go on if the server is away."""
        await self.stop()
        if self._on and declared:
            tried = asyncio.Event()
            self._task = asyncio.create_task(deploy(self._queue, declared, tried, anyway=anyway), name="deploy")
            await wait_for(tried, _FIRST_S)

    async def stop(self) -> None:
        """Give up what is under way."""
        if self._task is not None:
            await cancel([self._task])


async def deploy(
    queue: HttpWorkQueue,
    declared: Sequence[Declared],
    tried: asyncio.Event,
    *,
    anyway: bool = False,
    pause: _Pause = asyncio.sleep,
) -> None:
    """Deploy what each app declares, and say what became of it; a server that is away is waited for.

    Every worker of an app does so when it starts. That is no harm: the same again changes nothing, and what was replaced
    does not come back, unless `anyway`. `tried` is set as soon as that server is away, or when all is done.
    """
    try:
        for app in declared:
            await _deploy(queue, app, tried, pause, anyway=anyway)
    finally:
        tried.set()


async def _deploy(queue: HttpWorkQueue, app: Declared, tried: asyncio.Event, pause: _Pause, *, anyway: bool) -> None:
    failures, wrong = 0, app.wrong
    while wrong is None:
        try:
            _say(app, await queue.deploy(app.origin, app.schedules, anyway=anyway))
            return
        except (Unavailable, OSError):  # the supervisor says that nobody answers
            tried.set()
            failures += 1
            await pause(_PAUSES.delay_s(failures, random.random()))  # noqa: S311  # no secret
        except RotaError as refusal:
            wrong = str(refusal)
    _log.warning("schedules_not_deployed", origin=app.origin, error=wrong)


def _say(app: Declared, done: Deployment) -> None:
    changed = [f"{each.name} {each.what}" for each in done.schedules if each.what != "kept"]
    if done.older:
        _log.warning("schedules_older", origin=app.origin)
    elif changed:
        _log.info("schedules_deployed", origin=app.origin, done=", ".join(changed))
