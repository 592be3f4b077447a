"""The parts of a submission that say how it is run: environment, limits, image, rules of an array."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rota.core import references
from rota.core.arrays import parse_halt
from rota.core.errors import Invalid, TooLarge
from rota.core.jobs import NO_INPUTS, Limits, RunOptions, Submission

MAX_SECRETS = 100
MAX_SECRET_NAME = 200
MAX_ENV = 1 << 17  # characters of an environment in all
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_NETWORK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}", re.ASCII)
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*([kmgt]?)i?b?", re.ASCII | re.IGNORECASE)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SIZES = ("memory", "output")
_COUNTS = ("processes", "files")
_AMOUNTS = ("cpu", "cpus")
_LEAST = {"memory": 1 << 20, "output": 0, "processes": 1, "files": 8, "cpu": 0.01, "cpus": 0.01}


def run_options(s: Submission, where: str) -> RunOptions | None:
    """Return how a job is run, None where nothing was said. Raises Invalid, TooLarge."""
    if (
        s.env is None
        and s.limits is None
        and s.secrets is None
        and s.pull is None
        and s.network is None
        and s.image is None
    ):
        return None
    if s.handler is not None:
        for field in ("env", "limits", "secrets"):
            if getattr(s, field) is not None:
                raise Invalid(where + field, "goes with a script, a command or an image")
    if s.image is None:
        for field in ("pull", "network"):
            if getattr(s, field) is not None:
                raise Invalid(where + field, "goes with an image")
    elif not references.is_image(s.image):
        raise Invalid(where + "image", f"{s.image[:300]!r} is no image reference, like busybox or registry/name:tag")
    if s.network is not None and (s.network == "host" or not _NETWORK.fullmatch(s.network)):
        raise Invalid(where + "network", "is none, bridge, or the name of a network; never the host's own")
    options = RunOptions(
        env=_env(s.env or {}, where),
        secrets=_secrets(s.secrets or [], s.env or {}, where),
        limits=limits(s.limits or {}, where, image=s.image is not None),
        pull=s.pull or "missing",
        network=s.network or "none",
    )
    return None if options == RunOptions() else options


def limits(given: Mapping[str, int | float | str], where: str, *, image: bool) -> Limits:
    """Read `limits`. Raises Invalid."""
    values: dict[str, int | float] = {}
    for name, value in given.items():
        field = f"{where}limits.{name}"
        if name not in _LEAST or (name == "cpus" and not image):
            raise Invalid(field, f"is not known; limits are {', '.join(_LEAST)} (cpus for images alone)")
        if name in _SIZES:
            amount: int | float = _size(value, field)
        elif name in _COUNTS:
            if not isinstance(value, int):
                raise Invalid(field, "is a whole number")
            amount = value
        else:
            if isinstance(value, str):
                raise Invalid(field, "is a number: seconds of processor time, or of processors")
            amount = float(value)
        if not _LEAST[name] <= amount <= 1 << 50:
            raise Invalid(field, f"is at least {_LEAST[name]}")
        values[name] = amount
    return Limits(**values)  # type: ignore[arg-type]  # the names are checked above


def check_array(s: Submission, where: str) -> None:
    """Raise Invalid for rules of an array that make no sense, or come without one."""
    if s.map is not None and s.inputs != NO_INPUTS:
        raise Invalid(where + "map", "gives the job its inputs: name no others")
    if s.inputs == NO_INPUTS and s.map is None:
        for field, value in (("parallel", s.parallel), ("halt", s.halt)):
            if value is not None:
                raise Invalid(where + field, "goes with inputs")
        if s.command is not None:
            raise Invalid(where + "inputs", "a command needs inputs; to run a text once, submit it as a script")
        return
    if s.parallel is not None and not 1 <= s.parallel <= 1_000_000:
        raise Invalid(where + "parallel", "is between 1 and 1,000,000")
    if s.halt is not None:
        try:
            parse_halt(s.halt)
        except ValueError as error:
            raise Invalid(where + "halt", str(error)) from None
    data = bytes(s.data).lstrip()
    if data != b"null" and not (s.handler is not None and data.startswith(b"{")):
        raise Invalid(
            where + "data", "of an array is an object (keyword arguments beside each input of a handler), or absent"
        )


def _env(env: Mapping[str, str], where: str) -> dict[str, str]:
    if sum(len(name) + len(value) for name, value in env.items()) > MAX_ENV:
        raise TooLarge("env", MAX_ENV, f"{where}env: at most {MAX_ENV} characters in all")
    for name, value in env.items():
        if not _VARIABLE.fullmatch(name) or name.startswith("ROTA_") or "\0" in value:
            raise Invalid(f"{where}env.{name[:100]}", "names are letters, digits and _, and do not begin with ROTA_")
    return dict(env)


def _secrets(names: Sequence[str], env: Mapping[str, str], where: str) -> list[str]:
    if len(names) > MAX_SECRETS:
        raise TooLarge("secrets", MAX_SECRETS, f"{where}secrets: at most {MAX_SECRETS}")
    for at, name in enumerate(names):
        if not _VARIABLE.fullmatch(name) or name.startswith("ROTA_") or len(name) > MAX_SECRET_NAME:
            raise Invalid(f"{where}secrets[{at}]", "is the name of a variable: letters, digits and _, and not ROTA_…")
        if name in env:
            raise Invalid(f"{where}secrets[{at}]", f"{name} is in env too")
    return list(dict.fromkeys(names))


def _size(value: int | float | str, field: str) -> int:
    if isinstance(value, str):
        found = _SIZE.fullmatch(value.strip())
        if found is None:
            raise Invalid(field, f"{value[:100]!r} is no size; write bytes, or like 512M, 2G")
        return int(float(found[1]) * _UNITS[found[2].lower()])
    if not isinstance(value, int):
        raise Invalid(field, "is a whole number of bytes, or like 512M, 2G")
    return value
