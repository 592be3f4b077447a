"""Sums over time: what a server counts, how it survives its end, and how a reader adds servers up."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from rota.core.errors import Invalid
from rota.core.states import State
from rota.core.times import SECOND
from rota.service.series import HOUR, KEPT, MOST_QUEUES, Counting, Series, read_series
from rota.service.signals import Effects, Over
from tests.embedded import store_at

START = 1_750_000_200 * SECOND  # a minute begins


class Scene:
    """A store whose clock the test sets, and servers that count."""

    def __init__(self, folder: Path) -> None:
        self.now = START
        self.store = store_at(folder / "a.db", clock=lambda: self.now, inline=True)
        asyncio.run(self.store.open())

    def server(self) -> Counting:
        made = Counting(self.store, lambda: self.now / SECOND)
        made.seen(self.now)
        return made

    def go(self, server: Counting, seconds: float) -> None:
        self.now += round(seconds * SECOND)
        server.seen(self.now)
        if server.due:
            asyncio.run(server.flush())

    def read(self, **asked: Any) -> Series:
        return asyncio.run(self.store.read(lambda tx: read_series(tx, **asked)))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def effects(
    submitted: int = 0, waits: tuple[float, ...] = (), runs: tuple[float, ...] = (), queue: str = "default", **ends: int
) -> Effects:
    made = Effects()
    if submitted:
        made.submitted[queue] += submitted
    made.started = [(queue, wait_s) for wait_s in waits]
    made.over = [Over("j", State.SUCCEEDED, run_s, queue=queue) for run_s in runs]
    made.over += [Over("j", State(state), queue=queue) for state, n in ends.items() for _ in range(n)]
    return made


def test_what_happened_is_counted_in_its_minute(scene: Scene) -> None:
    server = scene.server()
    server.note(effects(submitted=5, waits=(0.01, 0.01, 4.0), runs=(1.0, 1.0), failed=1, aborted=1, canceled=2))
    scene.go(server, 61)
    server.note(effects(submitted=1))
    scene.go(server, 6)
    found = scene.read(begin=START, end=START + 180 * SECOND, step=60)
    assert found.at == [START // SECOND + n for n in (0, 60, 120)]
    assert (found.submitted, found.started, found.succeeded) == ([5, 1, 0], [3, 0, 0], [2, 0, 0])
    assert (found.failed, found.aborted, found.canceled) == ([1, 0, 0], [1, 0, 0], [2, 0, 0])
    p50, p99, run = found.wait_p50[0], found.wait_p99[0], found.run_p50[0]
    assert p50 is not None and p99 is not None and run is not None
    assert 0.007 < p50 < 0.015 and 2.8 < p99 < 5.7 and 0.7 < run < 1.5
    assert found.wait_p50[1] is None
    assert not found.cut
    assert scene.read(begin=START, end=START + 60 * SECOND, step=HOUR).submitted == [6]
    assert sum(scene.read(begin=START - 300 * SECOND, end=START + 300 * SECOND, step=300).submitted) == 6


def test_servers_add_up_and_a_restart_loses_only_what_was_not_written(scene: Scene) -> None:
    one, other = scene.server(), scene.server()
    one.note(effects(submitted=2))
    other.note(effects(submitted=3))
    for server in (one, other):
        scene.go(server, 1)
    one.note(effects(submitted=100))  # and it is killed
    again = scene.server()
    again.note(effects(submitted=1))
    scene.go(again, 6)
    scene.go(other, 6)
    assert scene.read().submitted[-1] == 6


def test_writing_again_changes_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    server = scene.server()
    server.note(effects(submitted=2))
    plain = scene.store.write

    async def lost(function: Any) -> Any:
        await plain(function)
        raise OSError("the answer is lost")

    monkeypatch.setattr(scene.store, "write", lost)
    with pytest.raises(OSError, match="lost"):
        scene.go(server, 1)
    monkeypatch.setattr(scene.store, "write", plain)
    scene.go(server, 60)
    assert sum(scene.read().submitted) == 2


def test_queues_are_told_apart_up_to_a_number(scene: Scene) -> None:
    server = scene.server()
    for n in range(MOST_QUEUES + 7):
        server.note(effects(submitted=1, queue=f"q{n}"))
    scene.go(server, 6)
    assert scene.read(queue="q3").submitted[-1] == 1
    assert scene.read(queue=f"q{MOST_QUEUES + 3}").submitted[-1] == 0
    assert scene.read().submitted[-1] == MOST_QUEUES + 7


def test_what_is_old_is_removed_and_nothing_is_written_while_nothing_happens(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = scene.server()
    server.note(effects(submitted=2))
    scene.go(server, 6)
    written: list[int] = []

    async def put(_tx: Any, rows: list[Any]) -> None:
        written.append(len(rows))

    monkeypatch.setattr("rota.store.sqlite.tx.SqliteTx.put_series", put)
    for _ in range(3):
        scene.go(server, 70)
    assert len(written) == 1  # the minute that was over, once
    monkeypatch.undo()
    scene.go(server, KEPT[60])
    assert scene.read(begin=START, end=START + 60 * SECOND, step=60).submitted == [0]
    assert sum(scene.read(begin=START, end=START + HOUR * SECOND, step=HOUR).submitted) == 2
    scene.go(server, KEPT[3600])
    assert sum(scene.read(begin=START, end=START + HOUR * SECOND, step=HOUR).submitted) == 0


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"begin": START, "end": START}, "from"), ({"step": 90}, "step"), ({"step": 0}, "step"), ({"step": -60}, "step"),
        ({"begin": 0, "end": START, "step": 60}, "step"),
    ],
)  # fmt: skip
def test_ranges_and_steps_that_make_no_sense_are_refused(scene: Scene, asked: dict[str, int], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        scene.read(**asked)
    assert refused.value.field == field
