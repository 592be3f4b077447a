"""A runner of images for tests, and leases for it."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from msgspec import Raw

from rota.core.jobs import Lease, Limits, LogChunk, Report, RunOptions
from rota.worker.images import ImageRunner
from rota.worker.supervisor import monotonic
from tests.engines import IMAGE, Engine
from tests.worker.executor_rig import until

_numbers = itertools.count(1)


class Guarded:
    """Notes which containers somebody would have to remove."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.ever: list[str] = []

    def guard(self, engine: str, name: str) -> None:
        self.names.add(name)
        self.ever.append(name)

    def unguard(self, name: str) -> None:
        self.names.discard(name)


class Rig:
    """A runner, what was written, and the engine's own view."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.output: list[LogChunk] = []
        self.guarded = Guarded()
        self.runner = ImageRunner(engine.place, self.guarded, self.output.append, monotonic)

    async def run(self, lease: Lease, seconds: float = 60.0) -> Report:
        async with asyncio.timeout(seconds):
            return await self.runner.run(lease)

    def begin(self, lease: Lease) -> asyncio.Task[Report]:
        return asyncio.create_task(self.run(lease))

    def text(self, lease: Lease, stream: str = "stdout") -> str:
        chunks = [c for c in self.output if c.job == lease.job]
        assert [c.n for c in chunks] == list(range(len(chunks)))
        return "".join(c.text for c in chunks if c.stream == stream)

    def there(self, lease: Lease) -> list[dict[str, Any]]:
        """Return the containers of a job that exist, running or not."""
        return self.engine.containers(f"rota.job={lease.job}")

    async def running(self, lease: Lease) -> dict[str, Any]:
        """Wait until a lease's container runs, and return what the engine says of it."""

        def look() -> dict[str, Any] | None:
            seen = [self.engine.find(found["Id"]) for found in self.there(lease)]
            return next((one for one in seen if one is not None and one["State"]["Running"]), None)

        found: dict[str, Any] = await until(look)
        return found

    async def says(self, lease: Lease, text: str, stream: str = "stdout") -> None:
        """Wait until a lease has written something."""
        await until(lambda: text in self.text(lease, stream))


def lease(*arguments: Any, options: RunOptions | None = None, **more: Any) -> Lease:
    """Return a lease of IMAGE with `arguments`."""
    return Lease(
        job=f"job-{next(_numbers)}",
        kind="image",
        args=Raw(msgspec.json.encode(list(arguments))),
        options=options,
        **{"attempt": 1, "image": IMAGE, "grace_s": 1.0, **more},
    )


def shell(script: str, **more: Any) -> Lease:
    """Return a lease that runs a script with the image's sh."""
    return lease("sh", "-c", script, **more)


def limited(**limits: Any) -> RunOptions:
    return RunOptions(limits=Limits(**limits))


@contextlib.asynccontextmanager
async def rigged(engine: Engine) -> AsyncIterator[Rig]:
    """Open a runner; afterwards make sure that no container of it is left."""
    rig = Rig(engine)
    await rig.runner.start()
    try:
        yield rig
    finally:
        await rig.runner.close()
    left = [found["Names"] for found in engine.containers()]
    assert not left
    assert not rig.guarded.names
