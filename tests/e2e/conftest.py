"""Real servers: `rota serve` as a process, with its workers, in a folder of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.processes import PATIENCE_S

HANDLERS = '''
import asyncio, os, subprocess, sys, time
from pathlib import Path
import rota

app = rota.App()

@app.handler
def add(a, b=0):
    return a + b

@app.handler
async def aadd(a, b=0):
    return a + b

@app.handler
def note(path, text="ran", seconds=0):
    with open(path, "a") as file:
        file.write(text + "\\n")
    time.sleep(seconds)
    return text

@app.handler
def fail(message="no"):
    raise ValueError(message)

@app.handler
def flaky(*, ctx: rota.Context):
    if ctx.attempt < 3:
        raise RuntimeError(f"attempt {ctx.attempt}")
    return ctx.attempt

@app.handler
def tree(path, seconds=600):
    """Start children that hide in every way, and write all their pids down."""
    script = """
        trap '' TERM
        setsid sleep 601 & echo $! >> {0}
        nohup sleep 602 >/dev/null 2>&1 & echo $! >> {0}
        (setsid bash -c 'sleep 603 & echo $! >> {0}' &)
        sleep 604 & echo $! >> {0}
        echo $$ >> {0}
        echo ready >> {0}
        wait
    """.format(path)
    Path(path).write_text(f"{os.getpid()}\\n")
    subprocess.Popen(["bash", "-c", script])
    time.sleep(seconds)

@app.handler
def crash():
    os.kill(os.getpid(), 9)

@app.handler
def talk(*, ctx: rota.Context):
    for n in range(5):
        print("line", n, flush=True)
        ctx.progress((n + 1) / 5, f"step {n}")
    ctx.log("the end")

@app.handler
def tell(*, ctx: rota.Context):
    ctx.call_hook({"half": True})
    return {"whole": True}
'''


class Server:
    """A `rota serve` process; `/v1` by `get` and `post`."""

    def __init__(self, folder: Path, *arguments: str, environ: dict[str, str] | None = None) -> None:
        self.folder = folder
        (folder / "e2e_handlers.py").write_text(HANDLERS)
        command = [sys.executable, "-m", "rota", "serve", "--port", "0", "--store", "sqlite:///e2e.db", *arguments]
        if "--app" not in arguments:
            command += ["--app", "e2e_handlers:app"]
        env = {k: v for k, v in os.environ.items() if not k.startswith("ROTA_")}
        env |= {"ROTA_LOG_FORMAT": "json", "ROTA_WORKERS": "1"}  # each takes a second of a core to start
        self.process = subprocess.Popen(
            command, cwd=folder, stderr=subprocess.PIPE, text=True, env=env | (environ or {})
        )
        self.lines: list[str] = []
        self._listening = threading.Event()
        self.url = ""
        self.http = httpx.Client(timeout=PATIENCE_S, verify=False)  # to read certificates takes 20 ms each time
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr:
            for line in self.process.stderr:
                self.lines.append(line)
                if '"server_listening"' in line:
                    self.url = json.loads(line)["url"]
                    self._listening.set()
        self._listening.set()

    def ready(self) -> Server:
        assert self._listening.wait(PATIENCE_S)
        assert self.url, "".join(self.lines)
        wait_for(lambda: self.http.get(self.url + "/readyz").status_code == 200, "ready")
        return self

    def get(self, path: str, **kwargs: Any) -> Any:
        answer = self.http.get(self.url + path, **kwargs)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def post(self, path: str, body: Any = None, status: int | None = None, **kwargs: Any) -> Any:
        answer = self.http.post(self.url + path, json={} if body is None else body, **kwargs)
        assert answer.status_code == status if status else answer.status_code < 300, answer.text
        return answer.json()

    def submit(self, handler: str, data: Any = None, **fields: Any) -> str:
        job: str = self.post("/v1/jobs", {"handler": handler, "data": data, **fields}, 201)["id"]
        return job

    def state(self, job: str) -> str:
        state: str = self.get(f"/v1/jobs/{job}")["state"]
        return state

    def wait(self, job: str, seconds: float = PATIENCE_S) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found: dict[str, Any] = self.get(f"/v1/jobs/{job}", params={"wait": 5})
            if found["finished_at"]:
                return found
        raise AssertionError(f"not over after {seconds} s: {self.get(f'/v1/jobs/{job}/explain')}")

    def family(self) -> list[psutil.Process]:
        """Return the server and all that descends from it."""
        server = psutil.Process(self.process.pid)
        return [server, *server.children(recursive=True)]

    def worker_pids(self) -> list[int]:
        return [worker["pid"] for worker in self.get("/v1/workers")["items"] if worker["state"] == "present"]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.http.close()
        self._reader.join(PATIENCE_S)  # ends when the last heir of standard error has ended

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return status


def wait_for(condition: Callable[[], Any], what: str, seconds: float = PATIENCE_S) -> Any:
    """Ask every few milliseconds until something is true, and return it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if value := condition():
                return value
        except (httpx.TransportError, psutil.NoSuchProcess):
            pass
        time.sleep(0.01)
    raise AssertionError(f"not within {seconds} s: {what}")


def gone(pids: list[int]) -> bool:
    """Say whether none of these processes runs (a zombie does not)."""

    def runs(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return not any(runs(pid) for pid in pids)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(*arguments: str, ready: bool = True, **kwargs: Any) -> Server:
        server = Server(tmp_path, *arguments, **kwargs)
        servers.append(server)
        return server.ready() if ready else server

    yield start
    for server in servers:
        server.kill()
