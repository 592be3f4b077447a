"""Puts a worker together: the work queue over HTTP, the pool of processes, the supervisor."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from rota import log, tracing
from rota.client.work_queue import HttpWorkQueue
from rota.core.checkpoints import CheckpointNote
from rota.core.errors import Invalid
from rota.core.jobs import HandlerSpec, HookCall, LogChunk, ProgressNote, WorkerHello
from rota.settings import Settings
from rota.wiring.deploying import Deployer
from rota.worker import engine, proctree
from rota.worker.executor import Executor
from rota.worker.images import ImageRunner
from rota.worker.pool import Pool
from rota.worker.routing import ByKind
from rota.worker.secrets import Secrets, WithSecrets
from rota.worker.supervisor import Supervisor, monotonic
from rota.worker.traces import TracedQueue

ASYNC_SLOTS = 250
_log = log.get("worker")


async def run_worker(
    settings: Settings,
    *,
    server: str,
    name: str | None = None,
    queues: Sequence[str] = (),
    lifeline_fd: int | None = None,
    lock_fd: int | None = None,
    reload: bool = False,
) -> None:
    """Run one worker until SIGTERM or SIGINT has drained it.

    Raises rota.worker.pool.AppError when handlers do not import, and rota.worker.identity.BadUser when jobs cannot run as
    the user that is set.

    With `settings.slots` the worker runs at most that many jobs at once; without, one a core in processes, and 250 async
    ones beside them.
    """
    proctree.set_readable(False)  # our environment, with its token, is none of a job's business
    loop = asyncio.get_running_loop()
    if lifeline_fd is not None:  # the server is gone: so are we, and the keeper ends all that we run
        loop.add_reader(lifeline_fd, os._exit, 1)
    cores = len(os.sched_getaffinity(0))
    slots = settings.slots or cores
    supervisor: Supervisor | None = None

    def output(item: LogChunk | ProgressNote | HookCall | CheckpointNote) -> None:
        assert supervisor is not None, "nothing runs before the supervisor does"
        supervisor.on_output(item)

    pool = Pool(
        list(settings.apps),
        slots=slots,
        scripts=True,
        on_output=output,
        keep_fds=() if lock_fd is None else (lock_fd,),
        run_as=settings.run_as,
    )
    images = await _images(settings, pool, output)
    both: Executor = pool if images is None else ByKind(pool, images)
    executor = WithSecrets(both, Secrets(os.environ, settings.secrets))
    queue = HttpWorkQueue(server, token=settings.token, ca_file=settings.ca_file)
    try:
        handlers = await executor.start()
        hello = _hello(
            settings, name, handlers, queues, slots=slots, images=images is not None, owned=lifeline_fd is not None
        )
        traced = TracedQueue(queue) if tracing.is_on() else queue
        supervisor = Supervisor(traced, executor, hello, drain_s=settings.drain_s)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _stop, supervisor)
        await _work(supervisor, pool, Deployer(queue, on=settings.deploy), reload=reload)
    finally:
        await executor.close()
        await queue.aclose()


async def _work(supervisor: Supervisor, pool: Pool, deployer: Deployer, *, reload: bool) -> None:
    """Deploy what the apps declare, and take jobs, until that is over."""
    await deployer.begin(pool.declared, anyway=reload)
    load = partial(_load_again, supervisor, pool, deployer)
    watcher = asyncio.create_task(_watch_files(load)) if reload else None
    try:
        await supervisor.run()
    finally:
        if watcher is not None:
            watcher.cancel()
        await deployer.stop()


def _hello(
    settings: Settings,
    name: str | None,
    handlers: list[HandlerSpec],
    queues: Sequence[str],
    *,
    slots: int,
    images: bool,
    owned: bool,
) -> WorkerHello:
    name = name or f"{socket.gethostname()}-{os.getpid()}"
    log.everywhere(worker=name)
    return WorkerHello(
        arrays=True,
        name=name,
        handlers=handlers,
        scripts=True,
        images=images,
        queues=list(queues),
        labels=dict(_label(text) for text in settings.labels),
        slots=slots,
        async_slots=settings.slots or ASYNC_SLOTS,
        max_jobs=settings.slots,
        pid=os.getpid(),
        host=socket.gethostname(),
        owned=owned,
    )


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise Invalid("labels", f"{text!r} is not NAME=VALUE")
    return name.strip(), value.strip()


async def _images(settings: Settings, pool: Pool, output: Callable[[LogChunk], None]) -> ImageRunner | None:
    """Return what runs images, if there is an engine."""
    place = await asyncio.to_thread(engine.find, settings.engine, os.environ)
    if place is not None:
        return ImageRunner(place, pool, output, monotonic)
    if settings.engine not in (None, "none"):
        _log.warning("engine_missing", engine=settings.engine)
    return None


def _stop(supervisor: Supervisor) -> None:
    """Drain at the first signal, stop at the second."""
    if supervisor.draining:
        supervisor.request_stop_now()
    else:
        supervisor.request_drain()


async def _load_again(supervisor: Supervisor, pool: Pool, deployer: Deployer) -> None:
    """Load the handlers again, and deploy what they declare now, also what they have declared before."""
    await supervisor.reload()
    await deployer.begin(pool.declared, anyway=True)


async def _watch_files(load: Callable[[], Awaitable[None]]) -> None:
    """Load the handlers again when a Python file below the current folder changes (for development)."""
    before = _stamps()
    while True:
        await asyncio.sleep(0.5)
        now = await asyncio.to_thread(_stamps)
        if now != before:
            before = now
            await load()


def _stamps() -> dict[str, int]:
    stamps = {}
    for folder, folders, names in os.walk(Path.cwd()):
        folders[:] = [f for f in folders if not f.startswith(".") and f not in ("node_modules", "__pycache__")]
        for name in names:
            if name.endswith(".py"):
                path = os.path.join(folder, name)
                with suppress(OSError):
                    stamps[path] = os.stat(path).st_mtime_ns
    return stamps
