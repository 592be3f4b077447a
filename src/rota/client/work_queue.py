"""The work queue over HTTP: how a worker in another process, or on another machine, gets its work."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

from msgspec import DecodeError, Raw, Struct, json

from rota.client.async_servers import AsyncServers
from rota.client.async_transport import AsyncTransport
from rota.client.problems import ServerUnreachable, error_of
from rota.client.transport import Request
from rota.core.checkpoints import CheckpointNote
from rota.core.jobs import (
    Free,
    Held,
    HookCall,
    InputReport,
    Lease,
    LogChunk,
    Orders,
    ProgressNote,
    Report,
    Settled,
    Welcome,
    WorkerHello,
)

T = TypeVar("T")


class _Leases(Struct):
    leases: list[Lease]


class _Settlements(Struct):
    settled: list[Settled]


class DeployedSchedule(Struct):
    """What became of a schedule: `what` is created, edited, resumed, paused, removed or kept."""

    name: str
    what: str


class Deployment(Struct):
    """What a deploy has done. `older`: nothing, for these declarations were replaced by others before."""

    older: bool = False
    schedules: list[DeployedSchedule] = []


_ENCODER = json.Encoder()
_WELCOME = json.Decoder(Welcome)
_LEASES = json.Decoder(_Leases)
_ORDERS = json.Decoder(Orders)
_SETTLEMENTS = json.Decoder(_Settlements)
_DEPLOYMENTS = json.Decoder(Deployment)


class HttpWorkQueue:
    """A WorkQueue (see rota.worker.queue) over `http://host:port`, several of them with commas, or `unix:/path`.

    Belongs to one event loop. Nothing is tried twice here: a lost reply is a ConnectionError, and the supervisor decides.
    `claim` and `watch` each hold a connection while they wait; the others share the rest.
    """

    def __init__(
        self, server: str, *, token: str | None = None, timeout_s: float = 30.0, ca_file: str | None = None
    ) -> None:
        make = partial(AsyncTransport, token=token, timeout_s=timeout_s, ca_file=ca_file)
        self._servers = AsyncServers(server, make)

    async def register(self, hello: WorkerHello) -> Welcome:
        """Make the worker known; the answer holds its id and the terms of its leases."""
        return await self._post("/v1/workers", hello, _WELCOME)

    async def claim(self, worker: str, free: Free, wait_s: float) -> list[Lease]:
        """Take jobs, waiting up to `wait_s` seconds for the first."""
        body = {"free": free, "wait": wait_s}
        return (await self._post(_path(worker, "claim"), body, _LEASES, wait_s)).leases

    async def heartbeat(self, worker: str, held: list[Held]) -> Orders:
        """Renew the leases that are named, and hear the orders."""
        return await self._post(_path(worker, "heartbeat"), {"held": held}, _ORDERS)

    async def watch(self, worker: str, wait_s: float) -> Orders:
        """Wait up to `wait_s` seconds for orders."""
        return await self._post(_path(worker, "watch"), {"wait": wait_s}, _ORDERS, wait_s)

    async def settle(self, worker: str, reports: list[Report]) -> list[Settled]:
        """Record how attempts ended."""
        return (await self._post(_path(worker, "report"), {"reports": reports}, _SETTLEMENTS)).settled

    async def tell(
        self,
        worker: str,
        logs: list[LogChunk],
        progress: list[ProgressNote],
        hooks: list[HookCall],
        results: list[InputReport],
        *,
        checkpoints: Sequence[CheckpointNote] = (),
    ) -> None:
        """Store output, progress, calls of hooks and ends of inputs."""
        body: dict[str, Any] = {"logs": logs, "progress": progress, "hooks": hooks, "results": results}
        if checkpoints:  # an older server knows of none
            body["checkpoints"] = checkpoints
        await self._send("POST", _path(worker, "logs"), body)

    async def leave(self, worker: str) -> None:
        """Forget the worker and give back what it holds."""
        await self._send("DELETE", _path(worker))

    async def deploy(self, origin: str, schedules: Sequence[Raw], *, anyway: bool = False) -> Deployment:
        """Bring the schedules that an app declares in line with its code, if the token may; no part of the protocol."""
        body = {"origin": origin, "schedules": schedules, "anyway": anyway}
        return await self._post("/v1/schedules/deploy", body, _DEPLOYMENTS)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._servers.aclose()

    async def _post(self, path: str, body: Any, decoder: json.Decoder[T], wait_s: float = 0.0) -> T:
        reply = await self._send("POST", path, body, wait_s)
        try:
            return decoder.decode(reply)
        except DecodeError as wrong:
            raise ServerUnreachable(
                f"what answers at {self._servers.line.address} is no Rota server ({wrong})"
            ) from None

    async def _send(self, method: str, path: str, body: Any = None, wait_s: float = 0.0) -> bytes:
        content = None if body is None else _ENCODER.encode(body)
        reply = await self._servers.send(Request(method=method, path=path, body=content, wait_s=wait_s))
        if reply.status >= 400:
            raise error_of(reply.status, reply.body)
        return reply.body


def _path(worker: str, verb: str = "") -> str:
    return f"/v1/workers/{quote(worker, safe='')}" + (f"/{verb}" if verb else "")
