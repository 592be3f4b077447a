"""What a transaction on SQLite does with schedules and their firings; see store/protocol.py."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rota.core.schedules import Change, Firing, OpenFiring, Schedule
from rota.store.rows import change_of, encode, firing_of, firing_row, open_firing_of, raw, schedule_of, schedule_row
from rota.store.sqlite.statement import BaseTx


class ScheduleTx(BaseTx):
    """The part of `SqliteTx` that knows what submits jobs again and again."""

    async def insert_schedule(self, schedule: Schedule) -> None:
        self._run("insert_schedule", schedule.id, *schedule_row(schedule))

    async def update_schedule(self, schedule: Schedule) -> None:
        self._run("update_schedule", *schedule_row(schedule), schedule.id)

    async def move_schedules(self, schedules: Sequence[Schedule]) -> None:
        self._many("move_schedules", [(s.seen, s.next_at, s.waiting, s.zone_mark, s.id) for s in schedules])

    async def delete_schedule(self, schedule: str) -> None:
        self._run("delete_schedule_changes", schedule)
        self._run("delete_schedule", schedule)

    async def get_schedule(self, schedule: str) -> Schedule | None:
        return next(iter(self._whole([(schedule,)])), None)

    async def lock_schedule(self, schedule: str) -> Schedule | None:
        return await self.get_schedule(schedule)  # nobody else is there

    async def schedules_named(self, name: str, owner: str | None, limit: int) -> list[str]:
        which = ("schedules_named", name, limit) if owner is None else ("schedule_named", name, owner)
        return [id_ for (id_,) in self._all(*which)]

    async def list_schedules(self, owner: str | None, after: str, limit: int) -> list[Schedule]:
        which = ("schedules_after",) if owner is None else ("schedules_of", owner)
        return self._whole(self._all(*which, after, limit))

    async def due_schedules(self, limit: int) -> list[Schedule]:
        return self._whole(self._all("due_schedules", self.now, limit))

    async def free_schedules(self, limit: int) -> list[Schedule]:
        return self._whole(self._all("free_schedules", limit))

    async def schedules_ahead(self, at: int, limit: int) -> list[Schedule]:
        return self._whole(self._all("schedules_ahead", at, limit))

    async def zone_marks(self) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        zone, mark = "", ""
        while row := self._one("next_zone_mark", zone, mark, zone):
            zone, mark = row
            found.append((zone, mark))
        return found

    async def schedules_by_mark(self, timezone: str, mark: str, limit: int) -> list[Schedule]:
        return self._whole(self._all("schedules_by_mark", timezone, mark, limit))

    async def fired_slots(self, slots: Sequence[tuple[str, int]]) -> set[tuple[str, int]]:
        rows = self._all("fired_slots", encode(slots).decode()) if slots else []
        return {(schedule, slot) for schedule, slot in rows}

    async def insert_firings(self, firings: Sequence[Firing]) -> None:
        self._many("insert_firings", [firing_row(f) for f in firings])

    async def update_firings(self, firings: Sequence[Firing]) -> None:
        self._many(
            "update_firings", [(f.at, f.fate, f.job, f.why, int(f.open), f.schedule, f.slot) for f in firings]
        )  # fmt: skip

    async def firings_of(self, schedule: str, before: int, limit: int) -> list[Firing]:
        return [firing_of(row) for row in self._all("firings_of", schedule, before, limit)]

    async def open_firings(self, schedules: Iterable[str]) -> list[OpenFiring]:
        return [open_firing_of(row) for each in schedules for row in self._all("open_firings", each)]

    async def close_firings(self, firings: Sequence[OpenFiring]) -> None:
        self._many("close_firings", [(f.schedule, f.slot) for f in firings])

    async def close_all_firings(self, schedule: str) -> None:
        self._run("close_all_firings", schedule)

    async def forget_firings(self, before: int, limit: int) -> int:
        return len(self._all("forget_firings", before, limit))

    async def append_schedule_change(self, change: Change) -> None:
        c = change
        self._run("append_schedule_change", c.schedule, c.revision, c.at, c.by, c.what, raw(c.settings))

    async def schedule_changes(self, schedule: str, before: int, limit: int) -> list[Change]:
        return [change_of(schedule, row) for row in self._all("schedule_changes", schedule, before, limit)]

    async def schedules_of_origin(self, origin: str) -> list[Schedule]:
        return self._whole(self._all("schedules_of_origin", origin))

    async def put_deploy(self, origin: str, digest: str) -> None:
        self._run("put_deploy", origin, digest, self.now, origin)

    async def deploys_of(self, origin: str, limit: int) -> list[str]:
        return [digest for (digest,) in self._all("deploys_of", origin, limit)]

    def _whole(self, rows: list[tuple[str]]) -> list[Schedule]:
        if not rows:
            return []
        return [schedule_of(row) for row in self._all("get_schedules", encode([id_ for (id_,) in rows]).decode())]
