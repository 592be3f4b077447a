"""Checks of leases: who may run what, until when; and how a worker takes its leave."""

from __future__ import annotations

import asyncio

from rota.core.states import Outcome, State
from rota.wiring.check_worker.faults import HEARTBEAT, LEAVE, Act, drop, hang
from rota.wiring.check_worker.ground import GRACE_S, Failed
from rota.wiring.check_worker.scene import Check, Scene

_WRITTEN_S = 0.03  # between the end of a process and the moment of its last line


async def heartbeats(scene: Scene) -> None:
    """Run a job that lasts two leases."""
    await scene.start()
    job, _ = await scene.sleeper(2 * scene.ground.lease_s)
    await scene.ground.over(
        job, State.SUCCEEDED, within_s=2 * scene.ground.lease_s + scene.ground.patience_s, attempts=1
    )
    scene.same_registration()
    if not any(each["job"] == job for call in scene.faults.of(HEARTBEAT) for each in call.body["held"]):
        raise Failed("heartbeats that name what is held", "none did")


async def outage_refused(scene: Scene) -> None:
    """Connections break, all of them, for longer than the lease."""
    await _outage(scene, drop)


async def outage_silent(scene: Scene) -> None:
    """Nothing is answered, and no connection breaks, for longer than the lease."""
    await _outage(scene, hang(scene.faults))


async def _outage(scene: Scene, act: Act) -> None:
    await scene.start()
    job, ticks = await scene.sleeper()
    fault = scene.faults.put("cut off", act, times=None, late=True)
    lease_over_at = await scene.ground.queued_again_at(job, 2 * scene.ground.lease_s + scene.ground.patience_s)
    await asyncio.sleep(1.0)  # in which a job that still runs writes ten lines
    late_s = ticks.last_at() - lease_over_at
    if late_s > _WRITTEN_S:
        raise Failed(
            "that it kills what runs before the lease is over, counted from the sending of the last answered heartbeat",
            f"the job still ran {late_s:.1f} s after another worker could have started it",
        )
    scene.faults.take(fault)
    await ticks.running(scene.ground.patience_s)
    await scene.ground.service.jobs.abort(job)
    await scene.aborted(job, ticks)


async def lost(scene: Scene) -> None:
    """A heartbeat says that a lease is lost."""
    await scene.start()
    job, ticks = await scene.sleeper()
    await scene.ground.steal(job)
    await ticks.silent(scene.told_s, "that it kills what a heartbeat says is lost")
    await scene.works()
    scene.same_registration()


async def forgotten(scene: Scene) -> None:
    """The server does not know the worker any more."""
    await scene.start()
    job, ticks = await scene.sleeper()
    await scene.ground.steal(job)
    await scene.ground.service.work.release(scene.id, Outcome.LOST, "forgotten by rota check-worker", at_once=True)
    call = await scene.worker.registered(2, within_s=scene.told_s + scene.ground.patience_s)
    await asyncio.sleep(0.7)
    late_s = ticks.last_at() - call.at
    if late_s > _WRITTEN_S:
        raise Failed("that it kills what runs, and only then registers again", f"the job ran {late_s:.1f} s longer")
    await scene.works()


async def drain(scene: Scene) -> None:
    """Ask it to drain."""
    await scene.start()
    job, _ = await scene.sleeper(1.5)
    await scene.ground.service.work.drain(scene.id)
    await scene.ground.over(job, State.SUCCEEDED, attempts=1)
    await scene.worker.ended(scene.ground.patience_s, "that it ends when it has drained")
    _has_left(scene)


async def leaves(scene: Scene) -> None:
    """Send SIGTERM while it has nothing to do."""
    await scene.start()
    await scene.works()
    scene.worker.terminate()
    await scene.worker.ended(scene.ground.patience_s, "that it ends after SIGTERM")
    _has_left(scene)


async def leaves_busy(scene: Scene) -> None:
    """Send SIGTERM while a long job runs; a second one waits for it."""
    await scene.start()
    job, ticks = await scene.sleeper()
    scene.worker.terminate()
    await scene.worker.ended(scene.ground.patience_s + GRACE_S, "that it ends after SIGTERM, whatever runs")
    _has_left(scene)
    attempt = (await scene.ground.service.jobs.attempts(job))[0]
    if attempt.outcome is not Outcome.INTERRUPTED:
        raise Failed("that it gives back what it does not finish", f"the attempt's outcome is {attempt.outcome}")
    await ticks.silent(0.5, "that nothing which it started runs when it has left")


async def leaves_alone(scene: Scene) -> None:
    """Send SIGTERM while a long job runs, and no call gets through any more."""
    await scene.start()
    _, ticks = await scene.sleeper()
    scene.faults.put("cut off", drop, times=None, late=True)
    scene.worker.terminate()
    within_s = scene.ground.lease_s + scene.ground.patience_s
    await scene.worker.ended(within_s, "that it ends after SIGTERM, also without an answer")
    await ticks.silent(0.5, "that nothing which it started runs when it has ended")


def _has_left(scene: Scene) -> None:
    if not any(
        call.worker and call.answer is not None and call.answer.status == 204 for call in scene.faults.of(LEAVE)
    ):
        raise Failed("that it leaves: DELETE /v1/workers/{id}", "it did not")


CHECKS = [
    Check("heartbeats", "sends heartbeats that name what it holds", heartbeats),
    Check("outage-refused", "kills what runs before its lease is over, when connections break", outage_refused),
    Check("outage-silent", "kills what runs before its lease is over, when nothing is answered", outage_silent),
    Check("lost", "kills what a heartbeat says is lost, and goes on", lost),
    Check("forgotten", "kills what runs and registers again after a 404", forgotten),
    Check("drain", "finishes what runs, leaves and ends when it is told to drain", drain),
    Check("leaves", "leaves and ends after SIGTERM", leaves),
    Check("leaves-busy", "gives back what it does not finish after SIGTERM, then leaves and ends", leaves_busy),
    Check("leaves-alone", "ends after SIGTERM, with all that it runs, also when the server is away", leaves_alone),
]
