"""A server beyond loopback, as an operator starts one: tokens, TLS, workers elsewhere, secrets; and what keeps it shut."""

from __future__ import annotations

import json
import os
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import rota
from rota.client.problems import Refused, ServerUnreachable
from tests.e2e.conftest import Server, wait_for

PLAIN = {k: v for k, v in os.environ.items() if not k.startswith("ROTA_")}


def run(folder: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rota", *words]
    return subprocess.run(
        command, cwd=folder, env=PLAIN | environ, capture_output=True, text=True, timeout=60, check=False
    )


def token(folder: Path, *words: str) -> str:
    done = run(folder, "token", "add", "--store", "sqlite:///e2e.db", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3650",
        "-keyout", str(key), "-out", str(cert), "-subj", "/CN=localhost", "-addext",
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
    ]  # fmt: skip
    subprocess.run(made, check=True, capture_output=True, timeout=60)
    return str(cert), str(key)


class Door(Server):
    """A server that asks for tokens."""

    def ready(self) -> Server:
        assert self._listening.wait(60)
        assert self.url, "".join(self.lines)
        self.url = self.url.replace("0.0.0.0", "127.0.0.1")
        return self

    def waits(self, check: Callable[[], bool]) -> None:
        wait_for(check, "the condition", 60)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Door]]:
    servers: list[Door] = []

    def start(*words: str, **environ: str) -> Door:
        server = Door(tmp_path, *words, environ=environ)
        servers.append(server)
        server.ready()
        return server

    yield start
    for server in servers:
        server.kill()


@pytest.fixture
def worker() -> Iterator[Callable[..., None]]:
    """Start workers, which write into worker.log; all of them end with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(folder: Path, *words: str, **environ: str) -> None:
        command = [sys.executable, "-m", "rota", "worker", *words]
        with open(folder / "worker.log", "a") as log:
            started.append(subprocess.Popen(command, cwd=folder, env=PLAIN | environ, stderr=log))

    yield start
    for process in started:
        process.kill()
        process.wait(30)


@pytest.mark.parametrize("words", [("--host", "0.0.0.0"), ("--require-token",), ("--host", "::")])
def test_without_a_token_it_stays_shut_and_says_how_to_make_one(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = run(tmp_path, "serve", "--port", "0", "--store", "sqlite:///e2e.db", *words)
    assert done.returncode == 2
    assert "rota token add --role admin --store sqlite:///e2e.db" in done.stderr
    assert run(tmp_path, *done.stderr.partition(": rota ")[2].split()).returncode == 0


def test_both_settings_exclude_each_other(tmp_path: Path) -> None:
    done = run(tmp_path, "serve", "--port", "0", "--require-token", "--insecure-no-tokens")
    assert (done.returncode, "exclude" in done.stderr) == (2, True)


def test_tokens_tls_and_a_worker_elsewhere(
    tmp_path: Path, serve: Callable[..., Door], worker: Callable[..., None], certificate: tuple[str, str]
) -> None:
    cert, key = certificate
    admin, ana = token(tmp_path, "--role", "admin"), token(tmp_path, "--role", "user", "--owner", "ana")
    works = token(tmp_path, "--role", "worker", "--queues", "far")
    server = serve("--host", "0.0.0.0", "--workers", "0", "--tls-cert", cert, "--tls-key", key)
    worker(tmp_path, "--store", "sqlite:///e2e.db", "--queue", "default", "--app", "e2e_handlers:app")
    assert server.url.startswith("https://")
    with pytest.raises(ServerUnreachable):  # nobody vouches for it
        rota.Client(server.url, ana, tries=1).stats()
    client = rota.Client(server.url, ana, ca_file=cert)
    assert client.submit("add", 1, owner="ana").get_result(60) == 1
    with pytest.raises(Refused) as refused:
        client.submit_script("echo no")
    assert (refused.value.status, refused.value.code) == (403, "forbidden")
    with pytest.raises(Refused) as refused:
        rota.Client(server.url, ca_file=cert).submit("add", 1)
    assert refused.value.status == 401

    # A worker with a token, a certificate to trust, a secret, and one queue.
    far = {"ROTA_SERVER": server.url, "ROTA_CA_FILE": cert, "ROTA_TOKEN": works, "ROTA_SECRET_KEY": "very-secret-value"}
    worker(tmp_path, "--queue", "far", **far)
    boss = rota.Client(server.url, admin, ca_file=cert)
    job = boss.submit_script('echo "the key is $KEY"', queue="far", secrets=["KEY"])
    job.wait(60)
    assert job.state == "succeeded"
    assert "".join(piece.text for piece in job.logs()) == "the key is ***\n"
    near = boss.submit_script('echo "$KEY"', secrets=["KEY"])
    near.wait(60)
    assert (near.state, near.error and near.error.type) == ("failed", "SecretMissing")
    log_text = (tmp_path / "worker.log").read_text() + "".join(server.lines)
    for secret in ("very-secret-value", admin, ana, works):
        assert secret not in log_text
        for file in tmp_path.glob("e2e.db*"):
            assert file.is_socket() or secret.encode() not in file.read_bytes()
    # Revoked, it gets no more, and what it ran is somebody else's a lease later.
    env = {"ROTA_SERVER": server.url, "ROTA_CA_FILE": cert, "ROTA_TOKEN": admin}
    listed = json.loads(run(tmp_path, "token", "list", "--json", **env).stdout)["items"]
    theirs = next(t["id"] for t in listed if t["role"] == "worker")
    assert run(tmp_path, "token", "revoke", theirs, **env).returncode == 0
    after = boss.submit_script("echo late", queue="far")
    server.waits(lambda: "verb_refused" in (tmp_path / "worker.log").read_text())
    assert after.refresh().state == "queued"
    server.waits(
        lambda: '"tokens.revoke"' in run(tmp_path, "audit", "--json", **env).stdout
    )  # it is written once a second
    trail = run(tmp_path, "audit", "--json", **env).stdout
    assert '"tokens.revoke"' in trail
    assert '"workers.register"' in trail
    human = run(tmp_path, "audit", **env)
    assert theirs in human.stdout


def test_plain_http_is_not_spoken_where_tls_is(
    tmp_path: Path, serve: Callable[..., Door], certificate: tuple[str, str]
) -> None:
    server = serve("--tls-cert", certificate[0], "--tls-key", certificate[1], "--workers", "0")
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=30)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(certificate[0])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
        old.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        assert secure.version() in ("TLSv1.2", "TLSv1.3")
    done = run(tmp_path, "status", ROTA_SERVER=server.url, ROTA_CA_FILE=certificate[0])
    assert done.returncode == 0, done.stderr  # on loopback, without a token, as ever


@pytest.mark.parametrize("words", [("--tls-cert", "none.pem"), ("--tls-cert", "e2e_handlers.py")])
def test_a_certificate_that_is_none_is_refused(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "e2e_handlers.py").write_text("no certificate")
    done = run(tmp_path, "serve", "--port", "0", *words)
    assert (done.returncode, "tls_cert: cannot be used" in done.stderr) == (2, True)


def test_a_token_file_makes_the_first_admin(tmp_path: Path, serve: Callable[..., Door]) -> None:
    server = serve("--require-token", "--workers", "0", ROTA_TOKEN_FILE="admin.token")
    file = tmp_path / "admin.token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    bearer = {"authorization": f"Bearer {file.read_text().strip()}"}
    assert httpx.get(server.url + "/v1/stats", headers=bearer).status_code == 200
    assert httpx.get(server.url + "/v1/stats").status_code == 401
    made = server.get("/v1/tokens", headers=bearer)["items"]
    assert [(t["role"], t["name"]) for t in made] == [("admin", "token file")]
    server.kill()
    again = serve("--require-token", "--workers", "0", ROTA_TOKEN_FILE="admin.token")
    assert again.get("/v1/tokens", headers=bearer)["items"] == made
    # Revoked, it does not come back with the next start.
    assert httpx.delete(again.url + f"/v1/tokens/{made[0]['id']}", headers=bearer).status_code == 200
    again.kill()
    third = serve("--require-token", "--workers", "0", ROTA_TOKEN_FILE="admin.token")
    assert httpx.get(third.url + "/v1/stats", headers=bearer).status_code == 401


@pytest.mark.parametrize("text", ["", "short", "two words that are long enough to be a token", "ü" * 40])
def test_a_token_file_without_a_token_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "admin.token").write_text(text)
    done = run(tmp_path, "serve", "--port", "0", ROTA_TOKEN_FILE="admin.token")
    assert (done.returncode, "token_file" in done.stderr) == (2, True)
    assert not text or text not in done.stderr


def test_without_tokens_beyond_loopback_there_are_no_scripts_and_a_warning(serve: Callable[..., Door]) -> None:
    server = serve("--host", "0.0.0.0", "--insecure-no-tokens", "--workers", "1")
    assert any('"no_tokens"' in line and '"warning"' in line for line in server.lines)
    job = httpx.post(server.url + "/v1/jobs", json={"handler": "add", "data": 1}).json()["id"]
    server.waits(lambda: bool(server.get(f"/v1/jobs/{job}")["state"] == "succeeded"))
    bodies: list[Any] = [{"script": "true"}, {"image": "busybox"}, {"command": "true {}", "inputs": ["1"]}]
    for body in bodies:
        answer = httpx.post(server.url + "/v1/jobs", json=body)
        assert answer.status_code == 403, answer.text
    task = {"inputList": ["1"], "templateFunction": "true"}
    assert httpx.post(server.url + "/schedule/create", json=task).status_code == 403
    assert httpx.post(server.url + "/v1/tokens", json={"role": "admin"}).status_code == 403
