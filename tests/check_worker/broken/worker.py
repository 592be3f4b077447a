"""A worker in plain Python, small and right: what the broken ones are made of. Threads, urllib, a process an attempt."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

HANDLERS = ("rota.check.echo", "rota.check.sleep", "rota.check.fail")
Key = tuple[str, int]


class Unknown(Exception):
    """The server does not know this worker."""


class Unanswered(Exception):
    """No answer, or one that says: try again."""


class Attempt:
    def __init__(self, lease: dict[str, Any]) -> None:
        self.lease = lease
        self.since: float | None = None
        self.why = ""  # it is being ended
        self.process: subprocess.Popen[bytes] | None = None
        self.done = threading.Event()

    @property
    def name(self) -> dict[str, Any]:
        return {"job": self.lease["job"], "attempt": self.lease["attempt"]}


class Worker:
    slots = 2
    claim_wait_s = 20.0
    goodbye_s = 3.0  # how long a worker that stops tries to report what it has ended

    def __init__(self) -> None:
        self.server = os.environ["ROTA_SERVER"] + "/v1/workers"
        self.lock = threading.RLock()
        self.stopping = ""
        self.held: dict[Key, Attempt] = {}
        self.over = threading.Event()
        self.id = ""
        self.lease_s = self.heartbeat_s = 0.0

    # Calls

    def call(self, method: str, path: str, body: Any = None, timeout: float = 10.0) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.server + path, data=data, method=method, headers={"content-type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            if error.code == 404:
                raise Unknown from None
            if error.code >= 500:
                raise Unanswered from None
            return {}
        except OSError:
            raise Unanswered from None
        except Exception:
            raise Unanswered from None
        return json.loads(text) if text else {}

    def insist(self, path: str, body: Any) -> Any:
        while True:
            try:
                return self.call("POST", path, body)
            except Unknown:
                return {}
            except Unanswered:
                time.sleep(0.2)

    # A life

    def run(self) -> None:
        signal.signal(signal.SIGTERM, lambda *_: self.stop())
        while not self.stopping:
            try:
                welcome = self.register()
            except Unanswered:
                time.sleep(0.3)
                continue
            self.id, self.lease_s, self.heartbeat_s = welcome["worker"], welcome["lease_s"], welcome["heartbeat_s"]
            self.held, self.over = {}, threading.Event()
            for loop in (self.claims, self.heartbeats, self.watches):
                threading.Thread(target=self.repeat, args=(loop, self.over), daemon=True).start()
            self.look()
            self.at_end()
        self.leave()

    def stop(self) -> None:
        self.stopping = "now"

    def register(self) -> Any:
        handlers = [{"name": name} for name in HANDLERS]
        return self.call(
            "POST", "", {"name": "small", "handlers": handlers, "scripts": True, "slots": self.slots, **self.more()}
        )

    def more(self) -> dict[str, Any]:
        return {}

    def repeat(self, loop: Any, over: threading.Event) -> None:
        while not over.is_set():
            try:
                loop()
            except Unknown:
                self.unknown(over)
            except Unanswered:
                self.unanswered()

    def unknown(self, over: threading.Event) -> None:
        over.set()

    def unanswered(self) -> None:
        time.sleep(0.2)

    def look(self) -> None:
        """Look at the clock until this registration is over."""
        while not self.over.is_set():
            if self.cut_off():
                self.over.set()
            if self.stopping == "now":
                self.give_back()
            if self.stopping and not self.held:
                self.over.set()
            time.sleep(0.05)

    def cut_off(self) -> bool:
        with self.lock:
            return any(
                one.since is not None and time.monotonic() - one.since > self.lease_s * 0.8
                for one in self.held.values()
            )

    def give_back(self) -> None:
        for one in self.all():
            self.end(one, "interrupted", 1.0)

    def at_end(self) -> None:
        if not self.stopping:
            for one in self.all():
                self.end(one, "lost", 0.0)
        for one in self.all():
            while not (one.done.wait(self.goodbye_s) or self.stopping):
                pass

    def leave(self) -> None:
        with suppress(Unknown, Unanswered):
            self.call("DELETE", f"/{self.id}")

    # Leases and orders

    def all(self) -> list[Attempt]:
        with self.lock:
            return list(self.held.values())

    def claims(self) -> None:
        free = self.free()
        if free < 1 or self.stopping:
            time.sleep(0.05)
            return
        body = {"free": {"process": free, "asynchronous": 0, "total": free}, "wait": self.claim_wait_s}
        answer = self.call("POST", f"/{self.id}/claim", body, self.claim_wait_s + 5)
        new = [Attempt(lease) for lease in self.leases(answer)]
        with self.lock:
            self.held |= {(one.lease["job"], one.lease["attempt"]): one for one in new}
        while new and not self.over.is_set():
            try:
                self.heartbeat()
                break
            except Unanswered:
                time.sleep(0.1)
        for one in new:
            threading.Thread(target=self.attempt, args=(one,), daemon=True).start()

    def free(self) -> int:
        return self.slots - len(self.held)

    def leases(self, answer: Any) -> list[dict[str, Any]]:
        return answer.get("leases", [])

    def heartbeats(self) -> None:
        began = time.monotonic()
        self.heartbeat()
        self.over.wait(max(began + self.heartbeat_s - time.monotonic(), 0.0))

    def heartbeat(self) -> None:
        named, sent = self.all(), time.monotonic()
        body = {"held": [one.name for one in named]}
        self.obey(self.call("POST", f"/{self.id}/heartbeat", body, self.heartbeat_s))
        for one in named:
            one.since = sent

    def watches(self) -> None:
        self.obey(self.call("POST", f"/{self.id}/watch", {"wait": 20}, 25))

    def obey(self, orders: Any) -> None:
        for order in orders.get("abort", []):
            self.abort(order)
        for lost in orders.get("lost", []):
            self.lose(lost)
        if orders.get("drain"):
            self.drain()

    def abort(self, order: Any) -> None:
        one = self.held.get((order["job"], order["attempt"]))
        if one is not None:
            self.end(one, "aborted" if order["why"] == "requested" else "timed_out", order["grace_s"])

    def lose(self, lost: Any) -> None:
        one = self.held.get((lost["job"], lost["attempt"]))
        if one is not None:
            self.end(one, "lost", 0.0)

    def drain(self) -> None:
        self.stopping = self.stopping or "drain"

    # Attempts

    def end(self, one: Attempt, why: str, grace_s: float) -> None:
        with self.lock:
            if one.why and why != "lost":
                return
            one.why = why
        if one.process is not None:
            self.kill(one.process, signal.SIGTERM)
            killer = threading.Timer(grace_s, self.kill, (one.process, signal.SIGKILL))
            killer.daemon = True
            killer.start()

    def kill(self, process: subprocess.Popen[bytes], number: int) -> bool:
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return False
        return True

    def attempt(self, one: Attempt) -> None:
        report = {"outcome": "interrupted"}
        if not (one.why or self.stopping or self.over.is_set()):
            report = self.process(one)
        if one.why in ("aborted", "timed_out", "interrupted"):
            report = {"outcome": one.why, **self.proof()}
        if one.why != "lost":
            self.report(one, report)
        with self.lock:
            self.held.pop((one.lease["job"], one.lease["attempt"]), None)
        one.done.set()

    def proof(self) -> dict[str, Any]:
        return {"proof": {"signals": [["SIGTERM", 0.0]], "processes": 1}}

    def report(self, one: Attempt, report: dict[str, Any]) -> None:
        self.insist(f"/{self.id}/report", {"reports": [{**one.name, **report}]})

    def process(self, one: Attempt) -> dict[str, Any]:
        lease = one.lease
        script = lease.get("script")
        command = ["bash", "-c", script] if script else [sys.executable, "-S", __file__, lease["handler"]]
        ours, theirs = os.pipe()
        one.process = subprocess.Popen(
            command,
            env={"PATH": os.environ["PATH"], "ROTA_ATTEMPT": str(lease["attempt"]), "RESULT_FD": str(theirs)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            pass_fds=() if script else (theirs,), start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        if one.why or self.over.is_set():
            self.kill(one.process, signal.SIGKILL)
        result: list[bytes] = []
        readers = [
            threading.Thread(target=self.output, args=(one, one.process.stdout), daemon=True),
            threading.Thread(target=lambda: result.append(Path(f"/dev/fd/{ours}").read_bytes()), daemon=True),
        ]
        for reader in readers:
            reader.start()
        with suppress(BrokenPipeError):
            one.process.stdin.write(json.dumps(lease.get("data")).encode())
        with suppress(BrokenPipeError):
            one.process.stdin.close()
        status = one.process.wait()
        self.swept(one)
        for reader in readers:
            reader.join()
        os.close(ours)
        if status == 0:
            return self.succeeded(json.loads(result[0] or b"null"))
        error = json.loads(result[0]) if result[0] else f"status {status}"
        return self.failed(error)

    def swept(self, one: Attempt) -> None:
        if not one.why:
            self.kill(one.process, signal.SIGKILL)
        while self.kill(one.process, 0):
            time.sleep(0.01)

    def succeeded(self, result: Any) -> dict[str, Any]:
        return {"outcome": "succeeded", "result": result}

    def failed(self, message: str) -> dict[str, Any]:
        return {"outcome": "errored", "error": {"type": "Error", "message": message}}

    def output(self, one: Attempt, stream: Any) -> None:
        n = 0
        while piece := os.read(stream.fileno(), 65536):
            self.tell(one, n, piece.decode(errors="replace"))
            n += 1

    def tell(self, one: Attempt, n: int, text: str) -> None:
        self.insist(f"/{self.id}/logs", {"logs": [{**one.name, "n": n, "stream": "stdout", "text": text}]})


def handle(name: str) -> None:
    """Run a handler, in a process of its own."""
    data = json.loads(sys.stdin.buffer.read())
    result = None
    if name == "rota.check.echo":
        result = data
    elif name == "rota.check.fail":
        os.write(int(os.environ["RESULT_FD"]), json.dumps(data["message"]).encode())
        sys.exit(1)
    else:
        for n in range(1, round(data["seconds"] * 10) + 1):
            with suppress(OSError):
                os.write(1, f"tick {n}\n".encode())
            with open(data["file"], "a") as ticks:
                ticks.write(f"tick {n}\n")
            time.sleep(0.1)
    with open(int(os.environ["RESULT_FD"]), "wb") as output:
        output.write(json.dumps(result).encode())


if __name__ == "__main__":
    handle(sys.argv[1])
