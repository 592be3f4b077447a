"""A worker that is wrong in one way: `python -m tests.check_worker.broken NAME`, or `none` for the right one."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from tests.check_worker.broken.worker import Attempt, Unanswered, Unknown, Worker


class NeverHeartbeats(Worker):
    def heartbeats(self) -> None:
        time.sleep(1)

    def heartbeat(self) -> None:
        pass


class NamesNothing(Worker):
    def heartbeat(self) -> None:
        self.obey(self.call("POST", f"/{self.id}/heartbeat", {"held": []}))


class HeartbeatsOnlyBetweenJobs(Worker):
    def heartbeats(self) -> None:
        if self.held:
            time.sleep(0.1)
        else:
            super().heartbeats()

    def cut_off(self) -> bool:
        return False


class IgnoresAborts(Worker):
    def abort(self, order: Any) -> None:
        if order["why"] == "timed_out":
            super().abort(order)


class IgnoresTimeouts(Worker):
    def abort(self, order: Any) -> None:
        if order["why"] == "requested":
            super().abort(order)


class HearsOnlyTheWatch(Worker):
    def heartbeat(self) -> None:
        named, sent = self.all(), time.monotonic()
        self.call("POST", f"/{self.id}/heartbeat", {"held": [one.name for one in named]})
        for one in named:
            one.since = sent


class ReportsAbortsTooEarly(Worker):
    def end(self, one: Attempt, why: str, grace_s: float) -> None:
        if one.why:
            return
        if why == "aborted":
            self.report(one, {"outcome": "aborted", **self.proof()})
        if why in ("aborted", "lost"):  # the server says "lost" as soon as it has been told of an end
            time.sleep(5.0)  # what is broken about it: the process goes on after the report
        super().end(one, why, grace_s)


class ProvesNothing(Worker):
    def proof(self) -> dict[str, Any]:
        return {}


class ReportsSuccessOfWhatWasAborted(Worker):
    def report(self, one: Attempt, report: dict[str, Any]) -> None:
        super().report(one, {"outcome": "succeeded"} if one.why else report)


class ReportsAnotherAttempt(Worker):
    def report(self, one: Attempt, report: dict[str, Any]) -> None:
        self.insist(f"/{self.id}/report", {"reports": [{**one.name, "attempt": one.lease["attempt"] + 1, **report}]})


class ReportsTwiceWithAWrongAttempt(Worker):
    def report(self, one: Attempt, report: dict[str, Any]) -> None:
        super().report(one, report)
        self.insist(f"/{self.id}/report", {"reports": [{**one.name, "attempt": one.lease["attempt"] + 1, **report}]})


class ReportsOnce(Worker):
    def report(self, one: Attempt, report: dict[str, Any]) -> None:
        with suppress(Unknown, Unanswered):
            self.call("POST", f"/{self.id}/report", {"reports": [{**one.name, **report}]})


class ReportsUntilAccepted(Worker):
    def report(self, one: Attempt, report: dict[str, Any]) -> None:
        body = {"reports": [{**one.name, **report}]}
        for _ in range(20):
            if self.insist(f"/{self.id}/report", body).get("settled", [{}])[0].get("accepted"):
                return


class RunsOnWhenCutOff(Worker):
    def cut_off(self) -> bool:
        return False


class CountsFromTheLastHeartbeatItSent(Worker):
    def heartbeat(self) -> None:
        for one in self.all():
            one.since = time.monotonic()
        super().heartbeat()


class WaitsForEverForAHeartbeat(Worker):
    """It looks at the clock between heartbeats, and has no timeouts."""

    def cut_off(self) -> bool:
        return False

    def heartbeat(self) -> None:
        super().heartbeat()
        if super().cut_off():
            self.over.set()

    def call(self, method: str, path: str, body: Any = None, timeout: float = 10.0) -> Any:
        return super().call(method, path, body, 1000.0)


class RunsWhatIsLost(Worker):
    def lose(self, lost: Any) -> None:
        pass


class StaysWhenItIsForgotten(Worker):
    def cut_off(self) -> bool:
        return False

    def unknown(self, over: threading.Event) -> None:
        time.sleep(0.2)


class RegistersBeforeItKills(Worker):
    def at_end(self) -> None:
        left = self.all()
        threading.Timer(2.0, lambda: [self.end(one, "lost", 0.0) for one in left]).start()


class RegistersAgainWhenACallFails(Worker):
    def unanswered(self) -> None:
        self.over.set()

    def at_end(self) -> None:
        if self.stopping:
            super().at_end()


class GivesUpAfterAnError(Worker):
    def unanswered(self) -> None:
        os._exit(1)


class GivesUpAtTheStart(Worker):
    def register(self) -> Any:
        try:
            return super().register()
        except Unanswered:
            os._exit(1)


class NumbersOutputAnew(Worker):
    def tell(self, one: Attempt, n: int, text: str) -> None:
        for more in range(50):
            with suppress(Unknown, Unanswered):
                body = {"logs": [{**one.name, "n": n * 50 + more, "stream": "stdout", "text": text}]}
                self.call("POST", f"/{self.id}/logs", body)
                break


class TellsOutputAtTheEnd(Worker):
    def output(self, one: Attempt, stream: Any) -> None:
        self.tell(one, 0, stream.read().decode())


class DropsOutput(Worker):
    def tell(self, one: Attempt, n: int, text: str) -> None:
        with suppress(Unknown, Unanswered):
            self.call("POST", f"/{self.id}/logs", {"logs": [{**one.name, "n": n, "stream": "stdout", "text": text}]})


class TakesTooMany(Worker):
    def free(self) -> int:
        return self.slots + 2 - len(self.held)


class Spins(Worker):
    claim_wait_s = 0.0


class IsStrictAboutAnswers(Worker):
    def call(self, method: str, path: str, body: Any = None, timeout: float = 10.0) -> Any:
        answer = super().call(method, path, body, timeout)
        assert set(answer) <= {"worker", "lease_s", "heartbeat_s", "leases", "abort", "lost", "drain", "settled"}
        return answer


class SendsFieldsOfItsOwn(Worker):
    def more(self) -> dict[str, Any]:
        return {"colour": "blue"}

    def register(self) -> Any:
        super().register()  # refused
        return Worker.call(self, "POST", "", {"name": "w", "handlers": [{"name": "rota.check.echo"}]})


class OffersLess(Worker):
    def call(self, method: str, path: str, body: Any = None, timeout: float = 10.0) -> Any:
        if path == "":
            body = {**body, "handlers": body["handlers"][:2]}
        return super().call(method, path, body, timeout)


class ReportsTexts(Worker):
    def succeeded(self, result: Any) -> dict[str, Any]:
        return {"outcome": "succeeded", "result": str(result)}


class HidesMessages(Worker):
    def failed(self, message: str) -> dict[str, Any]:
        return super().failed("something went wrong")


class LeavesChildrenBehind(Worker):
    def kill(self, process: Any, number: int) -> bool:
        if process.returncode is not None:
            return False
        os.kill(process.pid, number)
        return True

    def output(self, one: Attempt, stream: Any) -> None:
        if "script" not in one.lease or "trap" not in one.lease["script"]:
            super().output(one, stream)


class IgnoresDrain(Worker):
    def drain(self) -> None:
        pass


class IgnoresSigterm(Worker):
    def stop(self) -> None:
        pass


class GoesWithoutGoodbye(Worker):
    def leave(self) -> None:
        pass


class ReportsForEver(Worker):
    goodbye_s = 1000.0


class DiesAtOnce(Worker):
    def stop(self) -> None:
        self.leave()
        os._exit(0)


if __name__ == "__main__":
    name = sys.argv[1]
    kinds = {kind.__name__: kind for kind in Worker.__subclasses__()}
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    (Worker if name == "none" else kinds[name])().run()
