"""Where hooks may go: judged by the address that is then called, and by no other."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import Coroutine
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import httpx
import pytest

from rota.client.hook_targets import ANY, LOOPBACK, TargetRefused, Targets
from rota.client.hooks import HookSender

T = TypeVar("T")


def names(**known: list[str] | str) -> Any:
    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        found = known.get(host, host)
        return [found] if isinstance(found, str) else found

    asked: list[str] = []
    resolve.asked = asked  # type: ignore[attr-defined]
    return resolve


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 30))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "::1", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
        "169.254.1.1", "100.64.0.1", "0.0.0.0", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "224.0.0.1",
        "ff02::1", "255.255.255.255", "240.0.0.1", "198.18.0.1", "192.0.2.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a00:1::1", "2001::1",
        "2001:db8::1",
    ],
)  # fmt: skip
def test_what_is_not_public_is_refused(address: str) -> None:
    with pytest.raises(TargetRefused) as refused:
        run(Targets(resolve=names(x=address)).choose("x", 80))
    assert address not in str(refused.value)
    assert run(Targets([ANY], resolve=names(x=address)).choose("x", 80)) == address


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "64:ff9b::101:101", "::ffff:1.1.1.1"]
)
def test_what_is_public_may_be_called(address: str) -> None:
    assert run(Targets(resolve=names(x=address)).choose("x", 443)) == address


def test_networks_and_hosts_are_allowed_by_name() -> None:
    known = names(inside=["10.1.2.3"], other=["10.9.9.9"], both=["127.0.0.1", "1.1.1.1"], mapped=["::ffff:10.1.2.3"])
    targets = Targets(["10.1.0.0/16", "Named.Example"], resolve=known)
    assert run(targets.choose("inside", 80)) == "10.1.2.3"
    assert run(targets.choose("mapped", 80)) == "::ffff:10.1.2.3"
    assert run(targets.choose("both", 80)) == "1.1.1.1"  # the one that may be, of those that there are
    with pytest.raises(TargetRefused):
        run(targets.choose("other", 80))
    named = Targets(["named.example"], resolve=names(**{"named.example": "10.0.0.1", "named.example.evil": "10.0.0.1"}))
    assert run(named.choose("named.example", 80)) == "10.0.0.1"
    with pytest.raises(TargetRefused):
        run(named.choose("named.example.evil", 80))
    local = Targets(LOOPBACK, resolve=names(a="127.0.0.1", b="10.0.0.1"))
    assert run(local.choose("a", 80)) == "127.0.0.1"
    with pytest.raises(TargetRefused):
        run(local.choose("b", 80))


@pytest.mark.parametrize("host", ["0x7f.1", "2130706433", "127.1", "0177.0.0.1", "localhost", "localhost."])
def test_other_spellings_of_loopback_are_refused(host: str) -> None:
    """The system's own resolver says what they mean, here as for the call."""
    with pytest.raises((TargetRefused, OSError)):
        run(Targets().choose(host, 80))


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        seen.append((self.path, self.headers["host"], self.rfile.read(int(self.headers["content-length"]))))
        if self.path == "/away":
            self.send_response(302)
            self.send_header("location", "/elsewhere")
        else:
            self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


seen: list[tuple[str, str, bytes]] = []


@pytest.fixture
def receiver() -> Any:
    seen.clear()
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join(30)
    server.server_close()


async def send(targets: Targets, url: str) -> int:
    sender = HookSender(targets)
    try:
        return await sender.post(url, b"{}", {"content-type": "application/json"})
    finally:
        await sender.close()


def test_a_call_goes_to_the_address_that_was_judged_under_the_name_that_was_given(receiver: HTTPServer) -> None:
    port = receiver.server_port
    answers = iter(["127.0.0.1", "203.0.113.7"])  # rebinding: the second question would be answered otherwise

    async def resolve(host: str, port: int) -> list[str]:
        return [next(answers)]

    targets = Targets(LOOPBACK, resolve=resolve)
    assert run(send(targets, f"http://receiver.example:{port}/hook?a=1")) == 200
    assert seen == [("/hook?a=1", f"receiver.example:{port}", b"{}")]


def test_a_redirect_is_an_answer_like_any_other(receiver: HTTPServer) -> None:
    assert run(send(Targets(LOOPBACK), f"http://127.0.0.1:{receiver.server_port}/away")) == 302
    assert [path for path, *_ in seen] == ["/away"]


def test_what_is_refused_is_never_connected_to(receiver: HTTPServer) -> None:
    with pytest.raises(TargetRefused):
        run(send(Targets(), f"http://127.0.0.1:{receiver.server_port}/"))
    assert seen == []


def test_the_certificate_must_be_the_names(receiver: HTTPServer, tmp_path: Path) -> None:
    """With TLS the name goes along (SNI), and it is the name that is checked, not the address."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3650",
        "-keyout", str(key), "-out", str(cert), "-subj", "/CN=receiver.example", "-addext",
        "subjectAltName=DNS:receiver.example",
    ]  # fmt: skip
    subprocess.run(made, check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    said: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: said.append(name)
    receiver.socket = context.wrap_socket(receiver.socket, server_side=True)
    port = receiver.server_port

    async def call(host: str) -> int:
        sender = HookSender(Targets(LOOPBACK, resolve=names(**{host: "127.0.0.1"})))
        trusted = ssl.create_default_context(cafile=str(cert))
        sender._client = httpx.AsyncClient(verify=trusted, trust_env=False)
        try:
            return await sender.post(f"https://{host}:{port}/", b"{}", {})
        finally:
            await sender.close()

    assert run(call("receiver.example")) == 200
    assert said == ["receiver.example"]
    with pytest.raises(httpx.ConnectError, match=r"(?i)certificate|hostname"):
        run(call("other.example"))
