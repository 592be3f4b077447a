"""The tour's handlers. `rota serve --app examples.handlers:app` offers them; tour.py submits jobs for them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec

import rota
from examples.measure import Measures, measure
from examples.report import Row, html, json

app = rota.App()


@app.handler(timeout=120, retries=1)
def measure_package(package: str, folder: str, files: list[str], *, ctx: rota.Context) -> dict[str, Any]:
    """Measure the files of one package. Runs in a process of its own: `ast` holds the interpreter's lock."""
    began = time.monotonic()
    total = Measures()
    for done, file in enumerate(files):
        ctx.progress(done / len(files), file)
        total.add(measure((Path(folder) / file).read_bytes(), file))
    seconds = round(time.monotonic() - began, 3)
    return {"package": package, "measures": msgspec.to_builtins(total), "seconds": seconds}


@app.handler(timeout=60)
def write_report(server: str, folder: str, *, ctx: rota.Context) -> dict[str, Any]:
    """Write report.html and report.json from the results of all jobs that this one waited for."""
    with rota.Client(server) as client:
        parents = client.get(ctx.job_id).after
        rows = []
        for done, parent in enumerate(parents):
            ctx.progress(done / len(parents), "reading results")
            rows.append(msgspec.convert(client.get(parent).result, Row))
    files = {"report.html": html(rows), "report.json": json(rows)}
    for name, text in files.items():
        (Path(folder) / name).write_text(text, encoding="utf-8")
    print(f"measured {sum(row.measures.files for row in rows):,} files in {len(rows)} packages")
    return {name: str(Path(folder) / name) for name in files}


@app.handler(retries=3)
def unsteady(failures: int, *, ctx: rota.Context) -> str:
    """Fail `failures` times, then succeed."""
    if ctx.attempt <= failures:
        raise ConnectionError(f"attempt {ctx.attempt} was meant to fail")
    return f"succeeded at attempt {ctx.attempt}"


@app.handler
async def remind(text: str) -> str:
    """Say a text. A coroutine: it shares an event loop with others of its kind."""
    await asyncio.sleep(0)
    print(text)
    return text


# What `long_haul` starts: a child, one that a shell starts, one in a session of its own, one that outlives its shell.
_FAMILY = (
    "sleep 3600",
    "sleep 3600 & wait",
    "exec setsid sleep 3600",
    "(setsid nohup sleep 3600 >/dev/null 2>&1 &); exec sleep 3600",
)


@app.handler
def long_haul(seconds: float, *, ctx: rota.Context) -> None:
    """Run for `seconds` with a family of processes below it; two of them try to get away from their parents."""
    family = [subprocess.Popen(["bash", "-c", command]) for command in _FAMILY]
    for done in range(int(seconds)):
        ctx.progress(done / seconds, f"process {os.getpid()} and its family have run for {done} s")
        time.sleep(1)
    for process in family:
        process.wait()
