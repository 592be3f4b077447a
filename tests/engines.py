"""A real container engine: dockerd, started by the test run in a folder of its own, with an image made from local files.

It leaves the machine's network alone (no bridge, no rules) and is ended by its own process id, or with the test run.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from rota.worker import reaper
from tests import leavings

IMAGE = "local/busybox:1"
_PATIENCE_S = 60.0


class Engine:
    """A dockerd; `place` is its socket. Its storage is the best that it finds: some copy the whole image for each container."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="rota-engine-"))
        self.place = str(self._folder / "engine.sock")
        self.url = f"unix://{self.place}"
        self._http = httpx.Client(transport=httpx.HTTPTransport(uds=self.place), base_url="http://engine", timeout=60)
        self.start()

    def start(self) -> None:
        """Start it, and return when it answers."""
        folder = self._folder
        for left in ("pid", "exec/containerd/containerd.pid"):
            (folder / left).unlink(missing_ok=True)
        with (folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "dockerd", "-H", self.url, "--data-root", folder / "data",
                 "--exec-root", folder / "exec", "--pidfile", folder / "pid",
                 "--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--log-level=warn"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        wait_until(self._answers, "dockerd answers")

    def _answers(self) -> bool:
        assert self.process.poll() is None, (self._folder / "log").read_text()[-3000:]
        with suppress(OSError):
            return reaper.call(self.place, "GET", "/_ping")[0] == 200
        return False

    def load(self) -> None:
        """Make IMAGE: busybox and nothing else."""
        busybox = shutil.which("busybox")
        assert busybox is not None
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for folder in ("bin", "tmp"):
                entry = tarfile.TarInfo(folder)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o777
                tar.addfile(entry)
            tar.add(os.path.realpath(busybox), "bin/busybox")
            for name in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
                if name != "busybox":
                    link = tarfile.TarInfo(f"bin/{name}")
                    link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                    tar.addfile(link)
        repository, tag = IMAGE.split(":")
        query = {"fromSrc": "-", "repo": repository, "tag": tag, "changes": "ENV PATH=/bin"}
        self.call("POST", "/images/create", params=query, content=packed.getvalue())
        self.call("POST", f"/images/{IMAGE}/tag", params={"repo": "busybox", "tag": "1.36"})  # as documents call it

    def call(self, method: str, path: str, **more: Any) -> Any:
        answer = self._http.request(method, path, **more)
        assert answer.status_code < 300, answer.text
        return (
            json.loads(answer.content)
            if answer.headers.get("content-type") == "application/json" and answer.content
            else None
        )

    def containers(self, label: str = "rota.job") -> list[dict[str, Any]]:
        """Return the containers that carry a label, whatever their state."""
        filters = json.dumps({"label": [label]})
        found: list[dict[str, Any]] = self.call("GET", "/containers/json", params={"all": "true", "filters": filters})
        return found

    def find(self, name: str) -> dict[str, Any] | None:
        """Return what it knows of a container; None when there is none (any more, or yet: it lists some too early)."""
        answer = self._http.get(f"/containers/{name}/json")
        assert answer.status_code in (200, 404), answer.text
        found: dict[str, Any] | None = answer.json() if answer.status_code == 200 else None
        return found

    def inspect(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", f"/containers/{name}/json")
        return found

    def kill(self) -> None:
        """End dockerd, and the containerd that it has started, as a crash does. Their containers go on."""
        containerd = int((self._folder / "exec/containerd/containerd.pid").read_text())
        self.process.kill()
        os.kill(containerd, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """End it and all that it ran, and leave nothing behind."""
        if self.process.poll() is None:
            with suppress(httpx.TransportError):
                for container in self.call("GET", "/containers/json", params={"all": "true"}):
                    self._http.delete(f"/containers/{container['Id']}", params={"force": "true"})
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(30)
            self.process.kill()
            self.process.wait()
        self._http.close()
        leavings.remove(self._folder)


def need(*programs: str, packages: str) -> None:
    """Skip a test that lacks one of these programs, or the rights of root, and say so; it fails where CI is set."""
    missing = [program for program in programs if shutil.which(program) is None]
    if os.geteuid() != 0:
        missing.append("the rights of root")
    if missing:
        why = f"a container engine needs {', '.join(missing)} (Debian: apt install {packages})"
        if "CI" in os.environ:
            pytest.fail(why)
        pytest.skip(why)


def start_engine() -> Engine:
    """Start an engine with IMAGE. Without what it takes: a skip that says so, and an error where CI is set."""
    need("setpriv", "dockerd", "containerd", "runc", "busybox", packages="docker.io busybox-static")
    engine = Engine()
    try:
        engine.load()
    except BaseException:
        engine.stop()
        raise
    return engine


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """One engine for all tests of a run."""
    started = start_engine()
    yield started
    started.stop()


def wait_until(condition: Any, what: str, seconds: float = _PATIENCE_S) -> Any:
    """Ask again and again until something is true, and return it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")
