"""The trail is written once a second, whatever happens meanwhile, and what could not be written is not lost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from rota.core.access import Role
from rota.core.errors import Unavailable
from rota.service.audit import Audit
from rota.store.protocol import NewAudit
from tests.embedded import store_at


def line(target: str = "", status: int = 201) -> NewAudit:
    return NewAudit("t", Role.USER, "ana", "::1", "jobs.submit", target, status)


class Scene:
    def __init__(self, folder: Path) -> None:
        self.at = 100.0
        self.store = store_at(folder / "a.db", inline=True)
        self.audit = Audit(self.store, lambda: self.at)

    async def lines(self) -> list[tuple[str, int, int]]:
        rows = await self.store.read(lambda tx: tx.audit_before(None, 99_999, None))
        return [(row.target, row.status, row.n) for row in rows]


def scene(work: Any, folder: Path) -> None:
    async def main() -> None:
        it = Scene(folder)
        await it.store.open()
        await work(it)
        await it.store.close()

    asyncio.run(main())


def test_equal_lines_are_one_and_it_is_written_once_a_second(tmp_path: Path) -> None:
    async def work(it: Scene) -> None:
        assert not it.audit.due
        for _ in range(5):
            it.audit.note(line())
        it.audit.note(line(status=403))
        assert it.audit.due
        await it.audit.flush()
        assert await it.lines() == [("", 403, 1), ("", 201, 5)]
        it.audit.note(line())
        it.at += 0.9
        assert (it.audit.pending, it.audit.due) == (True, False)
        it.at += 0.2
        assert it.audit.due
        assert [row.n for row in await it.audit.list(None, 1, "t")] == [1]  # who asks sees all of it

    scene(work, tmp_path)


def test_a_flood_of_targets_is_bounded(tmp_path: Path) -> None:
    async def work(it: Scene) -> None:
        for n in range(12_000):
            it.audit.note(line(f"job-{n}"))
        it.audit.note(line("x" * 1000 + "\0"))
        await it.audit.flush()
        lines = await it.lines()
        assert len(lines) == 10_001
        assert ("…", 201, 2001) in lines

    scene(work, tmp_path)


def test_what_could_not_be_written_is_written_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(it: Scene) -> None:
        async def full(_: Any) -> None:
            raise Unavailable("the disk is full")

        it.audit.note(line("a"))
        with monkeypatch.context() as patch:
            patch.setattr(it.store, "write", full)
            with pytest.raises(Unavailable):
                await it.audit.flush()
        it.audit.note(line("a"))
        it.at += 2
        await it.audit.flush()
        assert await it.lines() == [("a", 201, 2)]

    scene(work, tmp_path)
