"""Secrets of jobs: a job names them, its worker has them, and nobody else is told.

A value comes from the worker's environment (`ROTA_SECRET_NAME`), or from the file NAME of a folder, read anew for each
attempt. It is put into the environment of the attempt alone; in what the attempt writes there are stars for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from msgspec.structs import replace

from rota.core.jobs import Lease, Report
from rota.worker.executor import Executor
from rota.worker.verdict import refusal

PREFIX = "ROTA_SECRET_"
LEAST = 4  # characters: a shorter value stands everywhere, and stars for it would tell more than they hide
_MOST = 1 << 15


class SecretMissing(ValueError):
    """This worker has no such secret, or none that can be used; the text says why."""


class Secrets:
    """What a worker knows: `environ` is its environment, `folder` has a file for each."""

    def __init__(self, environ: Mapping[str, str], folder: str | None = None) -> None:
        self._values = {name.removeprefix(PREFIX): value for name, value in environ.items() if name.startswith(PREFIX)}
        self._folder = None if folder is None else Path(folder)

    def of(self, names: Iterable[str]) -> dict[str, str]:
        """Return values by name. Raises SecretMissing."""
        return {name: self._checked(name, self._value(name)) for name in names}

    def _value(self, name: str) -> str:
        if name in self._values:
            return self._values[name]
        if self._folder is not None:
            try:
                return (self._folder / name).read_text(encoding="utf-8").removesuffix("\n")
            except FileNotFoundError:
                pass
            except (OSError, UnicodeDecodeError) as error:
                raise SecretMissing(f"this worker cannot read its secret {name}: {error}") from None
        way_out = f"give it {PREFIX}{name}, or a file in the folder of ROTA_SECRETS"
        raise SecretMissing(f"this worker has no secret {name}; {way_out}")

    def _checked(self, name: str, value: str) -> str:
        if len(value) < LEAST:
            raise SecretMissing(
                f"this worker's secret {name} has fewer than {LEAST} characters: it could not be hidden"
            )
        if len(value) > _MOST or "\0" in value:
            raise SecretMissing(f"this worker's secret {name} has more than {_MOST} characters, or a NUL")
        return value


class WithSecrets:
    """An executor that gives attempts their secrets, and hands them on to another."""

    def __init__(self, inner: Executor, secrets: Secrets) -> None:
        self._inner = inner
        self._secrets = secrets
        self.start = inner.start
        self.stop = inner.stop
        self.holds = inner.holds
        self.recall = inner.recall
        self.leased_until = inner.leased_until
        self.kill_all = inner.kill_all
        self.close = inner.close

    def begin(self, lease: Lease, done: Callable[[Report], None]) -> bool:
        """Begin one attempt, if that can be done at once and it asks for no secrets."""
        if lease.options is not None and lease.options.secrets:
            return False
        return self._inner.begin(lease, done)

    async def run(self, lease: Lease, following: Lease | None = None) -> Report:
        """Run one attempt. One whose secrets are not here is refused: trying again would change nothing."""
        options = lease.options
        if options is None or not options.secrets:
            return await self._inner.run(lease, following)
        try:
            values = self._secrets.of(options.secrets)
        except SecretMissing as missing:
            return replace(refusal(lease, "SecretMissing", str(missing)), refused=True)
        given = replace(lease, options=replace(options, env=options.env | values))
        return await self._inner.run(given)  # the next input is not begun before its own secrets are known
