"""Checks of the plain days: registering, running, failing, output, aborting, timing out."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from rota.core.retry import Backoff
from rota.core.states import Reason, State
from rota.wiring.check_worker.faults import CLAIM, HEARTBEAT, LOGS, WATCH, cut_reply, drop, held
from rota.wiring.check_worker.ground import ECHO, FAIL, GRACE_S, SLEEP, Failed, Skipped, Ticks, until
from rota.wiring.check_worker.scene import Check, Scene, has_aborts, has_leases
from rota.worker.proctree import is_alive

_VALUES = [
    "text", "", 'quotes " \' and \\ backslashes\n\ttabs $HOME `id` %s', "é, 日本語, \U0001f40c, \u2028",
    0, -1.5, 123456789012345, True, False, None, [1, [2, []], "three"], {"a": {"b": [None, "c d"]}, "key with space": 1},
    "x" * 300_000,
]  # fmt: skip
_MOST_SLOTS = 16
_TREE = """trap '' TERM
sleep 300 &
echo $! >>"{file}"
bash -c 'trap "" TERM; echo $$ >>"{file}"; while :; do sleep 1; done' &
echo $$ >>"{file}"
wait
while :; do sleep 1; done
"""


async def registers(scene: Scene) -> None:
    """Look at what it says of itself."""
    await scene.start()
    offered = {spec["name"] for spec in scene.hello.get("handlers", [])}
    missing = [name for name in (ECHO, SLEEP, FAIL, *scene.handlers) if name not in offered]
    if missing:
        raise Failed(f"that it offers {', '.join(missing)}", f"it offers {', '.join(sorted(offered)) or 'none'}")
    slots = scene.hello.get("slots", 1)
    if scene.expected_slots is not None and slots != scene.expected_slots:
        raise Failed(f"{scene.expected_slots} slots", f"it registered {slots}")
    if slots < 1:
        raise Failed("at least one slot", f"it registered {slots}")


async def runs(scene: Scene) -> None:
    """Echo all kinds of values."""
    await scene.start()
    jobs = [(await scene.ground.submit(ECHO, value), value) for value in _VALUES]
    for job, value in jobs:
        found = await scene.ground.over(job, State.SUCCEEDED, attempts=1)
        result = msgspec.json.decode(found.result) if found.result is not None else None
        if result != value or isinstance(result, bool) is not isinstance(value, bool):
            raise Failed(f"the result {value!r:.80}", f"the result was {result!r:.80}")


async def fails(scene: Scene) -> None:
    """Fail, twice, with a message."""
    await scene.start()
    message = "no good: \"é\" 'quoted'"
    fields = {"retries": 1, "backoff": Backoff(base=0.05)}
    job = await scene.ground.submit(FAIL, {"message": message}, **fields)
    found = await scene.ground.over(job, State.FAILED, attempts=2)
    if found.reason is not Reason.ERROR or found.error is None or message not in found.error.message:
        told = f"{found.error.type}: {found.error.message:.200}" if found.error else "no error"
        raise Failed(f"an error whose message has {message!r}", f"the reason is {found.reason}, {told}")
    await scene.works()


async def logs(scene: Scene) -> None:
    """Read what a job writes, while it runs and afterwards; one reply is lost."""
    await scene.start()
    scene.faults.put("the reply is lost", cut_reply, LOGS)
    lasts_s = scene.ground.lease_s  # longer on a slow machine
    job, ticks = await scene.sleeper(lasts_s)
    read = scene.ground.service.jobs.logs

    async def told() -> bool | None:
        return bool(await read(job)) and (await scene.ground.job(job)).state is State.RUNNING

    await until(told, 0.6 * lasts_s, "that output is told while the job runs", "nothing was told before the end")
    await scene.ground.over(job, State.SUCCEEDED, attempts=1)
    chunks = await read(job)
    numbers = [chunk.n for chunk in chunks]
    if numbers != list(range(len(numbers))):
        raise Failed("pieces that are numbered 0, 1, 2, …", f"their numbers are {numbers}")
    lines = [line for line in "".join(chunk.text for chunk in chunks).splitlines() if line.startswith("tick")]
    expected = [f"tick {n}" for n in range(1, ticks.count() + 1)]
    if lines != expected:
        at = next(
            (n for n, (a, b) in enumerate(zip(lines, expected, strict=False)) if a != b), min(len(lines), len(expected))
        )
        raise Failed(
            f"the {len(expected)} lines that the job wrote, each once, in order, before its report",
            f"there are {len(lines)}; they differ from line {at + 1} on: {lines[at : at + 3]}",
        )


async def slots(scene: Scene) -> None:
    """Offer more than there are slots for."""
    await scene.start()
    most = scene.hello.get("slots", 1)
    if most > _MOST_SLOTS:
        raise Skipped(f"it has {most} slots; this is checked up to {_MOST_SLOTS} (--slots)")
    every = [Ticks(scene.ground.folder / f"slot-{n}") for n in range(most + 2)]
    jobs = [await scene.ground.submit(SLEEP, {"seconds": 0.8, "file": str(ticks.path)}) for ticks in every]
    began: dict[Path, float] = {}
    left = set(jobs)
    deadline = time.monotonic() + 2 * scene.ground.patience_s
    while left and time.monotonic() < deadline:
        now = time.time()
        for ticks in every:
            if ticks.path.exists():
                began.setdefault(ticks.path, now)
        left = {job for job in left if (await scene.ground.job(job)).state is not State.SUCCEEDED}
        await asyncio.sleep(0.02)
    if left:
        raise Failed(f"that {len(jobs)} jobs are done", f"{len(left)} are not")
    spans = [(began[ticks.path] + 0.05, ticks.last_at()) for ticks in every]
    for start, _ in spans:
        beside = sum(other_start <= start < other_end for other_start, other_end in spans)
        if beside > most:
            raise Failed(f"at most {most} jobs at once: so many slots were registered", f"{beside} ran at once")


async def abort(scene: Scene) -> None:
    """Abort what runs."""
    await scene.start()
    job, ticks = await scene.sleeper()
    await scene.ground.service.jobs.abort(job)
    await scene.aborted(job, ticks)
    report = scene.reports_of(job)[0]
    if report["outcome"] != "aborted" or report.get("proof") is None:
        raise Failed("a report whose outcome is aborted, with a proof of what was done", f"the report was {report}")
    await scene.works()
    scene.same_registration()


async def abort_by_heartbeat(scene: Scene) -> None:
    """Abort what runs while the watch does not get through, and the first heartbeat that says so is not heard."""
    await scene.start()
    job, ticks = await scene.sleeper()
    scene.faults.put("the request is lost", drop, WATCH, times=None, late=True)
    scene.faults.put("the reply is lost", cut_reply, HEARTBEAT, when=has_aborts)
    await scene.ground.service.jobs.abort(job)
    await scene.aborted(job, ticks)


async def abort_early(scene: Scene) -> None:
    """Abort what is leased, while the claim's reply is still on its way."""
    await scene.start()
    gate = scene.faults.gate()
    scene.faults.put("the reply is late", held(gate), CLAIM, when=has_leases)
    job = await scene.ground.submit(SLEEP, {"seconds": 60, "file": str(scene.ground.folder / "ticks-early")})

    async def leased() -> bool | None:
        return (await scene.ground.job(job)).state is State.RUNNING

    await until(leased, scene.ground.patience_s, "that it claims")
    await scene.ground.service.jobs.abort(job)

    async def told() -> bool | None:
        calls = scene.faults.of(WATCH) + scene.faults.of(HEARTBEAT)
        return any(call.answer is not None and has_aborts(call.answer) for call in calls)

    await until(told, scene.told_s, "that it sends heartbeats while a claim waits")
    gate.set()
    await scene.aborted(job)
    await scene.works()


async def timeout(scene: Scene) -> None:
    """Let a job run out of its time."""
    await scene.start()
    timeout_s = scene.ground.lease_s / 2  # longer on a slow machine: the job has to have begun
    job, ticks = await scene.sleeper(timeout=timeout_s)
    found = await scene.ground.over(job, State.FAILED, within_s=timeout_s + scene.told_s + GRACE_S)
    if found.reason is not Reason.TIMED_OUT or not scene.reports_of(job):
        raise Failed("a report whose outcome is timed_out", await scene.ground.describe(found))
    await ticks.silent(0.5, "that an end is reported when what ran has ended, not before")
    await scene.works()


async def script(scene: Scene) -> None:
    """Abort a script whose processes do not want to end."""
    await scene.start()
    if not scene.hello.get("scripts"):
        raise Skipped("it does not offer scripts")
    greeting = await scene.ground.submit("", script="echo hello $ROTA_ATTEMPT; exit 3")
    failed = await scene.ground.over(greeting, State.FAILED, attempts=1)
    written = "".join(chunk.text for chunk in await scene.ground.service.jobs.logs(greeting))
    if "hello 1" not in written:
        raise Failed("the script's output, with ROTA_ATTEMPT in its environment", f"its output was {written!r}")
    if failed.error is None:
        raise Failed("an error that says how the script ended", "there is none")
    file = scene.ground.folder / "pids"
    job = await scene.ground.submit("", script=_TREE.format(file=file))

    async def pids() -> list[int] | None:
        words = file.read_text().split() if file.exists() else []
        return [int(word) for word in words] if len(words) >= 3 else []

    tree = await until(pids, scene.ground.patience_s, "that the script runs")
    try:
        await scene.ground.service.jobs.abort(job)
        await scene.aborted(job)
        left = [pid for pid in tree if is_alive(pid)]
    finally:  # it was we who asked for processes that will not end
        for pid in tree:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    if left:
        raise Failed("that the script's processes have all ended when the abort is reported", f"{len(left)} still run")


CHECKS = [
    Check("registers", "registers, offering the kit's handlers", registers),
    Check("runs", "runs jobs and reports their results, whatever JSON they are", runs),
    Check("fails", "reports an error with its message, attempt by attempt", fails),
    Check("logs", "tells output while a job runs: in order, numbered from 0, each piece once", logs),
    Check("slots", "runs no more jobs at once than it has slots", slots),
    Check("abort", "ends what is aborted, reports it with a proof, and goes on", abort),
    Check("abort-by-heartbeat", "hears of an abort though its watch fails and a reply is lost", abort_by_heartbeat),
    Check("abort-early", "obeys an abort of what it has not started yet", abort_early),
    Check("timeout", "ends what is over its time, and reports timed_out", timeout),
    Check("script", "gives scripts their environment, and ends all their processes", script),
]  # fmt: skip
