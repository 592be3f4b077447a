"""Whatever bytes a client sends, the answer is a problem that names what is wrong, and never a 5xx."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.http.live import DEADLINE_S, Live, check_problem, read_answer

JSON = {"content-type": "application/json"}


def post(live: Live, body: bytes, path: str = "/v1/jobs") -> httpx.Response:
    return live.client.post(path, content=body, headers=JSON)


@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"{", b"nonsense", b'{"handler":"a"} x', b'{"handler":"a",}', b"{'handler':'a'}", b'{"handler":NaN}',
        b'{"handler":"a","data":NaN}', b'{"handler":"a","data":Infinity}', b'{"handler":"a","data":[1,]}', b"\xef\xbb\xbf{}",
        b'{"handler":"\xff"}', b'{"handler":"a\x00"}', b'{"handler":"a\n"}', b"\x00", b"\xff\xfe{\x00}\x00",
        b'{"handler":"\\ud800',
    ],
)  # fmt: skip
def test_what_is_not_json_is_a_400(live: Live, body: bytes) -> None:
    check_problem(post(live, body), 400, "malformed-json")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"handler":"a\\ud800"}', "handler"), (b'{"handler":"a","data":{"x":["\\udc00"]}}', "data.x[0]"),
        (b'{"handler":"a","data":{"\\ud800":1}}', "data"), (b'{"handler":"a\\u0000"}', "handler"),
        (b'{"handler":"a","data":{"k":"\\u0000"}}', "data.k"), (b'{"handler":"a","data":{"k\\u0000":1}}', "data"),
        (b'{"script":"echo \\u0000"}', "script"), (b'{"handler":"a","owner":"\\u0000"}', "owner"),
        (b'{"handler":"a","data":"\xff"}', "data"), (b'{"handler":"a","data":1e999}', "data"),
        (b'{"handler":"a","data":' + b"9" * 5000 + b"}", "data"), (b'{"handler":"a","args":[-1e999]}', "args"),
        (b'{"handler":"a","priority":' + b"9" * 5000 + b"}", "priority"), (b'{"handler":"a","delay":1e999}', "delay"),
        (b'{"handler":"a","priority":9223372036854775808}', "priority"), (b'{"handler":"a","delay":1e300}', "delay"),
        (b'{"handler":"a","data":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "body"),
        (b'{"handler":"a","data":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"}", "body"),
        (b"[" * 10_000 + b"]" * 10_000, "body"),
        (b'{"x":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "x"),
    ],
)  # fmt: skip
def test_what_is_json_but_cannot_be_kept_is_a_422(live: Live, body: bytes, field: str) -> None:
    check_problem(post(live, body), 422, "invalid", field)


def test_an_escaped_backslash_is_not_a_nul(live: Live) -> None:
    assert live.submit(data="\\u0000")["data"] == "\\u0000"


@pytest.mark.parametrize("depth", [100, 400, 900])
def test_what_is_taken_can_be_given_back(live: Live, depth: int) -> None:
    """Nesting that is accepted is one that every reader can decode: here, and in the page of a listing."""
    answer = post(live, b'{"handler":"a","data":' + b"[" * depth + b"]" * depth + b"}")
    if answer.status_code == 201:
        assert live.client.get(answer.headers["location"]).json()["data"] is not None
        assert live.client.get("/v1/jobs?limit=1").json()["items"]
    else:
        check_problem(answer, 422, "invalid")


@pytest.mark.parametrize(("field", "limit"), [("data", "data"), ("args", "args"), ("script", "script")])
def test_a_payload_over_its_limit_is_a_413_with_the_limits_name(live: Live, field: str, limit: str) -> None:
    big = "x" * (1 << 20)
    body = {"handler": "a", field: [big] if field == "args" else big}
    if field == "script":
        body = {"script": big + "x"}
    problem = check_problem(live.client.post("/v1/jobs", json=body), 413, "too-large")
    assert (problem["limit"], problem["allowed"]) == (limit, 1 << 20)
    live.submit(data="x" * ((1 << 20) - 2))


def test_a_body_over_its_limit_is_refused_before_it_is_read(live: Live) -> None:
    head = "POST /v1/jobs HTTP/1.1\nHost: localhost\nContent-Type: application/json\nContent-Length: 99999999999"
    status, headers, content = live.raw(head)
    problem = json.loads(content)
    assert (status, problem["limit"], headers["connection"]) == (413, "body", "close")


def test_a_stream_of_bytes_is_cut_off(live: Live) -> None:
    head = b"POST /v1/jobs/x/abort HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += b"Transfer-Encoding: chunked\r\n\r\n"
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    with socket.create_connection(("127.0.0.1", live.port), timeout=DEADLINE_S) as connection:
        connection.sendall(head)
        sent = 0
        try:
            while sent < 200:
                connection.sendall(chunk)
                sent += 1
        except (ConnectionResetError, BrokenPipeError):
            pass
        assert sent < 30
        assert read_answer(connection)[0] == 413


@pytest.mark.parametrize(
    "head",
    ["GET /" + "x" * 70_000 + " HTTP/1.1\nHost: localhost", "GET / HTTP/1.1\nHost: localhost\nX: " + "x" * 70_000],
)
def test_a_head_without_end_is_refused(live: Live, head: str) -> None:
    with socket.create_connection(("127.0.0.1", live.port), timeout=DEADLINE_S) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode())
        assert read_answer(connection)[0] == 400


def rubbish() -> st.SearchStrategy[object]:
    leaves = (
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text()
        | st.sampled_from(["1h", "2030-01-01T00:00:00Z"])
    )
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8
    )


FIELDS = [
    "handler", "script", "data", "args", "variables", "owner", "queue", "priority", "run_at", "delay", "timeout", "grace",
    "retries", "backoff", "after", "hook", "labels", "ref",
]  # fmt: skip


@given(body=st.dictionaries(st.sampled_from(FIELDS), rubbish(), max_size=5), handler=st.booleans())
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
def test_rubbish_in_any_field_is_never_a_fault(live: Live, body: dict[str, object], handler: bool) -> None:
    if handler:
        body = {"handler": "a", **body}
    answer = post(live, json.dumps(body).encode())
    if answer.status_code == 201:
        assert live.client.get(answer.headers["location"]).json() == answer.json()
    else:
        assert answer.status_code in (400, 413, 422), answer.text
        assert answer.status_code == 400 or answer.json().get("field") or answer.json().get("limit"), answer.text


@pytest.fixture(scope="module")
def connection(live: Live) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=live.url, timeout=DEADLINE_S, verify=False) as client:
        yield client


@given(data=st.binary(max_size=200))
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
def test_random_bytes_are_never_a_fault(connection: httpx.Client, data: bytes) -> None:
    for path in ("/v1/jobs", "/v1/jobs/bulk", "/v1/workers/x/report"):
        assert connection.post(path, content=data, headers=JSON).status_code < 500


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/jobs", "cursor"), ("/v1/runs", "cursor"), ("/v1/schedules", "cursor"), ("/users/ana", "after"),
        ("/jobs", "history"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("cursor", ["zzz", "run-", "~", "01890000-0000-4000-8000-000000000000"])
def test_a_page_begins_where_one_has_ended_and_nowhere_else(live: Live, path: str, field: str, cursor: str) -> None:
    answer = live.client.get(path, params={field: cursor})
    assert answer.status_code in (400, 422) and field in answer.text, answer.text


def test_a_bulk_goes_on_where_it_has_ended_and_nowhere_else(live: Live) -> None:
    answer = live.client.post("/v1/jobs/abort", json={"filter": {}, "cursor": "zzz"})
    assert answer.status_code == 422 and answer.json()["field"] == "cursor", answer.text
