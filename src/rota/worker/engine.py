"""The container engine of this machine, Docker or Podman: where it is, and the calls that running a container takes.

`find` looks for it without loading anything; aiodocker is imported when the first container is to run.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from rota.worker import reaper

_SCHEME = "unix://"
_PING_S = 2.0
_CALL_S = 60.0  # for one call that does not wait for a job; an engine that starts 50 containers takes 10 s for the last
_END_S = 20.0  # for one that ends a container
_UNREACHABLE = 900  # aiodocker's status of "cannot connect"
_MISSING, _CONFLICT = 404, 409
_DOCKER, _PODMAN = "/var/run/docker.sock", "/run/podman/podman.sock"


class EngineError(Exception):
    """The engine refused a call. `status` is that of its answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class EngineGone(Exception):
    """The engine cannot be reached, hung up, or does not answer in time."""


def find(setting: str | None, environ: Mapping[str, str]) -> str | None:
    """Return the socket of an engine that answers, if there is one. May block for a few seconds.

    `setting` is the URL of a socket, `unix:///path`, or "none"; without it DOCKER_HOST, or else the usual sockets of Docker
    and Podman are tried.
    """
    host, run = environ.get("DOCKER_HOST", ""), environ.get("XDG_RUNTIME_DIR")
    if setting or host:
        url = setting or host
        places = [url.removeprefix(_SCHEME)] if url.startswith(_SCHEME) else []
    else:
        places = [_DOCKER, *([f"{run}/podman/podman.sock"] if run else []), _PODMAN]
    return next((place for place in places if _answers(place)), None)


def _answers(place: str) -> bool:
    try:
        return reaper.call(place, "GET", "/_ping", _PING_S)[0] == 200
    except OSError:
        return False


class Engine:
    """Calls to the engine at a socket. All raise EngineError or EngineGone."""

    def __init__(self, place: str) -> None:
        import aiodocker
        import aiohttp

        self._refusal = aiodocker.DockerError
        self._lost = (aiohttp.ClientError, OSError, TimeoutError)
        # Each running container has two calls open: the usual limit of 100 would stop everything at 50 containers.
        self._connector = aiohttp.UnixConnector(place, limit=0)
        timeout = aiohttp.ClientTimeout(total=_CALL_S)
        self._docker = aiodocker.Docker("unix://engine", connector=self._connector, timeout=timeout)

    async def close(self) -> None:
        """Close the connections."""
        await self._docker.close()
        await self._connector.close()

    async def pull(self, image: str) -> None:
        """Have the engine get an image from where its name says."""
        async with self._trouble():
            await self._docker.images.pull(image)

    async def create(self, name: str, config: Mapping[str, Any]) -> None:
        """Create a container; it does not run yet."""
        async with self._trouble():
            await self._docker.containers.create(dict(config), name=name)

    async def start(self, name: str) -> None:
        """Start a container."""
        async with self._trouble():
            await self._docker.containers.container(name).start()

    async def wait(self, name: str) -> int:
        """Wait until a container has ended, and return its exit code."""
        async with self._trouble():
            ended = await self._docker.containers.container(name).wait()
            return int(ended["StatusCode"])

    async def signal(self, name: str, signal: str) -> None:
        """Send a signal to a container, if it runs."""
        async with self._trouble(_CONFLICT, _MISSING):
            await self._docker.containers.container(name).kill(signal=signal, timeout=_END_S)

    async def inspect(self, name: str) -> dict[str, Any] | None:
        """Return what the engine knows of a container; None when there is none."""
        try:
            async with self._trouble():
                seen: dict[str, Any] = await self._docker.containers.container(name).show()
                return seen
        except EngineError as refusal:
            if refusal.status != _MISSING:
                raise
            return None

    async def remove(self, name: str) -> None:
        """End a container, whatever it does, and remove it, if it is there."""
        async with self._trouble(_MISSING, _CONFLICT):  # conflict: somebody else is at it
            await self._docker.containers.container(name).delete(force=True, v=True, timeout=_END_S)

    @asynccontextmanager
    async def output(self, name: str) -> AsyncIterator[AsyncIterator[tuple[bool, bytes]]]:
        """Attach to a container; inside, its output comes in pieces, with whether it is standard error."""
        async with self._trouble():
            stream = self._docker.containers.container(name).attach(stdout=True, stderr=True)
            async with stream:

                async def pieces() -> AsyncIterator[tuple[bool, bytes]]:
                    while (piece := await stream.read_out()) is not None:
                        yield piece.stream == 2, piece.data

                yield pieces()

    @asynccontextmanager
    async def _trouble(self, *passed: int) -> AsyncIterator[None]:
        """Put what goes wrong into our words; refusals with a status in `passed` are none."""
        try:
            yield
        except self._refusal as refusal:
            if refusal.status == _UNREACHABLE:
                raise EngineGone(str(refusal.message)) from None
            if refusal.status not in passed:
                raise EngineError(refusal.status, str(refusal.message).strip()) from None
        except asyncio.CancelledError:
            raise
        except self._lost as error:
            raise EngineGone(str(error) or type(error).__name__) from None
