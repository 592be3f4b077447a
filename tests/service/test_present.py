"""What goes on now: rates, slots, the oldest job, the schedules that are due next; and one look for many who ask."""

from __future__ import annotations

import asyncio

import pytest

from rota.core.access import LOCAL
from rota.core.jobs import HandlerSpec, Submission
from rota.core.states import Outcome
from rota.core.times import SECOND
from rota.service.schedules import NewSchedule
from rota.service.sharing import Shared
from tests import virtual_time
from tests.service.array_scene import Scene, play


def test_what_goes_on_is_counted_a_minute_by_queue_and_by_end():
    async def story(s: Scene) -> None:
        worker = await s.worker(slots=9, handlers=[HandlerSpec(name="h"), HandlerSpec(name="a", mode="async")])
        await s.let(1)  # a server looks at the clock before it counts
        jobs = [await s.plain(queue="q") for _ in range(8)]
        leases = await s.claim(worker, 6)
        for at, lease in enumerate(leases[:4]):
            await s.end(worker, lease, Outcome.ERRORED if at == 3 else Outcome.SUCCEEDED)
        await s.plain(handler="a")
        assert len(await s.claim(worker, 0, asynchronous=2, total=2)) == 1
        await s.let(10, **{worker: leases[4:]})
        stats, present = await s.service.present()
        minutes = 4 + s.now % (60 * SECOND) / (60 * SECOND)
        assert present.rates == {
            "submitted": pytest.approx(9 / minutes, abs=0.001), "started": pytest.approx(7 / minutes, abs=0.001),
            "succeeded": pytest.approx(3 / minutes, abs=0.001), "failed": pytest.approx(1 / minutes, abs=0.001),
            "aborted": 0, "canceled": 0,
        }  # fmt: skip
        assert present.queue_rates == {"q": pytest.approx(4 / minutes, abs=0.001)}
        assert (present.slots_in_use, stats.slots, stats.running) == (2, 9, 3)
        assert stats.oldest is not None
        assert stats.oldest[1] == jobs[6]
        await s.let(600)
        _, later = await s.service.present()
        assert later.rates["submitted"] == 0 == len(later.queue_rates)

    play(story)


def test_a_job_of_several_slots_is_counted_with_all_of_them():
    async def story(s: Scene) -> None:
        worker = await s.worker(slots=9, handlers=[HandlerSpec(name="h"), HandlerSpec(name="a", mode="async")])
        for fields in ({"slots": 3}, {}, {"handler": "a", "slots": 2}):
            await s.plain(**fields)
        assert len(await s.claim(worker, 4, asynchronous=2, total=9)) == 3
        _, present = await s.service.present()
        assert present.slots_in_use == 4

    play(story)


def test_the_schedules_that_are_due_next_come_first():
    async def story(s: Scene) -> None:
        for minutes in (9, 5, 7, 30, 20, 40, 50):
            made = NewSchedule(rule=f"every {minutes}m", name=f"{minutes}", job=Submission(handler="h"))
            await s.service.schedules.add(made, LOCAL)
        _, present = await s.service.present()
        assert [one.name for one in present.next_schedules] == ["5", "7", "9", "20", "30"]
        assert present.next_schedules[0].next_at > s.now

    play(story)


def test_those_who_ask_meanwhile_share_a_look_that_begins_after_they_have_asked():
    async def main() -> None:
        began = 0

        async def look() -> int:
            nonlocal began
            began += 1
            mine = began
            await asyncio.sleep(1)
            if mine == 3:
                raise ValueError("once")
            return mine

        shared: Shared[int] = Shared()
        first = asyncio.create_task(shared.get("a", look))
        await asyncio.sleep(0.5)
        others = [asyncio.create_task(shared.get("a", look)) for _ in range(9)]
        gone = asyncio.create_task(shared.get("a", look))
        await asyncio.sleep(0)
        gone.cancel()
        assert await first == 1
        assert [await other for other in others] == [2] * 9
        bad = [asyncio.create_task(shared.get("a", look)) for _ in range(2)]
        assert [type(end) for end in await asyncio.gather(*bad, return_exceptions=True)] == [ValueError] * 2
        assert await shared.get("a", look) == 4

    virtual_time.run(main)
