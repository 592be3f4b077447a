"""Settings: flags come first, then `ROTA_*` variables, then `rota.toml`. `TABLE` is all of them; docs/settings.md shows it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

from msgspec import Struct

from rota.core.errors import Invalid
from rota.core.times import parse_duration

FILE = "rota.toml"
APIS = "abcd"  # user tasks, timed jobs, pull workers, master tasks


class Secret(str):
    """A text that is never shown: its repr is stars."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class Settings(Struct, frozen=True, kw_only=True):
    """What was set. None means: not set, the part that reads it chooses."""

    server: str | None = None
    token: Secret | None = None
    ca_file: str | None = None
    timeout_s: float = 30.0
    host: str = "127.0.0.1"
    port: int = 8000
    store: str = "sqlite:///rota.db"
    signals: str = "auto"
    processes: int = 1
    workers: int = 3
    slots: int | None = None
    engine: str | None = None
    run_as: str | None = None
    apps: tuple[str, ...] = ()
    deploy: bool = True
    labels: tuple[str, ...] = ()
    apis: tuple[str, ...] = tuple(APIS)
    lease_s: float = 15.0
    pull_lease_s: float = 10.0
    drain_s: float = 10.0
    retention_s: float = 7 * 86400.0
    hook_secret: Secret | None = None
    hook_targets: tuple[str, ...] | None = None
    allowed_hosts: tuple[str, ...] = ()
    tls_cert: str | None = None
    tls_key: str | None = None
    require_token: bool = False
    insecure_no_tokens: bool = False
    token_file: str | None = None
    rate: float | None = None
    connections: int = 10_000
    secrets: str | None = None
    timezone: tzinfo | None = None
    log_format: str = "auto"
    log_level: str = "info"

    @property
    def server_url(self) -> str:
        """Return where clients find the server: `server`, else the host and port that `rota serve` would listen on."""
        if self.server is not None:
            return self.server
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104  # read, not bound
        scheme = "http" if self.tls_cert is None else "https"
        return f"{scheme}://[{host}]:{self.port}" if ":" in host else f"{scheme}://{host}:{self.port}"

    @property
    def zone(self) -> tzinfo:
        """Return the zone of dates without one: what was set, or this machine's."""
        return self.timezone or datetime.now(UTC).astimezone().tzinfo or UTC


class Setting(Struct, frozen=True, kw_only=True):
    """A row of the table: the field, its name in rota.toml, how its text is read, and what it does."""

    field: str
    key: str
    read: Callable[[str], Any]
    shown: str
    what: str

    @property
    def variable(self) -> str:
        """Return the name of the environment's variable."""
        return f"ROTA_{self.key.upper()}"


def _count(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.strip().isdecimal() or not least <= int(text) <= most:
            raise ValueError(f"{text!r} is no number from {least} to {most}")
        return int(text)

    return read


def _flag(text: str) -> bool:
    word = text.strip().lower()
    if word not in ("1", "true", "yes", "0", "false", "no"):
        raise ValueError(f"{text!r} is neither true nor false")
    return word in ("1", "true", "yes")


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0.01 <= rate <= 1e6:
        raise ValueError(f"{text!r} is no number of requests a second")
    return rate


def _one_of(*allowed: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"{text!r} is none of {', '.join(allowed)}")
        return text

    return read


def _span(least_s: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        seconds = parse_duration(text)
        if seconds < least_s:
            raise ValueError(f"{text!r} is less than {least_s:g} s")
        return seconds

    return read


def _engine(text: str) -> str:
    if text != "none" and not text.startswith("unix:///"):
        raise ValueError(
            f"{text!r} is no engine; write none, or the URL of its socket, like unix:///var/run/docker.sock"
        )
    return text


def _signals(text: str) -> str:
    if text not in ("auto", "none") and "://" not in text:
        raise ValueError(f"{text!r} is no way to signal; write auto, none, or the URL of a Redis or Valkey")
    return text


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in (part.strip() for part in text.split(",")) if name)


def read_apis(text: str) -> tuple[str, ...]:
    """Read which of the older APIs are served: letters with commas between, or `none`. Raises ValueError."""
    letters = () if text.strip() == "none" else _names(text)
    if not set(letters) <= set(APIS) or (not letters and text.strip() != "none"):
        raise ValueError(f"{text!r} is none, or some of {','.join(APIS)}")
    return tuple(dict.fromkeys(letters))


def _zone(text: str) -> tzinfo:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # few ask for one, and it takes a while

    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{text!r} is no time zone; write one like Europe/Berlin") from None


def _row(field: str, read: Callable[[str], Any], shown: str, what: str, key: str | None = None) -> Setting:
    return Setting(field=field, key=key or field, read=read, shown=shown, what=what)


TABLE: tuple[Setting, ...] = (
    _row("server", str, "", "where clients find the server: `http://…`, `unix:/path`, `sqlite:///file`"),
    _row("token", Secret, "", "the token that clients send; never shown"),
    _row("ca_file", str, "the system's", "certificates (PEM) of who may vouch for an `https://…` server"),
    _row("timeout_s", _span(0.1), "30s", "how long a client waits for one answer", "timeout"),
    _row("host", str, "127.0.0.1", "the address that the server listens on; clients too, without `server`"),
    _row("port", _count(0, 65535), "8000", "the port that the server listens on; clients too, without `server`"),
    _row(
        "store",
        str,
        "sqlite:///rota.db",
        "where state lives; `sqlite:////abs/path` is absolute, `postgresql://…` shared",
    ),
    _row(
        "signals",
        _signals,
        "auto",
        "how servers on one PostgreSQL wake each other: `auto` (its NOTIFY), `redis://…`, `none`",
    ),
    _row("processes", _count(1, 64), "1", "how many processes `rota serve` answers with; several on PostgreSQL only"),
    _row("workers", _count(0, 64), "3", "how many workers `rota serve` starts"),
    _row("slots", _count(1, 1024), "the cores", "how many jobs a worker runs at once, each in a process"),
    _row("engine", _engine, "found", "the socket of the container engine that runs images, `unix:///path`; or `none`"),
    _row("run_as", str, "", "the user as whom a worker that is root runs its jobs"),
    _row("apps", _names, "", "the modules of handlers, `MODULE:NAME`, with commas between"),
    _row("deploy", _flag, "true", "whether workers deploy the schedules that their apps declare"),
    _row("labels", _names, "", "what jobs may need of a worker, `gpu=true`, with commas between"),
    _row("apis", read_apis, "a,b,c,d", "which of the four older APIs are served, with commas between; `none`"),
    _row("lease_s", _span(1.0), "15s", "how long a silent worker keeps its jobs", "lease"),
    _row("pull_lease_s", _span(1.0), "10s", "how long a silent pull worker (API C) keeps its tasks", "pull_lease"),
    _row("drain_s", _span(0.0), "10s", "how long a stopping worker lets its jobs finish", "drain"),
    _row("retention_s", _span(0.0), "7d", "how long finished jobs are kept", "retention"),
    _row("hook_secret", Secret, "", "the secret that hooks are signed with (`whsec_…`); never shown"),
    _row(
        "hook_targets", _names, "see [security](security.md#hooks)", "networks and hosts that hooks may go to besides"
    ),
    _row("allowed_hosts", _names, "", "further `Host` names that the server answers to, with commas between"),
    _row("tls_cert", str, "", "the server's certificate with its chain (PEM): it then speaks TLS, and only that"),
    _row("tls_key", str, "in `tls_cert`", "the key of that certificate (PEM)"),
    _row("require_token", _flag, "false", "ask for a token on loopback too; elsewhere one is always asked for"),
    _row(
        "insecure_no_tokens", _flag, "false", "ask for none, wherever it listens; scripts and images are refused then"
    ),
    _row("token_file", str, "", "a file with the first admin's token; it is made if it is not there"),
    _row("rate", _rate, "no limit", "how many requests a second one token may make, beside the work of workers"),
    _row("connections", _count(1, 1_000_000), "10000", "how many connections the server holds at once"),
    _row("secrets", str, "", "a worker's folder of secrets, a file each; `ROTA_SECRET_NAME` is another way"),
    _row("timezone", _zone, "the server's", "the zone of dates without one, like `Europe/Berlin`", "tz"),
    _row("log_format", _one_of("auto", "text", "json"), "auto", "`text`, `json`; `auto` is text on a terminal"),
    _row("log_level", _one_of("debug", "info", "warning", "error"), "info", "the least level that is logged"),
)


def load(
    flags: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Settings:
    """Return the settings: `flags` (fields of Settings; None is unset), over variables, over the file.

    The file is `ROTA_CONFIG`, else `rota.toml` in the current folder, if it is there. Raises Invalid, whose field is
    the variable or the key.
    """
    environ = os.environ if environ is None else environ
    values = _from_file(file or Path(environ.get("ROTA_CONFIG", FILE)), required="ROTA_CONFIG" in environ)
    for setting in TABLE:
        text = environ.get(setting.variable, "")
        if text:
            values[setting.field] = _read(setting, text, setting.variable)
    values |= {field: value for field, value in (flags or {}).items() if value is not None}
    return Settings(**values)


def _from_file(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if required:
            raise Invalid("ROTA_CONFIG", f"there is no file {str(path)!r}") from None
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as wrong:
        raise Invalid(path.name, str(wrong)) from None
    known = {setting.key: setting for setting in TABLE}
    values: dict[str, Any] = {}
    for key, value in (document | document.pop("client", {})).items():
        if key not in known:
            raise Invalid(path.name, f"{key!r} is no setting; docs/settings.md lists them")
        if isinstance(value, dict) or (isinstance(value, bool) and known[key].read is not _flag):
            raise Invalid(f"{path.name}: {key}", "is a number, a text, or a list of texts")
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        values[known[key].field] = _read(known[key], text, f"{path.name}: {key}")
    return values


def _read(setting: Setting, text: str, where: str) -> Any:
    try:
        return setting.read(text)
    except ValueError as wrong:
        raise Invalid(where, str(wrong)) from None


def table() -> str:
    """Write the table in Markdown; docs/settings.md holds this text and a test compares them."""
    lines = ["| variable | in `rota.toml` | default | what |", "|---|---|---|---|"]
    lines += [f"| `{s.variable}` | `{s.key}` | {s.shown or '-'} | {s.what} |" for s in TABLE]
    return "\n".join(lines) + "\n"
