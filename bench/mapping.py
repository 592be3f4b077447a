"""Arrays: `rota map` beside xargs and GNU parallel; a million inputs taken in; inputs a second; two workers against one."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import limits
from bench.figures import Row
from bench.scale import Scale
from bench.server import Server, new_store
from rota.client import Job

_INPUTS = 6_000
_GNU_SHARE = 10  # GNU parallel takes so long that a tenth of the inputs has to do
_COMMAND = "echo got {}"
_ARRAY = 100_000
_MANY = 1_000_000
_UNEVEN = 400
_LEAST_MS, _MOST_MS = 5, 150


def rows(scale: Scale) -> Iterator[Row]:
    """Run the same commands with `rota map`, xargs and GNU parallel."""
    yield from _beside_others(scale)


def arrays(scale: Scale) -> Iterator[Row]:
    """Measure arrays of handlers: taken in, run, and by two workers instead of one."""
    yield from _many_inputs(scale)
    count = scale.jobs(_ARRAY)
    yield Row(
        f"array of {count:,} trivial handler inputs, 2 workers",
        [_inputs_per_s(count) for _ in scale.repetitions()],
        "/s",
        "≥ 10,000/s (issue)",
    )
    yield from _speed_up(scale)


def _beside_others(scale: Scale) -> Iterator[Row]:
    """Run the same commands with each, in turn, start-up included: the inputs come from a file on stdin."""
    count = scale.jobs(_INPUTS)
    fewer = max(count // _GNU_SHARE, 20)
    ours, xargs, gnu = [], [], []
    for _ in scale.repetitions():
        ours.append(count / _run([sys.executable, "-m", "rota", "map", "-j2", _COMMAND], count))
        xargs.append(count / _run(["xargs", "-P2", "-I{}", "sh", "-c", _COMMAND], count))
        if shutil.which("parallel"):
            gnu.append(fewer / _run(["parallel", "-j2", _COMMAND], fewer))
    yield Row(f"rota map -j2 over {count:,} tiny commands, results kept", ours, "/s", limit=limits.SPAWN)
    yield Row(f"xargs -P2 sh -c over {count:,} tiny commands", xargs, "/s", limit=limits.SPAWN)
    yield Row("rota map over xargs", _ratios(ours, xargs), "times", "≥ 0.9 (design)")
    if gnu:
        yield Row(f"GNU parallel -j2 over {fewer:,} tiny commands", gnu, "/s")
        yield Row("rota map over GNU parallel", _ratios(ours, gnu), "times", "≥ 5 (design)")


def _run(command: Sequence[str], count: int) -> float:
    """Return the seconds that a command takes with `count` lines on stdin; each must give a line."""
    folder = Path(tempfile.mkdtemp(prefix="rota-bench-"))
    env = {name: value for name, value in os.environ.items() if not name.startswith("ROTA_")}
    try:
        (folder / "inputs").write_text("".join(f"{n}\n" for n in range(count)))
        with (folder / "inputs").open() as inputs, (folder / "outputs").open("wb") as outputs:
            began = time.perf_counter()
            subprocess.run(command, cwd=folder, env=env, stdin=inputs, stdout=outputs, check=True)
            took = time.perf_counter() - began
        if (lines := len((folder / "outputs").read_bytes().splitlines())) != count:
            raise RuntimeError(f"{command[0]} gave {lines} lines for {count} inputs")
        return took
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def _many_inputs(scale: Scale) -> Iterator[Row]:
    """Submit an array through the SDK: from the iterable to the answer, which comes when all is on the disk."""
    count = scale.jobs(_MANY)
    seconds, memory = [], []
    for _ in scale.repetitions():
        with new_store() as store, store.serve(workers=0) as server, server.client() as client:
            began = time.perf_counter()
            client.submit("noop", inputs=range(count))
            seconds.append(time.perf_counter() - began)
            memory.append(_peak_mib(server.process.pid))
    yield Row(f"submit an array of {count:,} inputs", seconds, "s", "≤ 5 s (issue)")
    yield Row(f"memory of the server after it, at most: RSS with {count:,} inputs", memory, "MiB", "≤ 300 MB (issue)")


def _peak_mib(pid: int) -> float:
    """Return the most memory that a process ever had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _inputs_per_s(count: int) -> float:
    with new_store() as store, store.serve(workers=2, slots=1) as server:
        _took(server, 1_000)  # warm-up
        return count / _took(server, count)


def _took(server: Server, count: int) -> float:
    """Return the seconds from the first shard's start to the array's end, by the store's own times."""
    with server.client() as client:
        return _span(client.submit("noop_process", inputs=range(count)).wait())


def _span(job: Job) -> float:
    if job.state != "succeeded" or job.started_at is None or job.finished_at is None:
        raise RuntimeError(f"the array {job.state}: {job.error}")
    return (job.finished_at - job.started_at).total_seconds()


def _speed_up(scale: Scale) -> Iterator[Row]:
    """Run inputs that take the processor for 5 to 150 ms with one worker of one slot, then with two."""
    chance = random.Random(3)
    lengths = [chance.randint(_LEAST_MS, _MOST_MS) for _ in range(scale.jobs(_UNEVEN))]
    speed_ups, tails = [], []
    for _ in scale.repetitions():
        (alone, _), (together, tail) = (_uneven(lengths, workers) for workers in (1, 2))
        speed_ups.append(alone / together)
        tails.append(tail)
    yield Row(
        f"{len(lengths)} inputs of {_LEAST_MS} to {_MOST_MS} ms of processor: two workers over one",
        speed_ups,
        "times",
        "≥ 1.8 (issue)",
    )
    yield Row("idle tail of the worker that ends first", tails, "%", "≤ 5 % (issue)")


def _uneven(lengths: Sequence[int], workers: int) -> tuple[float, float]:
    """Return the seconds that an array took, and for what share of them in per cent a worker had nothing left to do."""
    with new_store() as store, store.serve(workers=workers, slots=1) as server, server.client() as client:
        client.submit("burn", inputs=[1] * 20).wait()  # warm-up
        job = client.submit("burn", inputs=lengths).wait()
        took = _span(job)
        last: dict[str | None, float] = {}
        for shard in client.attempts(job):
            if shard.finished_at is not None:
                last[shard.worker] = max(last.get(shard.worker, 0.0), shard.finished_at.timestamp())
        return took, 100 * (max(last.values()) - min(last.values())) / took
