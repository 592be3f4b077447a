"""The part of a transaction on PostgreSQL that knows what submits jobs again and again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rota.core.schedules import Change, Firing, OpenFiring, Schedule
from rota.store.postgres.statement import BaseTx, Row, array, columns
from rota.store.rows import change_of, firing_of, firing_row, open_firing_of, raw, schedule_of, schedule_row


class ScheduleTx(BaseTx):
    """See store/protocol.py. Schedules are locked before all else: who holds a job never waits for one."""

    async def insert_schedule(self, schedule: Schedule) -> None:
        await self._run("insert_schedule", schedule.id, *schedule_row(schedule))

    async def update_schedule(self, schedule: Schedule) -> None:
        await self._run("update_schedule", *schedule_row(schedule), schedule.id)

    async def move_schedules(self, schedules: Sequence[Schedule]) -> None:
        rows = [(s.seen, s.next_at, s.waiting, s.zone_mark, s.id) for s in schedules]
        if rows:
            await self._run("move_schedules", *columns(rows, 5))

    async def delete_schedule(self, schedule: str) -> None:
        await self._run("delete_schedule_changes", schedule)
        await self._run("delete_schedule", schedule)

    async def get_schedule(self, schedule: str) -> Schedule | None:
        return next(iter(await self._schedules([(schedule,)])), None)

    async def lock_schedule(self, schedule: str) -> Schedule | None:
        return next(iter(await self._schedules(await self._all("lock_schedule", schedule))), None)

    async def schedules_named(self, name: str, owner: str | None, limit: int) -> list[str]:
        which = ("schedules_named", name, limit) if owner is None else ("schedule_named", name, owner)
        return [id_ for (id_,) in await self._all(*which)]

    async def list_schedules(self, owner: str | None, after: str, limit: int) -> list[Schedule]:
        which = ("schedules_after",) if owner is None else ("schedules_of", owner)
        return await self._schedules(await self._all(*which, after, limit))

    async def due_schedules(self, limit: int) -> list[Schedule]:
        return await self._schedules(await self._all("due_schedules", self.now, limit))

    async def free_schedules(self, limit: int) -> list[Schedule]:
        return await self._schedules(await self._all("free_schedules", limit))

    async def schedules_ahead(self, at: int, limit: int) -> list[Schedule]:
        return await self._schedules(await self._all("schedules_ahead", at, limit))

    async def zone_marks(self) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        last = ("", "")
        while row := await self._one("next_zone_mark", *last):
            last = row[0], row[1]
            found.append(last)
        return found

    async def schedules_by_mark(self, timezone: str, mark: str, limit: int) -> list[Schedule]:
        return await self._schedules(await self._all("schedules_by_mark", timezone, mark, limit))

    async def fired_slots(self, slots: Sequence[tuple[str, int]]) -> set[tuple[str, int]]:
        rows = await self._all("fired_slots", *columns(slots, 2)) if slots else []
        return {(schedule, slot) for schedule, slot in rows}

    async def insert_firings(self, firings: Sequence[Firing]) -> None:
        if firings:
            await self._run("insert_firings", *columns([firing_row(f) for f in firings], 8))

    async def update_firings(self, firings: Sequence[Firing]) -> None:
        rows = [(f.at, f.fate, f.job, f.why, int(f.open), f.schedule, f.slot) for f in firings]
        if rows:
            await self._run("update_firings", *columns(rows, 7))

    async def firings_of(self, schedule: str, before: int, limit: int) -> list[Firing]:
        return [firing_of(tuple(row)) for row in await self._all("firings_of", schedule, before, limit)]

    async def open_firings(self, schedules: Iterable[str]) -> list[OpenFiring]:
        return [open_firing_of(tuple(row)) for row in await self._all("open_firings", array(list(schedules)))]

    async def close_firings(self, firings: Sequence[OpenFiring]) -> None:
        if firings:
            await self._run("close_firings", *columns([(f.schedule, f.slot) for f in firings], 2))

    async def close_all_firings(self, schedule: str) -> None:
        await self._run("close_all_firings", schedule)

    async def forget_firings(self, before: int, limit: int) -> int:
        return len(await self._all("forget_firings", before, limit))

    async def append_schedule_change(self, change: Change) -> None:
        c = change
        await self._run("append_schedule_change", c.schedule, c.revision, c.at, c.by, c.what, raw(c.settings))

    async def schedule_changes(self, schedule: str, before: int, limit: int) -> list[Change]:
        rows = await self._all("schedule_changes", schedule, before, limit)
        return [change_of(schedule, tuple(row)) for row in rows]

    async def schedules_of_origin(self, origin: str) -> list[Schedule]:
        return await self._schedules(await self._all("schedules_of_origin", origin))

    async def put_deploy(self, origin: str, digest: str) -> None:
        await self._run("put_deploy", origin, digest, self.now)

    async def deploys_of(self, origin: str, limit: int) -> list[str]:
        return [digest for (digest,) in await self._all("deploys_of", origin, limit)]

    async def _schedules(self, rows: Sequence[Row]) -> list[Schedule]:
        """Return whole schedules, in the order of the rows, each of which is an id."""
        if not rows:
            return []
        return [schedule_of(tuple(row)) for row in await self._all("get_schedules", array([id_ for (id_,) in rows]))]
