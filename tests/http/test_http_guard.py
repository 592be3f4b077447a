"""Invariant 14, with headers as a browser would send them. (test_browser_guard.py asks a real one.)"""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from tests.http.live import Live


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    server = Live(tmp_path_factory.mktemp("named"), allowed_hosts=["Rota.Example"])
    yield server
    server.stop()


def code(live: Live, head: str, body: bytes = b"") -> tuple[int, str]:
    status, _, content = live.raw(head, body)
    problem = json.loads(content) if status >= 400 else {"type": ""}
    return status, problem["type"].removeprefix("urn:rota:problem:")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:8000", "127.8.9.1", "[::1]", "[::1]:80",
     "rota.example", "rota.example:9"]
)  # fmt: skip
def test_own_names_are_answered(named: Live, host: str) -> None:
    assert code(named, f"GET /healthz HTTP/1.1\nHost: {host}")[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example:8000", "10.0.0.1", "0.0.0.0", "[::2]",
        "", "localhost:x", "localhost@evil.example", "evil.example#localhost", "localhost/evil", "[::1", "rota.example.",
        "127.1",         "localhost, evil.example", "::1", "é",
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/", "/healthz", "/v1/jobs", "/nope", "/docs"])
def test_other_names_are_misdirected(named: Live, host: str, path: str) -> None:
    assert code(named, f"GET {path} HTTP/1.1\nHost: {host}") == (421, "misdirected")


def test_no_name_and_two_names_are_refused(named: Live) -> None:
    assert code(named, "GET /healthz HTTP/1.0") == (421, "misdirected")
    assert code(named, "GET /healthz HTTP/1.1\nHost: localhost\nHost: evil.example") == (421, "misdirected")
    assert code(named, "GET http://evil.example/healthz HTTP/1.1\nHost: evil.example") == (421, "misdirected")


ROUTES = [
    "GET /", "GET /docs", "GET /docs/assets/docs.js", "GET /openapi.json", "GET /healthz", "GET /readyz", "GET /metrics",
    "GET /v1/jobs", "GET /v1/jobs/x",
    "GET /v1/events", "GET /v1/stats", "GET /v1/workers", "HEAD /v1/jobs", "POST /v1/jobs",
    "POST /v1/jobs/x/abort", "PATCH /v1/jobs/x", "DELETE /v1/workers/x", "OPTIONS /v1/jobs", "GET /nope",
]  # fmt: skip


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "header",
    [
        "Origin: http://evil.example", "Origin: null", "Origin: http://localhost:1", "Origin: https://localhost:8000",
        "Origin: ",         "Origin: http://localhost", "Origin: http://127.0.0.1:8000", "Origin: http://localhost:8000.evil.example",
        "Origin: http://localhost:8000/x", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "Sec-Fetch-Site: other",
        "Sec-Fetch-Site: cross-site\nSec-Fetch-Mode: navigate\nSec-Fetch-Dest: iframe",
        "Sec-Fetch-Site: same-site\nSec-Fetch-Mode: no-cors\nSec-Fetch-Dest: script",
        "Access-Control-Request-Method: POST\nOrigin: http://evil.example",
    ],
)  # fmt: skip
def test_pages_from_elsewhere_are_refused_on_every_route(named: Live, route: str, header: str) -> None:
    status, headers, content = (
        named.raw(f"{route} HTTP/1.1\nHost: localhost:8000\nContent-Type: application/json\n{header}")
        if not route.startswith("HEAD")
        else named.raw(f"GET{route[4:]} HTTP/1.1\nHost: localhost:8000\n{header}")
    )
    assert status == 403
    assert json.loads(content)["type"] == "urn:rota:problem:foreign-origin"
    assert not any(name.startswith("access-control") for name in headers)


@pytest.mark.parametrize(
    "header",
    [
        "Origin: http://localhost:8000",
        "Sec-Fetch-Site: same-origin",
        "Sec-Fetch-Site: none",
        "Origin: http://LOCALHOST:8000",
    ],
)
def test_own_pages_are_served(named: Live, header: str) -> None:
    for path in ("/v1/jobs", "/docs", "/openapi.json"):
        assert code(named, f"GET {path} HTTP/1.1\nHost: localhost:8000\n{header}")[0] == 200


def test_a_link_from_elsewhere_may_lead_to_a_page_but_to_nothing_else(named: Live) -> None:
    navigation = "Host: localhost:8000\nSec-Fetch-Site: cross-site\nSec-Fetch-Mode: navigate\nSec-Fetch-Dest: document"
    for path, status in (
        ("/", 302), ("/docs", 200), ("/ui/", 200), ("/ui/x", 200), ("/v1/jobs", 403), ("/metrics", 403),
        ("/openapi.json", 403), ("/docs/assets/docs.js", 403), ("/docs2", 403), ("/v1/events", 403),
    ):  # fmt: skip
        assert named.raw(f"GET {path} HTTP/1.1\n{navigation}")[0] == status, path
    assert named.raw(f"POST / HTTP/1.1\n{navigation}")[0] == 403
    assert named.raw(f"GET / HTTP/1.1\nOrigin: http://evil.example\n{navigation}")[0] == 403


@pytest.mark.parametrize(
    "kind",
    [
        "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", "text/json", "",
        "application/jsonp", "application/x-ndjson", "text/plain; application/json", "application/json2", "image/x+json",
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/x/abort", "/v1/workers"])
@pytest.mark.parametrize("body", [b"", b'{"handler":"a"}'])
def test_bodies_need_a_json_type(named: Live, path: str, kind: str, body: bytes) -> None:
    if (path, kind) == ("/v1/jobs", "application/x-ndjson"):
        kind = "application/ndjson"  # the one with the x is how inputs of an array may come
    head = f"POST {path} HTTP/1.1\nHost: localhost\nContent-Type: {kind}\nContent-Length: {len(body)}"
    assert code(named, head, body) == (415, "unsupported-media-type")


def test_a_body_without_a_type_is_refused(named: Live) -> None:
    assert code(named, "POST /v1/jobs HTTP/1.1\nHost: localhost\nContent-Length: 2", b"{}") == (
        415,
        "unsupported-media-type",
    )
    chunked = b"2\r\n{}\r\n0\r\n\r\n"
    assert code(named, "POST /v1/jobs HTTP/1.1\nHost: localhost\nTransfer-Encoding: chunked", chunked)[0] == 415


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8", "application/vnd.rota+json"])
def test_json_types_are_taken(named: Live, kind: str) -> None:
    head = f"POST /v1/jobs HTTP/1.1\nHost: localhost\nContent-Type: {kind}\nContent-Length: 15"
    assert code(named, head, b'{"handler":"a"}')[0] == 201


def test_the_socket_needs_no_name_but_keeps_the_other_rules(named: Live) -> None:
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(named.socket_path)), base_url="http://any.name") as client:
        assert client.get("/healthz").status_code == 200
        assert client.post("/v1/jobs", json={"handler": "a"}).status_code == 201
        assert client.get("/v1/jobs", headers={"origin": "http://evil.example"}).status_code == 403
        assert client.post("/v1/jobs", data={"a": "b"}).status_code == 415
