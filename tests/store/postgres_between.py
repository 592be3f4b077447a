"""What may stand between a store and PostgreSQL: a wire that can be cut at a chosen moment, and PgBouncer."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from tests.postgres import Cluster, free_port, wait_for

_COMMITS = (
    b"Q\x00\x00\x00\x0bCOMMIT\x00",
    b"\x00rota_commit_",
)  # as a query; prepared, and bound with all that goes along


class Wire:
    """Passes on what both sides say. `cut` says what becomes of the next COMMIT: `before`, or `after` PostgreSQL has it."""

    def __init__(self, cluster: Cluster) -> None:
        self._port = cluster.port
        self.port = 0
        self.cut: str | None = None
        self.cuts = 0
        self._passing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Wire:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    def url(self, url: str) -> str:
        return url.replace(f":{self._port}/", f":{self.port}/")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._pass_on(reader, writer))
        self._passing.add(task)
        await asyncio.wait((task,))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", self._port)
        back = asyncio.create_task(_copy(theirs, writer))
        try:
            while data := await reader.read(1 << 16):
                if self.cut is not None and any(commit in data for commit in _COMMITS):
                    side, self.cut = self.cut, None
                    self.cuts += 1
                    back.cancel()
                    await asyncio.wait((back,))
                    if side == "after":
                        ours.write(data)
                        await theirs.read(1)  # the answer has come, and nobody hears it
                    return
                ours.write(data)
                await ours.drain()
        finally:
            back.cancel()
            for end in (ours, writer):
                end.transport.abort()
            await asyncio.gather(back, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()


class Bouncer:
    """PgBouncer in transaction mode before a cluster, with fewer connections to it than its clients have."""

    def __init__(self, cluster: Cluster, *, size: int = 4) -> None:
        program = shutil.which("pgbouncer", path=os.environ["PATH"] + ":/usr/sbin")
        if program is None:
            assert not os.environ.get("CI"), "CI has PgBouncer: apt-get install pgbouncer"
            pytest.skip("PgBouncer is not installed (Debian: apt-get install pgbouncer)")
        self.port = free_port()
        self._cluster = cluster
        self._folder = Path(tempfile.mkdtemp(prefix="rota-pgb-"))
        settings = self._folder / "pgbouncer.ini"
        settings.write_text(
            f"[databases]\n* = host=127.0.0.1 port={cluster.port} user=rota\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = any\npool_mode = transaction\ndefault_pool_size = {size}\nmax_client_conn = 200\n"
        )
        self._folder.chmod(0o755)
        user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.getuid() == 0 else []
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen([*user, program, "-q", str(settings)], stdout=log, stderr=log)
        wait_for(self._answers)

    def _answers(self) -> bool:
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def url(self, url: str) -> str:
        return url.replace(f":{self._cluster.port}/", f":{self.port}/")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
