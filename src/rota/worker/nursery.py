"""Where the children of a worker come from and where they go: the keeper, the zygote, births, ends and recoveries."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

import msgspec

from rota import log
from rota.core.jobs import HandlerSpec, Proof
from rota.worker import proctree
from rota.worker.frames import Declared, Imported
from rota.worker.handle import ChildHandle, ChildKind, Owner
from rota.worker.ladder import Ladder
from rota.worker.link import KeeperLink
from rota.worker.verdict import proof_of

Swept = tuple[Proof, list[tuple[int, str | None]]]  # what was ended, and who else is there, with their marks

_END_S = 15.0  # more than the keeper takes to give up on a process that outlives SIGKILL
_PAUSE_S = 1.0  # before handlers that did not import are imported again
_log = log.get("worker.nursery")


class AppError(Exception):
    """A module of handlers could not be imported; the text says which and why."""


class Unborn(Exception):
    """A child could not be started: what was to start it has died."""


class Parent(Owner, Protocol):
    """Who hears of the ends of children."""

    def gone(self, child: ChildHandle, status: int | None, proof: Proof) -> None:
        """Hear that a child and all below it are gone. `status` is waitpid's; None when nobody could have it."""
        ...


class Nursery:
    """The processes of a worker. One life from `open` to `close`; may be opened again."""

    def __init__(
        self,
        parent: Parent,
        apps: Sequence[str],
        recycle_jobs: int,
        recycle_bytes: int,
        keep_fds: Sequence[int],
        *,
        inherit: bool,
        user: dict[str, Any] | None,
    ) -> None:
        self._parent = parent
        self._apps = list(apps)
        self._limits = {"recycle_jobs": recycle_jobs, "recycle_bytes": recycle_bytes}
        self._keep_fds = tuple(keep_fds)
        self._manner: dict[str, Any] = {"inherit": inherit, "user": user}
        self._numbers = itertools.count(1)
        self._link: KeeperLink | None = None
        self._closed = True
        self._children: dict[int, ChildHandle] = {}
        self._births: dict[int, asyncio.Future[int]] = {}
        self._sweeps: dict[int, asyncio.Future[Swept]] = {}
        self._confining: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._containers: dict[str, str] = {}  # that the keeper minds: their engines, by name
        self._recovery: asyncio.Task[None] | None = None
        self.declared: list[Declared] = []  # by the apps that were imported
        self._empty = asyncio.Event()

    async def open(self) -> list[HandlerSpec]:
        """Start the keeper and the zygote. Raises AppError."""
        assert self._closed, "open once"
        proctree.become_subreaper()  # should the keeper be killed, what it kept comes to us
        self._loop = asyncio.get_running_loop()
        self._folder = tempfile.mkdtemp(prefix="rota-")
        if (user := self._manner["user"]) is not None:
            os.chown(self._folder, user["uid"], user["gid"])
        self._closed = False
        self._has_keeper, self._has_zygote = asyncio.Event(), asyncio.Event()
        self._start_keeper()
        return await self._import()

    async def bear(self, kind: ChildKind) -> ChildHandle:
        """Start a child. Raises Unborn when the process that was to start it died meanwhile."""
        await (self._has_keeper if kind == "script" else self._has_zygote).wait()
        assert self._link is not None, "there is a keeper"
        child = ChildHandle(next(self._numbers), kind, self._parent, self._loop)
        self._children[child.number] = child
        birth = self._births[child.number] = self._loop.create_future()
        self._link.send("script" if kind == "script" else "fork", child.fds(), id=child.number, kind=kind)
        child.handed_over()
        child.pid = await birth
        return child

    def end(self, child: ChildHandle, grace_s: float) -> None:
        """Start to end a child and all below it; the parent hears when it is gone."""
        child.ending = True
        child.end_at = self._loop.time()
        if self._link is not None:
            self._link.send("end", id=child.number, grace=grace_s)

    def hurry(self, child: ChildHandle) -> None:
        """End the grace of a child that is being ended."""
        if self._link is not None:
            self._link.send("end", id=child.number, grace=0.0)

    def leased_until(self, at: float | None) -> None:
        """Have the keeper kill all children at `at` (seconds of CLOCK_BOOTTIME), unless told otherwise before."""
        if self._link is not None:
            self._link.send("lease", until=at)

    def guard(self, engine: str, name: str) -> None:
        """Have the keeper remove a container when this process dies, or when it kills all at the end of the lease."""
        self._containers[name] = engine
        if self._link is not None:
            self._link.send("container", engine=engine, name=name)

    def unguard(self, name: str) -> None:
        """Have the keeper forget a container."""
        self._containers.pop(name, None)
        if self._link is not None:
            self._link.send("container_gone", name=name)

    def retire(self, child: ChildHandle) -> None:
        """Let a child that has nothing to do end by itself."""
        child.ending = True
        child.hang_up()

    async def sweep(self, child: ChildHandle, mark: str | None, grace_s: float) -> Swept:
        """End what is below a child, or only what carries a mark; not the child itself.

        With a mark, returns also what else is below the child, as (pid, mark). Raises Unborn when the keeper dies.
        """
        if self._link is None:
            raise Unborn
        ref = next(self._numbers)
        swept: asyncio.Future[Swept] = self._loop.create_future()
        self._sweeps[ref] = swept
        self._link.send("sweep", id=child.number, ref=ref, mark=mark, grace=grace_s)
        return await swept

    async def confine(self, child: ChildHandle, memory: int | None, processes: int | None) -> dict[str, Any]:
        """Have a script child in a control group with these limits, where that can be (see `confine.Groups.put`).

        Raises Unborn when the keeper dies.
        """
        if self._link is None:
            raise Unborn
        ref = next(self._numbers)
        held: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self._confining[ref] = held
        self._link.send("confine", id=child.number, ref=ref, memory=memory, processes=processes)
        return await held

    async def kill_all(self) -> None:
        """Kill all children and all below them; returns when they are gone."""
        for child in self._children.values():
            child.ending = child.killed = True
        if self._link is not None:
            self._link.send("kill_all")
        await self._until_empty()

    async def close(self) -> None:
        """End all processes. Idempotent."""
        if self._closed:
            return
        self._closed = True
        for child in self._children.values():
            child.ending = child.killed = True
        if self._recovery is not None:
            self._recovery.cancel()
        if (link := self._link) is not None:
            self._link = None
            link.close()
            await self._until_ended(link)
        await self._bury_all("")
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    # --- the keeper

    def _start_keeper(self) -> None:
        minded = [{"do": "container", "engine": engine, "name": name} for name, engine in self._containers.items()]
        self._link = KeeperLink(
            self._folder, self._manner, self._keep_fds, self._heard, self._keeper_lost, first=minded
        )
        self._has_keeper.set()

    def _heard(self, answer: dict[str, Any]) -> None:
        match answer["say"]:
            case "started":
                self._born(answer["id"], answer["pid"])
            case "gone":
                self._gone(answer["id"], answer["status"], proof_of(answer["proof"]))
            case "swept":
                swept = self._sweeps.pop(answer["ref"])
                if not swept.done():
                    others = [(pid, mark) for pid, mark in answer["others"]]
                    swept.set_result((proof_of(answer["proof"]), others))
            case "confined":
                held = self._confining.pop(answer["ref"])
                if not held.done():
                    held.set_result(answer)
            case "zygote_gone":
                self._zygote_lost(answer["status"])

    def _born(self, number: int, pid: int) -> None:
        birth = self._births.pop(number, None)
        if birth is not None and not birth.done():
            birth.set_result(pid)
        elif (child := self._children.get(number)) is not None:
            self.retire(child)  # nobody waits for it any more

    def _gone(self, number: int, status: int | None, proof: Proof) -> None:
        child = self._children.pop(number, None)
        if child is None:
            return
        birth = self._births.pop(number, None)
        if birth is not None and not birth.done():
            birth.set_exception(Unborn())
        child.ending = True
        child.hear()  # what it said before its end may come after the news of that
        child.drain()
        self._parent.gone(child, status, proof)
        child.close()
        if not self._children:
            self._empty.set()

    def _keeper_lost(self) -> None:
        self._has_keeper.clear()
        self._has_zygote.clear()
        if not self._closed:
            _log.warning("keeper_died")
            self._recover(self._replace_keeper())

    async def _replace_keeper(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await self._until_ended(link)
        await self._bury_all("the keeper of its process died")
        self._start_keeper()
        await self._import_again()

    async def _bury_all(self, why: str) -> None:
        """End what a dead keeper has left to us, then tell of the ends of all children."""
        proofs: list[dict[str, Any]] = []
        ladder = Ladder(_orphans, 0.0, time.monotonic(), proofs.append)
        while True:
            if ladder.step(time.monotonic(), time.monotonic):
                break
            await asyncio.sleep(0.001)
        unanswered: list[asyncio.Future[Any]] = [*self._sweeps.values(), *self._confining.values()]
        for asked in unanswered:
            if not asked.done():
                asked.set_exception(Unborn())
        self._sweeps.clear()
        self._confining.clear()
        for child in list(self._children.values()):
            child.why = why
            self._gone(child.number, None, proof_of(proofs[0]))

    async def _until_ended(self, link: KeeperLink) -> None:
        for _ in range(round(_END_S * 1000)):
            if link.ended():
                return
            await asyncio.sleep(0.001)
        link.kill()
        await asyncio.to_thread(link.wait)

    async def _until_empty(self) -> None:
        while self._children:
            self._empty.clear()
            try:
                async with asyncio.timeout(_END_S):
                    await self._empty.wait()
            except TimeoutError:
                if self._link is not None:
                    self._link.kill()

    # --- the zygote

    async def _import(self) -> list[HandlerSpec]:
        """Start a zygote and return what it imported; without apps nobody needs one. Raises AppError."""
        if not self._apps:
            return []
        assert self._link is not None, "there is a keeper"
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                self._link.send("zygote", [theirs.fileno()], apps=self._apps, **self._limits)
            ours.setblocking(False)
            text = b""
            while data := await self._loop.sock_recv(ours, 1 << 16):
                text += data
        if not text:
            raise AppError(f"the process that imported {', '.join(self._apps)} ended before it was done")
        imported = msgspec.json.decode(text, type=Imported)
        if imported.wrong is not None:
            raise AppError(imported.wrong)
        if imported.threads:
            _log.warning("threads_imported", threads=", ".join(imported.threads))
        self.declared = imported.declared
        self._has_zygote.set()
        return imported.handlers

    def _zygote_lost(self, status: int) -> None:
        if self._closed or not self._has_zygote.is_set():
            return
        self._has_zygote.clear()
        _log.warning("zygote_died", status=status)
        for number in [n for n in self._births if self._children[n].kind != "script"]:
            self._children.pop(number).close()  # if it was born after all, this ends it
            birth = self._births.pop(number)
            if not birth.done():
                birth.set_exception(Unborn())
        self._recover(self._import_again())

    async def _import_again(self) -> None:
        while True:
            try:
                await self._import()
                return
            except AppError as wrong:
                _log.error("reload_failed", error=str(wrong))
                await asyncio.sleep(_PAUSE_S)

    def _recover(self, recovery: Any) -> None:
        if self._recovery is not None:
            self._recovery.cancel()
        self._recovery = self._loop.create_task(recovery)


def _orphans() -> list[int]:
    """Return what a dead keeper has left to this process: its children in sessions that are not its own."""
    ours = os.getsid(0)

    def is_ours(pid: int) -> bool:
        with suppress(ChildProcessError):
            if proctree.session(pid) != ours:
                os.waitpid(pid, os.WNOHANG)
        return proctree.session(pid) == ours

    return proctree.descendants([os.getpid()], spared=is_ours)
