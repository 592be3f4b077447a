from __future__ import annotations

import os
import socket
import stat
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from rota.core.errors import Invalid, Unavailable
from rota.http import operations, server
from rota.http.listening import listen, listen_at
from tests.http.live import DEADLINE_S, Live, check_problem, eventually


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("0.0.0.0", "no token"),
        ("::", "no token"),
        ("10.1.2.3", "no token"),
        ("example.com", "no address"),
        ("", "no address"),
    ],
)
def test_only_loopback_is_bound_unasked_and_the_reason_is_given(host: str, why: str) -> None:
    with pytest.raises(Invalid, match=why) as caught:
        listen(host, 0)
    assert caught.value.field == "host"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.5"])
def test_loopback_can_be_bound(host: str) -> None:
    with listen(host, 0) as listener:
        assert listener.getsockname()[0].startswith("127.")


def test_a_port_that_is_taken_is_an_error() -> None:
    with listen("127.0.0.1", 0) as first:
        first.listen()
        with pytest.raises(OSError, match="in use"):
            listen("127.0.0.1", first.getsockname()[1])


def test_the_socket_is_its_owners_alone_and_goes_with_the_server(tmp_path: Path) -> None:
    place = tmp_path / "rota.db.sock"
    with socket.socket(socket.AF_UNIX) as dead:  # left behind by a server that was killed
        dead.bind(str(place))
    live = Live(tmp_path)
    try:
        assert stat.S_IMODE(os.stat(place).st_mode) == 0o600
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(place)), base_url="http://rota") as client:
            assert client.get("/healthz").json() == {"status": "alive"}
    finally:
        live.stop()
    assert not place.exists()


def test_a_path_that_is_too_long_for_a_socket_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="shorter path"):
        listen_at(tmp_path / ("x" * 108))


def test_ready_says_which_workers_are_missing(tmp_path: Path) -> None:
    live = Live(tmp_path, own_workers=2)
    try:
        live.worker("a", owned=True)
        live.worker("a")
        answer = live.client.get("/readyz")
        problem = check_problem(answer, 503, "unavailable")
        assert "1 of 2 own workers" in problem["detail"]
        assert answer.headers["retry-after"] == "1"
        live.worker("a", owned=True)
        assert live.client.get("/readyz").status_code == 200
    finally:
        live.stop()


def test_a_store_that_cannot_be_used_is_a_503_and_a_fault_is_a_500(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: object, **__: object) -> None:
        raise Unavailable("the disk is full")

    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret")

    class Log:
        def exception(self, event: str, **fields: object) -> None:
            logged.append((event, fields))

    logged: list[tuple[str, dict[str, object]]] = []
    monkeypatch.setattr(operations, "_log", Log())
    monkeypatch.setattr(live.service.jobs, "submit", full)
    answer = live.client.post("/v1/jobs", json={"handler": "a"})
    check_problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    monkeypatch.setattr(live.service.jobs, "submit", broken)
    problem = check_problem(live.client.post("/v1/jobs", json={"handler": "a"}), 500, "internal")
    assert "secret" not in str(problem)
    assert logged == [("request_failed", {"method": "POST", "path": "/v1/jobs"})]


def test_a_pipelined_pair_is_answered_in_order(live: Live) -> None:
    with socket.create_connection(("127.0.0.1", live.port), timeout=DEADLINE_S) as connection:
        connection.sendall(
            b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /v1/stats HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )
        data = b""
        while data.count(b"HTTP/1.1 200 OK") < 2 or b'"slots"' not in data:
            data += connection.recv(65536)
        assert data.index(b"alive") < data.index(b'"slots"')


def test_a_waiting_client_that_goes_away_leaves_nothing_behind(live: Live) -> None:
    job = live.submit(delay=3600)
    with socket.create_connection(("127.0.0.1", live.port), timeout=DEADLINE_S) as connection:
        connection.sendall(f"GET /v1/jobs/{job['id']}?wait=60 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        eventually(lambda: ("over", job["id"]) in live.service.signals._by_key)
    eventually(lambda: ("over", job["id"]) not in live.service.signals._by_key)


def silent(live: Live, *pieces: bytes) -> bytes:
    """Send pieces, then nothing more; return what comes until the server ends the connection."""
    with socket.create_connection(("127.0.0.1", live.port), timeout=30) as connection:
        for piece in pieces:
            connection.sendall(piece)
        data = b""
        with suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                data += piece
        return data


BEGUN = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
WHOLE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    "pieces", [(), (b"G",), (b"GET / HTTP/1.1\r\nHost: local",), (BEGUN,), (BEGUN, b'{"handler"'), (WHOLE, b"GET /")]
)
def test_a_client_that_stops_in_the_middle_is_let_go(
    live: Live, monkeypatch: pytest.MonkeyPatch, pieces: tuple[bytes, ...]
) -> None:
    monkeypatch.setattr(server, "HEAD_S", 0.2)
    monkeypatch.setattr(server, "STALL_S", 0.2)
    data = silent(live, *pieces)
    assert data == b"" or data.startswith(b"HTTP/1.1 200")


def test_a_slow_head_is_let_go_and_a_slow_body_is_not(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes by the byte is no head, but it is a body: a slow line may carry a large one."""
    monkeypatch.setattr(server, "HEAD_S", 0.3)
    monkeypatch.setattr(server, "STALL_S", 5.0)
    body = b'{"handler":"slow"}'
    head = BEGUN.replace(b"100", b"%d" % len(body))
    with socket.create_connection(("127.0.0.1", live.port), timeout=30) as connection:
        connection.sendall(head)
        for byte in body:
            time.sleep(0.05)  # what is tested: a client that is slow
            connection.sendall(bytes([byte]))
        assert connection.recv(65536).startswith(b"HTTP/1.1 201")
    with socket.create_connection(("127.0.0.1", live.port), timeout=30) as connection, pytest.raises(OSError):  # noqa: PT011
        until = time.monotonic() + 30
        while time.monotonic() < until:
            connection.sendall(b"X")
            time.sleep(0.05)


def test_a_request_that_waits_is_not_taken_for_a_silent_one(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_S", 0.1)
    monkeypatch.setattr(server, "STALL_S", 0.1)
    job = live.submit(delay=3600)
    with httpx.Client(base_url=live.url, timeout=30) as client:
        for _ in range(2):
            assert client.get(f"/v1/jobs/{job['id']}?wait=0.5").status_code == 200


def test_connections_are_counted_and_the_stores_own_socket_apart(tmp_path: Path) -> None:
    live = Live(tmp_path, connections=2)
    held = []
    try:
        for _ in range(2):
            held.append(socket.create_connection(("127.0.0.1", live.port), timeout=30))
            held[-1].sendall(WHOLE)
            assert held[-1].recv(65536).startswith(b"HTTP/1.1 200")
        refused = silent(live, WHOLE)
        assert refused == b"" or (refused.startswith(b"HTTP/1.1 503") and b"retry-after" in refused)
        for connection in held:
            connection.sendall(WHOLE)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(live.socket_path)), base_url="http://rota") as client:
            assert client.get("/healthz").status_code == 200
        held.pop().close()
        eventually(lambda: httpx.get(live.url + "/healthz").status_code == 200)
    finally:
        for connection in held:
            connection.close()
        live.stop()
