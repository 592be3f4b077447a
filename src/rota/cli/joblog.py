"""The log of a run in the format of GNU parallel's `--joblog`: tab-separated, a line for each input that is over."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

from rota.core.errors import Invalid

HEADER = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n"
_TIMED_OUT = (-1, 15)  # exit value and signal, as GNU parallel writes them


class JobLog:
    """Writes a log, anew or (`append`) at the end of what is there. Raises Invalid when it cannot be opened."""

    def __init__(self, path: str, *, append: bool) -> None:
        try:
            self._file: TextIO = Path(path).open("a" if append else "w", encoding="utf-8", errors="surrogatepass")  # noqa: SIM115
        except OSError as wrong:
            raise Invalid("--joblog", f"{path}: {wrong.strerror or wrong}") from None
        if self._file.tell() == 0:
            self._file.write(HEADER)
            self._file.flush()

    def add(
        self,
        *,
        number: int,
        ended_at: float,
        duration_s: float,
        received: int,
        exit_code: int | None,
        timed_out: bool,
        command: str,
    ) -> None:
        """Write a line. `number` counts from 1; `ended_at` is in seconds since 1970; `received` counts bytes of stdout."""
        code, signal = _TIMED_OUT if timed_out else exit_and_signal(exit_code)
        told = command.replace("\n", "\0")  # what GNU parallel writes: a line stays a line
        self._file.write(
            f"{number}\t:\t{ended_at - duration_s:.3f}\t{duration_s:10.3f}\t0\t{received}\t{code}\t{signal}\t{told}\n"
        )

    def flush(self) -> None:
        """Hand over to the system what was written."""
        self._file.flush()

    def close(self) -> None:
        """Write what is left."""
        self._file.close()


def exit_and_signal(exit_code: int | None) -> tuple[int, int]:
    """Split an exit code (below zero: minus the signal that ended it; None: it never ended) into exit value and signal."""
    if exit_code is None:
        return -1, 0
    return (0, -exit_code) if exit_code < 0 else (exit_code, 0)
