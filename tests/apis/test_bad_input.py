"""What is wrong is refused in the API's own words, names its field, and changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from rota.http.apis.forms import MAX_FORM
from rota.http.operations import BODY_LIMIT
from tests.http.live import Live

JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
PARTS = {"content-type": "multipart/form-data; boundary=x"}
NEVER = "01890000-0000-7000-8000-000000000000"
DEEP = b"[" * 100_000


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    server = Live(tmp_path_factory.mktemp("bad"))
    yield server
    server.stop()


def refuse(live: Live, method: str, path: str, status: int, **request: Any) -> Any:
    """Ask for something, and see that it is refused as JSON and changes nothing; return what is said."""
    before = live.client.get("/v1/stats").json()["jobs"]
    answer = live.client.request(method, path, **request)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert live.client.get("/v1/stats").json()["jobs"] == before
    return answer.json()


def task(**fields: Any) -> bytes:
    return json.dumps({"uid": 1, "task": "t", "data": {}, **fields}).encode()


@pytest.mark.parametrize(
    ("body", "status", "begins"),
    [
        (b"{", 400, ""),
        (b"nonsense", 400, ""),
        (b"\xff", 400, ""),
        (b"[]", 400, "body: "),
        (b"null", 400, "body: "),
        (b'{"uid": NaN, "task": "t", "data": 1}', 400, ""),
        (DEEP, 400, ""),
        (b'{"uid": 1, "task": "t", "data": ' + DEEP, 400, ""),
        (b'{"uid": 1, "task": "t", "data": "\\ud800"}', 400, "data: "),
        (task(uid=True), 400, "uid: "),
        (task(uid=[1]), 400, "uid: "),
        (task(uid="a\0b"), 400, "uid: "),
        (task(uid="a\nb"), 400, "uid: "),
        (task(uid="u" * 201), 400, "uid: "),
        (task(uid=10**300), 400, "uid: "),
        (task(task=5), 400, "task: "),
        (task(task="a:b"), 400, "task: "),
        (task(task="t\0"), 400, "task: "),
        (task(data={"deep": ["\0"]}), 400, "data.deep[0]: "),
        (task(data="x" * 1_100_000), 413, "data: "),
        (task(data="x" * BODY_LIMIT), 413, ""),
        (task(hook="not a url"), 400, "hook: "),
        (task(hook="file:///etc/passwd"), 400, "hook: "),
        (task(hook=5), 400, "hook: "),
    ],
)
def test_a_wrong_task_is_refused(live: Live, body: bytes, status: int, begins: str) -> None:
    said = refuse(live, "POST", "/", status, content=body, headers=JSON)
    assert list(said) == ["err"]
    assert said["err"].startswith(begins), said
    assert said["err"]


@pytest.mark.parametrize(
    "body", [{}, {"uid": 1, "task": "t"}, {"uid": 1, "data": 1}, {"task": "t", "data": 1},
             {"uid": None, "task": "t", "data": 1}, {"uid": "", "task": "t", "data": 1}, {"uid": 1, "task": "", "data": 1}]
)  # fmt: skip
def test_a_task_that_lacks_something_gets_the_text(live: Live, body: Any) -> None:
    answer = live.client.post("/", json=body)
    assert (answer.status_code, answer.text) == (400, "Request Missing Parameters")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("path", ["/", "/job", "/schedule/create"])
@pytest.mark.parametrize("kind", ["text/plain", "", "text/html", "application/octet-stream", "application/jsonp"])
def test_a_body_of_another_type_is_refused_in_the_apis_words(live: Live, path: str, kind: str) -> None:
    said = refuse(live, "POST", path, 415, content=task(), headers={"content-type": kind})
    assert next(iter(said)) == {"/": "err", "/job": "message", "/schedule/create": "status"}[path]


@pytest.mark.parametrize(("path", "status"), [("/", 400), ("/job", 400), ("/schedule/create", 400), ("/add_task", 422)])
def test_nothing_at_all_lacks_what_is_required(live: Live, path: str, status: int) -> None:
    assert live.client.post(path).status_code == status


def test_tasks_take_no_forms(live: Live) -> None:
    assert "err" in refuse(live, "POST", "/", 415, data={"uid": "1", "task": "t", "data": "1"})
    assert "err" in refuse(live, "DELETE", "/", 415, data={"uid": "1", "id": NEVER})


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({}, "uid: is required"),
        ({"json": {"id": NEVER}}, "uid: is required"),
        ({"json": {"uid": 1}}, "id: is required"),
        ({"params": {"uid": "1"}}, "id: is required"),
        ({"json": {"uid": 1, "id": NEVER}}, "Task not found for this user"),
        ({"json": {"uid": 1, "id": "nonsense"}}, "Task not found for this user"),
        ({"json": {"uid": 1, "id": ""}}, "Task not found for this user"),
        ({"params": {"uid": "1", "id": "x"}}, "Task not found for this user"),
        ({"json": {"uid": 1, "id": 5}}, "id: expected `str | null`, got `int`"),
        ({"json": {"uid": 1, "id": "a\0"}}, "id: has a NUL character or half a surrogate pair"),
        ({"params": {"uid": "1", "id": "\0"}}, "id: has a NUL character"),
    ],
)
def test_an_abort_of_nothing_is_refused(live: Live, request_: Any, says: str) -> None:
    assert refuse(live, "DELETE", "/", 400, **request_) == {"err": says}


def test_nobody_aborts_the_task_of_another_user_or_of_another_api(live: Live) -> None:
    mine = live.client.post("/", json={"uid": "me", "task": "t", "data": None}).json()["id"]
    native = live.submit(owner="me")["id"]
    for uid, id_ in (("you", mine), ("me", native), ("", mine)):
        said = refuse(live, "DELETE", "/", 400, json={"uid": uid, "id": id_})
        assert said == {"err": "Task not found for this user"}
    assert live.client.get(f"/v1/jobs/{mine}").json()["state"] == "queued"
    refuse(live, "GET", f"/job/{mine}", 404)
    refuse(live, "DELETE", f"/job/{mine}", 404)
    refuse(live, "GET", f"/schedule/status?taskId={mine}", 404)
    assert [task["id"] for task in live.client.get("/me").json()] == [mine]


@pytest.mark.parametrize("uid", ["nobody", "%00", "%ff", "a" * 3000, "💥", "..%2e", "users", "%7BuserId%7D"])
def test_a_user_whom_nobody_knows_has_no_tasks(live: Live, uid: str) -> None:
    for path in (f"/{uid}", f"/users/{uid}"):
        answer = live.client.get(path)
        assert (answer.status_code, answer.json()) == (200, []), path


BAD_DATES = [
    "31-02-2090 10:00:00", "01-01-2001 10:00:00", "5 s", " 5s", "5s ", "0x3m", "-1m", "+1m", "1.5h", "1h30m", "s", "5", "5S",
    "9" * 400 + "d", "99999999d", "1w", "\uff15s", "2090-01-01 10:00:00", "01-01-2090", "01-01-2090 25:00:00",
    "01-01-2090T10:00:00",
    "01-01-2090 10:00:60", "32-01-2090 10:00:00", "00-01-2090 10:00:00", "01-13-2090 10:00:00", "01-01-0000 10:00:00",
    "31-12-9999 23:59:59", "01/01/2090 10:00:00", "\u0660\u0661-01-2090 10:00:00", "tomorrow", "now", "null", "1s\n",
]  # fmt: skip


@pytest.mark.parametrize("field", ["date", "time"])
@pytest.mark.parametrize("when", BAD_DATES)
def test_a_bad_date_is_refused(live: Live, field: str, when: str) -> None:
    said = refuse(live, "POST", "/job", 400, data={"job_name": "JOB_A", field: when})
    assert list(said) == ["message"]
    assert said["message"].startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("request_", "begins"),
    [
        ({"data": {"date": "1s"}}, "job_name: is required"),
        ({"data": {"job_name": "", "date": "1s"}}, "job_name: is required"),
        ({"data": {"job_name": "a"}}, "date: is required"),
        ({"data": {"job_name": "a", "date": ""}}, "date: is required"),
        ({"data": {"job_name": "a", "date": "1s", "time": "1s"}}, "date: give date or time, not both"),
        ({"json": {"job_name": 5, "date": "1s"}}, "job_name: "),
        ({"json": {"job_name": "a", "date": 5}}, "date: "),
        ({"json": {"job_name": "a", "time": ["1s"]}}, "time: "),
        ({"json": {"job_name": "a\0", "date": "1s"}}, "job_name: "),
        ({"json": {"job_name": "n" * 201 + " ", "date": "1s"}}, "job_name: "),
        ({"json": {"job_name": "script:", "date": "1s"}}, "job_name: "),
        ({"json": ["job_name"]}, "body: "),
        ({"content": b"{", "headers": JSON}, ""),
        ({"content": b"job_name=a&job_name=b&date=1s", "headers": FORM}, "job_name: is given twice"),
        ({"content": b"job_name=%00&date=1s", "headers": FORM}, "job_name: has a NUL"),
        ({"content": b"job_name=%ff&date=1s", "headers": FORM}, "body: "),
        ({"content": b"job_name=\xff&date=1s", "headers": FORM}, "body: is not UTF-8"),
        ({"content": b"&".join([b"x=1"] * 10_001), "headers": FORM}, "body: a form has at most"),
        ({"content": b"", "headers": FORM}, "job_name: is required"),
        ({"content": b"", "headers": JSON}, ""),
        ({"content": b"x", "headers": PARTS}, "body: is no multipart form"),
        ({"content": b"", "headers": PARTS}, "body: is a multipart form that ends in the middle"),
        ({"content": b"--x\r\n\r\nvalue\r\n--x--\r\n", "headers": PARTS}, "body: is a multipart form with a part"),
        ({"content": b'--x\r\nContent-Disposition: form-data; name="job_name"\r\n\r\na', "headers": PARTS}, "body: "),
        ({"content": b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xff\r\n--x--', "headers": PARTS}, "a: is not"),
        ({"content": b"a", "headers": {"content-type": "multipart/form-data"}}, "Content-Type: "),
        ({"content": b"a", "headers": {"content-type": "multipart/form-data; boundary=" + "b" * 99}}, "Content-Type: "),
    ],
)  # fmt: skip
def test_a_wrong_timed_job_is_refused(live: Live, request_: Any, begins: str) -> None:
    said = refuse(live, "POST", "/job", 400, **request_)
    assert list(said) == ["message"]
    assert said["message"].startswith(begins), said
    assert said["message"]


def test_a_timed_job_that_is_too_large_is_refused(live: Live) -> None:
    for size in (MAX_FORM, BODY_LIMIT):
        said = refuse(live, "POST", "/job", 413, data={"job_name": "a", "date": "1" * size})
        assert list(said) == ["message"]


@pytest.mark.parametrize("id_", [NEVER, "nonsense", "%00", "💥"])
def test_a_timed_job_that_is_not_there_is_not_found(live: Live, id_: str) -> None:
    for method in ("GET", "DELETE"):
        assert "not found" in refuse(live, method, f"/job/{id_}", 404)["message"]
    assert refuse(live, "DELETE", "/job", 400) == {"message": "job_id: is required"}
    assert refuse(live, "DELETE", "/job", 400, params={"job_id": ""}) == {"message": "job_id: is required"}
    assert refuse(live, "DELETE", "/job", 404, data={"job_id": "x"}) == {"message": "job with id x not found"}
    assert refuse(live, "DELETE", "/job", 404, json={"job_id": "x"}) == {"message": "job with id x not found"}


def master(**fields: Any) -> dict[str, Any]:
    return {"inputList": ["a"], "templateFunction": "true", **fields}


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"json": master(inputList=[])}, "inputList"),
        ({"json": master(inputList="a,b")}, "inputList"),
        ({"json": master(inputList={"a": 1})}, "inputList"),
        ({"json": master(inputList=None)}, "inputList"),
        ({"json": master(inputList=["ok", "\0"])}, "inputList[1]"),
        ({"json": {"templateFunction": "true"}}, "inputList"),
        ({"json": {"inputList": ["a"]}}, "templateFunction"),
        ({"json": master(templateFunction="")}, "templateFunction"),
        ({"json": master(templateFunction=" \n")}, "templateFunction"),
        ({"json": master(templateFunction=["true"])}, "templateFunction"),
        ({"json": master(templateFunction="echo \0")}, "templateFunction"),
        ({"json": master(templateFunction="echo {{name", variableJson={"name": "x"})}, "templateFunction"),
        ({"json": master(templateFunction="echo {{name}\necho", variableJson={"name": "x"})}, "templateFunction"),
        ({"json": master(templateFunction="echo {{other}}", variableJson={"name": "x"})}, "variableJson"),
        ({"json": master(variableJson="[]")}, "variableJson"),
        ({"json": master(variableJson="null")}, "variableJson"),
        ({"json": master(variableJson="{")}, "variableJson"),
        ({"json": master(variableJson="name=x")}, "variableJson"),
        ({"json": master(variableJson=[])}, "variableJson"),
        ({"json": master(variableJson=5)}, "variableJson"),
        ({"json": master(variableJson={"n": 1})}, "variableJson.n"),
        ({"json": master(variableJson='{"n": {"deep": "x"}}')}, "variableJson.n"),
        ({"json": master(variableJson='{"n": null}')}, "variableJson.n"),
        ({"json": master(variableJson='{"n": "\\u0000"}', templateFunction="{{n}}")}, "templateFunction"),
        ({"data": {"inputList": "", "templateFunction": "true"}}, "inputList"),
        ({"data": {"inputList": "[", "templateFunction": "true"}}, "inputList"),
        ({"data": {"inputList": '["\\u0000"]', "templateFunction": "true"}}, "inputList"),
        ({"data": {"inputList": "[]", "templateFunction": "true"}}, "inputList"),
        ({"data": {"inputList": "a"}}, "templateFunction"),
        ({"data": {"inputList": "a", "templateFunction": ["x", "y"]}}, "templateFunction"),
        ({"data": {"inputList": "a", "templateFunction": "true", "variableJson": "x"}}, "variableJson"),
        ({"json": []}, "body"),
        ({"content": b"{", "headers": JSON}, None),
    ],
)
def test_a_wrong_master_task_is_refused(live: Live, request_: Any, field: str | None) -> None:
    said = refuse(live, "POST", "/schedule/create", 400, **request_)
    assert said["status"] == 400
    assert said["error"] == "Bad Request"
    assert said.get("field") == field, said
    assert said["message"]


def test_a_placeholder_that_is_wrong_is_named(live: Live) -> None:
    for template, name in (("a {{who}} b", "{{who}}"), ("a {{who", "{{who"), ("{{ who }}", "{{who}}")):
        assert name in refuse(live, "POST", "/schedule/create", 400, json=master(templateFunction=template))["message"]


def test_a_master_task_that_is_too_large_is_refused(live: Live) -> None:
    said = refuse(live, "POST", "/schedule/create", 413, json=master(templateFunction="#" * 1_100_000))
    assert said["message"].startswith("templateFunction: ")
    said = refuse(live, "POST", "/schedule/create", 413, json=master(inputList=["x" * 1_100_000]))
    assert said["message"].startswith("inputList")
    head = f"POST /schedule/create HTTP/1.1\nHost: localhost\nContent-Type: application/json\nContent-Length: {1 << 30}"
    status, _, body = live.raw(head)
    assert (status, json.loads(body)["status"]) == (413, 413)


@pytest.mark.parametrize(
    ("path", "status", "field"),
    [
        ("/schedule/status", 400, "taskId"),
        ("/schedule/status?taskId=", 400, "taskId"),
        ("/schedule/status?taskId=a&taskId=b", 400, "taskId"),
        ("/schedule/status?taskId=%00", 400, "taskId"),
        ("/schedule/status?taskId=%ff", 400, "query"),
        ("/schedule/status?taskId=x", 404, None),
        (f"/schedule/status?taskId={NEVER}", 404, None),
        ("/schedule/node-beat", 400, "nodeId"),
        ("/schedule/node-beat?nodeId=", 400, "nodeId"),
        ("/schedule/node-beat?nodeId=a%0ab", 400, "nodeId"),
        (f"/schedule/node-beat?nodeId={'n' * 201}", 400, "nodeId"),
    ],
)
def test_a_wrong_question_about_master_tasks_is_refused(live: Live, path: str, status: int, field: str | None) -> None:
    said = refuse(live, "GET", path, status)
    assert (said["status"], said.get("field")) == (status, field)
    assert live.client.get("/v1/workers").json()["items"] == []


@pytest.mark.parametrize(
    ("method", "path", "member"),
    [("PUT", "/", "err"), ("POST", "/someone", "err"), ("DELETE", "/users/x", "err"), ("POST", "/jobs", "message"),
     ("GET", "/job", "message"), ("PATCH", "/job/x", "message"), ("GET", "/schedule/create", "message"),
     ("POST", "/schedule/ping", "message")],
)  # fmt: skip
def test_a_wrong_method_is_refused_in_the_apis_words(live: Live, method: str, path: str, member: str) -> None:
    answer: httpx.Response = live.client.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"]
    assert answer.headers["content-type"] == "application/json"
    assert member in answer.json()
