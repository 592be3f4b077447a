"""Rota's image and the compose file on a real engine. No registry is asked for images: they are made from Debian's packages.

What stands in for the images of PostgreSQL and Valkey does what the compose file asks of those: the same environment, the
same commands, the same health checks.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.engines import Engine, need

ROOT = Path(__file__).parents[2]
_KEPT = ROOT / ".venv/base-image.tar"  # a minute's work; `.venv` is nobody's sources
_PACKAGES = "bash,ca-certificates,postgresql,python3-venv,redis-server"
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_BASE, _PYTHON, _POSTGRES = "local/base:1", "local/python:1", "local/postgres:1"
_VALKEY, _ROTA = "local/valkey:1", "local/rota:1"
_POSTGRES_STARTS = """#!/bin/sh
set -eu
programs=$(echo /usr/lib/postgresql/*/bin)
mkdir -p /run/postgresql && chown postgres /run/postgresql "$PGDATA"
as() { setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  echo "$POSTGRES_PASSWORD" >/run/postgresql/password
  as "$programs/initdb" -D "$PGDATA" -U "$POSTGRES_USER" -A scram-sha-256 --pwfile=/run/postgresql/password >/dev/null
  echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
  as "$programs/pg_ctl" -D "$PGDATA" -o "-c listen_addresses=''" -w start >/dev/null
  PGPASSWORD=$POSTGRES_PASSWORD as "$programs/createdb" -h /run/postgresql -U "$POSTGRES_USER" "$POSTGRES_DB"
  as "$programs/pg_ctl" -D "$PGDATA" -w stop >/dev/null
fi
exec setpriv --reuid=postgres --regid=postgres --clear-groups "$programs/postgres" -D "$PGDATA" -c listen_addresses='*'
"""


class Compose:
    """The project of docker-compose.yml on an engine of its own, from images of its own."""

    def __init__(self, apps: Path) -> None:
        """`apps` is the folder with the handlers' tasks.py."""
        need("dockerd", "docker", "docker-compose", "mmdebstrap", packages="docker.io docker-compose mmdebstrap")
        self._files = Path(tempfile.mkdtemp(prefix="rota-images-"))
        self.address = f"127.{os.getpid() % 250 + 1}.7.7"  # the ports of the file may be in use on the usual one
        self.engine = Engine()
        self._environment = os.environ | {
            "DOCKER_HOST": self.engine.url, "DOCKER_BUILDKIT": "0", "COMPOSE_PROJECT_NAME": "rotatest",
            "ROTA_IMAGE": _ROTA, "POSTGRES_IMAGE": _POSTGRES, "VALKEY_IMAGE": _VALKEY, "PYTHON_IMAGE": _PYTHON,
            "ROTA_BIND": self.address, "ROTA_ALLOWED_HOSTS": self.address,
            "ROTA_APPS": "tasks:app", "ROTA_APP_FOLDER": str(apps),
        }  # fmt: skip

    def run(self, *command: str, check: bool = True, within_s: float = 600.0, stdin: Any = None) -> str:
        """Run a command with this engine, and return what it prints."""
        done = subprocess.run(
            command, env=self._environment, cwd=ROOT, stdin=stdin, capture_output=True, text=True, timeout=within_s
        )
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def up(self) -> None:
        """Build all images, and start the project as the file says."""
        self._build_bases()
        self.run("docker", "build", "--network=host", f"--build-arg=PYTHON_IMAGE={_PYTHON}", f"--tag={_ROTA}", ".")
        self.compose("up", "--detach", "--no-build")

    def compose(self, *arguments: str, check: bool = True) -> str:
        return self.run("docker-compose", *arguments, check=check)

    def containers(self, service: str) -> list[str]:
        """Return the ids of a service's containers."""
        return self.compose("ps", "--quiet", service).split()

    def inside(self, container: str, *command: str, check: bool = True) -> str:
        """Run a command in a container, as its own user."""
        return self.run("docker", "exec", container, *command, check=check)

    def remove(self) -> None:
        """End all of it, and leave nothing behind."""
        try:
            self.compose("down", "--volumes", "--timeout", "1", check=False)
        finally:
            self.engine.stop()
            shutil.rmtree(self._files, ignore_errors=True)

    def _build_bases(self) -> None:
        if not _KEPT.exists():
            part = _KEPT.with_suffix(".part")
            smaller = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")]
            self.run("mmdebstrap", "--variant=essential", f"--include={_PACKAGES}", *smaller, "bookworm", f"{part}.tar")
            part.with_name(f"{part.name}.tar").rename(_KEPT)
        with _KEPT.open("rb") as tar:
            self.run("docker", "import", "-", _BASE, stdin=tar)
        self._build(_PYTHON, *self._trust())
        self._build(
            _POSTGRES, "COPY start /start", "ENV PGDATA=/var/lib/postgresql/data", 'ENTRYPOINT ["sh", "/start"]',
            start=_POSTGRES_STARTS.encode(),
        )  # fmt: skip
        links = "ln -s redis-server /usr/bin/valkey-server && ln -s redis-cli /usr/bin/valkey-cli"
        self._build(_VALKEY, f"RUN {links}", "USER redis")

    def _trust(self) -> list[str]:
        """Let a build reach what this machine reaches: by the authorities that it trusts."""
        named = os.environ.get("SSL_CERT_FILE")
        if named is None:
            return []
        shutil.copy(named, self._files / "trusted")
        return [f"COPY trusted {_CERTIFICATES}", f"ENV SSL_CERT_FILE={_CERTIFICATES} PIP_CERT={_CERTIFICATES}"]

    def _build(self, tag: str, *lines: str, **files: bytes) -> None:
        for name, content in files.items():
            (self._files / name).write_bytes(content)
        (self._files / "Dockerfile").write_text("\n".join([f"FROM {_BASE}", *lines, ""]))
        self.run("docker", "build", "--network=host", f"--tag={tag}", str(self._files))
