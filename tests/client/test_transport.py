"""Addresses, connections that are kept or broken, and errors that say what to do next."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from rota.client import Client, ServerUnreachable
from rota.client.address import Address, parse_address
from rota.client.problems import Refused, error_of
from rota.client.transport import Request, Transport
from rota.core.errors import Conflict, InFlight, Invalid, KeyReused, NotFound, RotaError, TooLarge, Unavailable
from rota.core.states import State
from rota.http.problems import problem_reply
from tests.client.fakes import FakeServer, Seen, reply

GET = Request(method="GET", path="/v1/stats")


@pytest.mark.parametrize(
    ("text", "address", "shown"),
    [
        ("http://127.0.0.1:8000", Address(host="127.0.0.1", port=8000), "http://127.0.0.1:8000"),
        ("https://rota.example/base/", Address(scheme="https", host="rota.example", prefix="/base"), None),
        ("http://[::1]:8000/", Address(host="::1", port=8000), "http://[::1]:8000"),
        ("unix:/run/rota.sock", Address(socket="/run/rota.sock"), "unix:/run/rota.sock"),
        ("sqlite:///a.db", Address(socket="a.db.sock", store="sqlite:///a.db"), "sqlite:///a.db"),
        ("sqlite:////v/a.db", Address(socket="/v/a.db.sock", store="sqlite:////v/a.db"), "sqlite:////v/a.db"),
    ],
)
def test_addresses(text: str, address: Address, shown: str | None) -> None:
    assert parse_address(text) == address
    assert str(address) == (shown or "https://rota.example/base")


@pytest.mark.parametrize(
    "text",
    ["", "localhost", "localhost:8000", "http://", "http://h:99999", "http://u:p@h", "http://h?x=1", "unix:", "sqlite:a",
     "sqlite:///", "postgresql://h/db", "ftp://h"],
)  # fmt: skip
def test_what_is_no_address_names_the_field(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_address(text)
    assert caught.value.field == "server"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://127.0.0.1:1", "connection refused.*rota serve.*ROTA_SERVER"),
        ("sqlite:///nobody.db", "sqlite:///nobody.db.*rota serve --store sqlite:///nobody.db"),
        ("unix:/nowhere/x.sock", "unix:/nowhere/x.sock.*rota serve"),
    ],
)
def test_nobody_there_says_what_to_do(url: str, told: str) -> None:
    with pytest.raises(ServerUnreachable, match=told):
        Client(url, tries=1).stats()
    with pytest.raises(ConnectionError):
        Client(url, tries=1).stats()


def test_a_connection_is_kept_and_a_closed_one_is_replaced() -> None:
    fake = FakeServer([reply(200), reply(200, b"{}", "Connection: close"), reply(200)])
    transport = Transport(parse_address(fake.url), "secret", 5)
    for _ in range(3):
        assert transport.send(GET).status == 200
    assert fake.connections == 2
    assert fake.seen[0].headers["authorization"] == "Bearer secret"
    assert fake.seen[0].headers["host"] == fake.url.removeprefix("http://")
    transport.close()
    fake.close()


def test_a_kept_connection_that_the_server_closed_silently_is_not_used() -> None:
    closing = threading.Event()

    def last_words(_: Seen) -> bytes:
        closing.set()
        return reply(200)

    fake = FakeServer([last_words, None, reply(200)])
    transport = Transport(parse_address(fake.url), None, 5)
    transport.send(GET)
    with pytest.raises(ServerUnreachable):
        transport.send(GET)  # the connection ends while it waits for the answer
    assert transport.send(GET).status == 200
    fake.close()


def test_threads_share_a_transport() -> None:
    fake = FakeServer([lambda seen: reply(200, seen.line.split()[1].encode())])
    transport = Transport(parse_address(fake.url), None, 5)
    wrong: list[str] = []

    def many(name: str) -> None:
        for n in range(50):
            path = f"/{name}{n}"
            if transport.send(Request(method="GET", path=path)).body.decode() != path:
                wrong.append(path)

    threads = [threading.Thread(target=many, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    assert fake.connections <= 4
    transport.close()
    fake.close()


def test_a_forked_child_has_connections_of_its_own() -> None:
    fake = FakeServer([reply(200)])
    transport = Transport(parse_address(fake.url), None, 5)
    transport.send(GET)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if transport.send(GET).status == 200 else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert fake.connections == 2
    assert transport.send(GET).status == 200
    assert fake.connections == 2
    transport.close()
    fake.close()


def test_a_silent_server_is_given_up() -> None:
    blocked = threading.Event()
    fake = FakeServer([lambda _: (blocked.wait(5), None)[1]])
    with pytest.raises(ServerUnreachable, match="silent for too long"):
        Transport(parse_address(fake.url), None, 0.1).send(GET)
    blocked.set()
    fake.close()


@pytest.mark.parametrize(
    "error",
    [
        Invalid("[3].delay", "is no duration"),
        TooLarge("data", 1 << 20),
        NotFound("there is no job 'x'"),
        Conflict("job x is over", State.FAILED),
        InFlight("wait"),
        KeyReused("the key came with another body"),
        Unavailable("the disk is full"),
    ],
)
def test_errors_cross_the_wire_whole(error: RotaError) -> None:
    reply = problem_reply(error)
    read = error_of(reply.status, reply.body)
    assert type(read) is type(error)
    assert str(read) == str(error)
    assert vars(read) == vars(error)


def test_what_is_no_problem_document_is_an_error_all_the_same() -> None:
    assert isinstance(error_of(502, b"<html>Bad gateway</html>"), Unavailable)
    refused = error_of(403, b'{"type":"urn:rota:problem:foreign-origin","detail":"no","status":403}')
    assert isinstance(refused, Refused)
    assert (refused.status, refused.code, str(refused)) == (403, "foreign-origin", "no")
    assert "500" in str(error_of(500, b"\xff"))


def test_a_server_of_another_kind_is_told_so(tmp_path: Path) -> None:
    fake = FakeServer([reply(200, b"<html>")])
    with pytest.raises(ServerUnreachable, match="no Rota server"):
        Client(fake.url, tries=1).get("x")
    fake.close()
