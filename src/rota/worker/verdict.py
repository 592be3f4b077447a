"""How what became of an attempt is put into a report."""

from __future__ import annotations

import signal
from typing import Any

import msgspec
from msgspec import Raw

from rota.core.jobs import NULL, Failure, Lease, Proof, Report
from rota.core.states import Outcome
from rota.worker.capture import Capture, Collected
from rota.worker.frames import Exited
from rota.worker.handle import ChildHandle, Running

_CPU_CODES = (-signal.SIGXCPU, 128 + signal.SIGXCPU)


def report_done(run: Running, proof: Proof | None = None) -> Report:
    """Return the report of an attempt whose child said how it ended, whose tree is gone."""
    assert run.done is not None, "the child said something"
    if run.stopped_as is not None and run.done.aborting:
        return report_stopped(run, proof)
    if isinstance(run.done, Exited):
        return _report_script(run, run.done, proof)
    done = run.done
    if done.outcome is Outcome.ABORTED:  # nobody asked: a SIGTERM from outside, or `raise Aborted`
        return report_lost(run, "the handler was ended by a SIGTERM that Rota did not send", proof)
    return Report(
        job=run.lease.job,
        attempt=run.lease.attempt,
        outcome=done.outcome,
        result=NULL if done.result is None else Raw(done.result),
        error=done.error,
        retry_in_s=done.retry_in_s,
        refused=done.refused,
        proof=proof,
    )


def report_stopped(run: Running, proof: Proof | None) -> Report:
    """Return the report of an attempt that was stopped."""
    assert run.stopped_as is not None, "somebody stopped it"
    error = None
    if run.stopped_as is Outcome.TIMED_OUT and run.lease.timeout_s is not None:
        error = timeout_failure(run.lease)
    code = run.done.status if isinstance(run.done, Exited) else None
    return _report(run, run.stopped_as, error, proof, exit_code=None if code is None else _exit_code(code))


def report_lost(
    run: Running, why: str, proof: Proof | None, *, charged: bool = True, out_of_memory: bool = False
) -> Report:
    """Return the report of an attempt whose process ended without a word."""
    outcome = Outcome.OUT_OF_MEMORY if out_of_memory else Outcome.LOST
    return _report(run, outcome, Failure("OutOfMemory" if out_of_memory else "Lost", why), proof, charged=charged)


def refusal(lease: Lease, kind: str, message: str) -> Report:
    """Return the report of an attempt that this worker cannot begin."""
    return Report(job=lease.job, attempt=lease.attempt, outcome=Outcome.ERRORED, error=Failure(kind, message))


def report_interrupted(run: Running, proof: Proof | None) -> Report:
    """Return the report of an attempt that shared a process with one that had to be ended."""
    return _report(run, Outcome.INTERRUPTED, None, proof)


def _report_script(run: Running, exited: Exited, proof: Proof | None) -> Report:
    if exited.wrong is not None:
        return _report(run, Outcome.ERRORED, Failure("NotStarted", exited.wrong), proof)
    code = _exit_code(exited.status)
    limits = run.lease.limits
    if limits.cpu is not None and ((exited.cpu_s or 0.0) >= limits.cpu or code in _CPU_CODES):
        error = Failure("CpuLimit", f"it used more than {limits.cpu:g} s of processor time")
        return _report(run, Outcome.ERRORED, error, proof, exit_code=code)
    if code == 0:
        return _report(run, Outcome.SUCCEEDED, None, proof, exit_code=0)
    if run.out_of_memory:
        error = Failure("OutOfMemory", f"it used more than {limits.memory} bytes of memory")
        return _report(run, Outcome.OUT_OF_MEMORY, error, proof, exit_code=code)
    return _report(run, Outcome.ERRORED, exit_failure(exited.status, run.capture), proof, exit_code=code)


def timeout_failure(lease: Lease) -> Failure:
    """Return the error of an attempt that ran over its timeout."""
    return Failure("TimedOut", f"it ran longer than its timeout of {lease.timeout_s:g} s")


def exit_failure(status: int, output: Capture | Collected) -> Failure:
    """Return the error of a program that ended with `status` (as waitpid gives it): its last words say why."""
    message = describe_status(status)
    if line := output.last_line():
        message = f"{message}: {line}"
    return Failure("exit", message)


def _report(run: Running, outcome: Outcome, error: Failure | None, proof: Proof | None, **more: Any) -> Report:
    return Report(job=run.lease.job, attempt=run.lease.attempt, outcome=outcome, error=error, proof=proof, **more)


def proof_of(said: dict[str, Any]) -> Proof:
    """Return the keeper's proof as a Proof."""
    return msgspec.convert(said, Proof)


def both(first: Proof, second: Proof, between_s: float) -> Proof:
    """Join the proofs of two ladders, the second of which began `between_s` after the first."""
    return Proof(
        signals=first.signals + [(name, round(at + between_s, 6)) for name, at in second.signals],
        processes=first.processes + second.processes,
        survivors=second.survivors,
        took_s=round(max(first.took_s, second.took_s + between_s), 6),
    )


def describe_status(status: int) -> str:
    """Say in words what waitpid's status means."""
    code = _exit_code(status)
    if code < 0:
        return f"killed by {_signal_name(-code)}"
    if code > 128 and (name := _signal_name(code - 128)):
        return f"exit code {code} ({name})"
    return f"exit code {code}"


def _exit_code(status: int) -> int:
    """Return the exit code, or minus the signal."""
    return -(status & 0x7F) if status & 0x7F else status >> 8


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "" if not 0 < number < 65 else f"signal {number}"


def last_word(child: ChildHandle, run: Running, status: int | None, proof: Proof, *, struck: bool) -> Report:
    """Return how an attempt ended whose child is gone; `struck`: by the kernel, for want of memory."""
    if child.kind == "async" and run.stopped_as is not None:
        canceled = Proof(signals=[("CANCEL", 0.0)])
        before = canceled if run.swept is None else both(canceled, run.swept, 0.0)
        proof = both(before, proof, max(0.0, child.end_at - run.stopped_at))
    if run.done is not None:
        return report_done(run, proof)
    if run.stopped_as is not None:
        return report_stopped(run, proof)
    if child.killed:
        return report_lost(run, "killed with all that its worker ran", proof)
    if child.stopped:
        return report_interrupted(run, proof)
    how = child.why or f"its process was {describe_status(status or 0)}"
    return report_lost(run, how, proof, out_of_memory=struck)
