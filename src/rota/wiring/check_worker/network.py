"""Checks of bad networks and servers: lost requests, lost replies, errors, slowness, repetition, restarts."""

from __future__ import annotations

import asyncio

from rota.core.states import State
from rota.wiring.check_worker.faults import (
    CLAIM,
    HEARTBEAT,
    LOGS,
    REGISTER,
    REPORT,
    Exchange,
    Fault,
    cut_reply,
    drop,
    enrich,
    refuse,
    shorten,
    slow,
    twice,
)
from rota.wiring.check_worker.ground import ECHO, Failed
from rota.wiring.check_worker.scene import Check, Scene, has_leases

_IDLE_S = 1.5
_MOST_CLAIMS = 20  # in this time, while there is nothing to do and long polls end after a quarter of a second


async def lost_register_reply(scene: Scene) -> None:
    """The first registration is done, and its reply lost."""
    scene.faults.put("the reply is lost", cut_reply, REGISTER)
    await scene.worker.start()
    await scene.worker.registered()
    await scene.works()


async def lost_claim_reply(scene: Scene) -> None:
    """A job is leased, and the reply lost: it comes back, because heartbeats do not name it."""
    await scene.start()
    fault = scene.faults.put("the reply is lost", cut_reply, CLAIM, when=has_leases)
    job = await scene.ground.submit(ECHO, 1)
    await scene.ground.over(job, State.SUCCEEDED, within_s=3 * scene.ground.lease_s + scene.ground.patience_s)
    _happened(fault)
    scene.same_registration()


async def lost_report_reply(scene: Scene) -> None:
    """A report is stored, and the reply lost: the same report again changes nothing."""
    await scene.start()
    scene.faults.put("the reply is lost", cut_reply, REPORT)
    jobs = [await scene.ground.submit(ECHO, n) for n in range(3)]
    for job in jobs:
        await scene.ground.over(job, State.SUCCEEDED, attempts=1)
    scene.same_registration()


async def lost_report(scene: Scene) -> None:
    """Reports are lost before the server gets them: they are repeated, and meanwhile the lease is renewed."""
    await scene.start()
    fault = scene.faults.put("the request is lost", drop, REPORT, times=2)
    job = await scene.ground.submit(ECHO, 1)
    await scene.ground.over(job, State.SUCCEEDED, attempts=1)
    _happened(fault)


async def lost_heartbeat_reply(scene: Scene) -> None:
    """One heartbeat's reply is lost: nothing has to end."""
    await scene.start()
    lasts_s = scene.ground.lease_s
    job, _ = await scene.sleeper(lasts_s)
    fault = scene.faults.put("the reply is lost", cut_reply, HEARTBEAT)
    await scene.ground.over(job, State.SUCCEEDED, within_s=lasts_s + scene.ground.patience_s, attempts=1)
    scene.same_registration()
    _happened(fault)


async def errors(scene: Scene) -> None:
    """Every call fails twice: by the server (500, 503), or by a proxy in front of one that is away (502)."""
    for verb in (REGISTER, CLAIM, HEARTBEAT):
        scene.faults.put("answered 500", refuse(500), verb)
    for verb in (REPORT, LOGS):
        scene.faults.put("answered 502", refuse(502), verb)
    for verb in (REGISTER, CLAIM, HEARTBEAT, REPORT, LOGS):
        scene.faults.put("answered 503", refuse(503), verb)
    await scene.start()
    job, ticks = await scene.sleeper(2.0)
    await scene.ground.over(job, State.SUCCEEDED, attempts=1)
    await _all_told(scene, job, ticks.count())


async def slow_answers(scene: Scene) -> None:
    """Every answer takes half a second longer."""
    scene.faults.put("slow", slow(0.5), times=None)
    await scene.start()
    lasts_s = scene.ground.lease_s + 1
    job, _ = await scene.sleeper(lasts_s)
    await scene.ground.over(job, State.SUCCEEDED, within_s=lasts_s + scene.ground.patience_s, attempts=1)
    scene.same_registration()


async def repeated_requests(scene: Scene) -> None:
    """Every request but claims reaches the server twice, and the second reply reaches the worker."""
    scene.faults.put("repeated", twice, REGISTER, HEARTBEAT, REPORT, LOGS, times=None)
    await scene.start()
    job, ticks = await scene.sleeper(1.0)
    jobs = [await scene.ground.submit(ECHO, n) for n in range(3)]
    for each in [job, *jobs]:
        await scene.ground.over(each, State.SUCCEEDED, attempts=1)
    await _all_told(scene, job, ticks.count())
    for each in jobs:
        _not_for_ever(scene, each)


async def stale_report(scene: Scene) -> None:
    """A report comes too late: the attempt is another's, and the answer says so."""
    await scene.start()
    job = await scene.ground.submit(ECHO, 1)

    async def too_late(exchange: Exchange) -> None:
        await scene.ground.lose(job)
        await exchange.reply(await exchange.work())

    scene.faults.put("too late", too_late, REPORT)
    await scene.ground.over(job, State.SUCCEEDED, attempts=2)
    await scene.works()
    _not_for_ever(scene, job)
    scene.same_registration()


async def long_poll(scene: Scene) -> None:
    """Claims end with nothing, again and again; then there is a job."""
    scene.faults.put("the wait is cut short", shorten, CLAIM, times=None)
    await scene.start()
    before = len(scene.faults.of(CLAIM))
    await asyncio.sleep(_IDLE_S)
    claims = len(scene.faults.of(CLAIM)) - before
    if claims > _MOST_CLAIMS:
        raise Failed(f"claims that wait: at most {_MOST_CLAIMS} in {_IDLE_S:g} s", f"there were {claims}")
    await scene.works()


async def unknown_fields(scene: Scene) -> None:
    """Every answer has members that no worker knows."""
    scene.faults.put("members of a later version", enrich, times=None)
    await scene.start()
    await scene.works()
    job, ticks = await scene.sleeper()
    await scene.ground.service.jobs.abort(job)
    await scene.aborted(job, ticks)


async def restart(scene: Scene) -> None:
    """The server is gone for a second, and comes back with its store."""
    await scene.start()
    job, _ = await scene.sleeper(4.0)
    await scene.ground.close()
    await asyncio.sleep(1.0)
    await scene.ground.open()
    await scene.ground.over(job, State.SUCCEEDED, attempts=1)
    await scene.works()


def _happened(fault: Fault) -> None:
    """Raise Failed if a fault had nothing to happen to."""
    if not fault.happened:
        raise Failed(f"a {' or '.join(fault.verbs)}", "there was none")


async def _all_told(scene: Scene, job: str, lines: int) -> None:
    text = "".join(chunk.text for chunk in await scene.ground.service.jobs.logs(job))
    told = [line for line in text.splitlines() if line.startswith("tick")]
    if told != [f"tick {n}" for n in range(1, lines + 1)]:
        raise Failed(f"the {lines} lines that the job wrote, each once", f"there are {len(told)}: {told[:3]} …")


def _not_for_ever(scene: Scene, job: str) -> None:
    """Raise Failed if a report that was answered is told again and again."""
    times = len(scene.reports_of(job, 1))
    if times > 3:
        raise Failed("that what was answered is not reported again", f"attempt 1 was reported {times} times")


CHECKS = [
    Check("lost-register-reply", "registers again when the reply to a registration is lost", lost_register_reply),
    Check("lost-claim-reply", "does not name what it has not heard of, so that it comes back", lost_claim_reply),
    Check("lost-report-reply", "repeats or forgets a report whose reply is lost, and goes on", lost_report_reply),
    Check("lost-report", "repeats a report that was not answered, and keeps the lease meanwhile", lost_report),
    Check("lost-heartbeat-reply", "goes on when one heartbeat's reply is lost", lost_heartbeat_reply, leases=2.0),
    Check("errors", "tries again after errors of the server, whatever the call", errors),
    Check("slow-answers", "keeps its leases when every answer takes half a second", slow_answers, leases=1.5),
    Check("repeated-requests", "is content with the answer to a repetition", repeated_requests),
    Check("stale-report", "goes on when a report is not accepted", stale_report),
    Check("long-poll", "claims again when a long poll ends with nothing, and does not spin", long_poll),
    Check("unknown-fields", "ignores members of answers that it does not know", unknown_fields),
    Check("restart", "goes on with what it runs when the server was away for a second", restart, leases=3.0),
]
