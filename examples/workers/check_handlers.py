"""The handlers that `rota check-worker` asks a worker to offer, in Python.

rota check-worker -- rota worker --app examples.workers.check_handlers:app
"""

from __future__ import annotations

import time
from typing import Any

import rota

app = rota.App()


@app.handler(name="rota.check.echo")
def echo(*args: Any, **data: Any) -> Any:
    """Return the job's data."""
    return args[0] if args else data or None


@app.handler(name="rota.check.sleep")
def sleep(seconds: float, file: str | None = None) -> None:
    """Sleep; say so ten times a second, and in a file."""
    began, n = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        n += 1
        print(f"tick {n}", flush=True)
        if file is not None:
            with open(file, "a") as ticks:
                ticks.write(f"tick {n}\n")
        time.sleep(0.1)


@app.handler(name="rota.check.fail")
def fail(message: str) -> None:
    """Fail."""
    raise RuntimeError(message)
