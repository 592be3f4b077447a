"""The older APIs beyond their transcripts: pages, dates and zones, what is served at all, and who may ask."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from rota.core import templates
from rota.core.errors import Invalid
from rota.http.apis.filling import escaped, filled
from tests.e2e.conftest import Server, wait_for
from tests.http.live import DEADLINE_S, Live

FORMAT = "%d-%m-%Y %H:%M:%S"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    server = Live(tmp_path_factory.mktemp("older"))
    yield server
    server.stop()


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., Live]]:
    servers: list[Live] = []

    def start(**settings: Any) -> Live:
        servers.append(Live(tmp_path, **settings))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def next_page(answer: httpx.Response) -> str | None:
    """Return where the `Link` header leads."""
    found = re.fullmatch(r'<(.+)>; rel="next"', answer.headers.get("link", ""))
    return found[1] if found else None


def many(live: Live, n: int, **fields: Any) -> None:
    for at in range(0, n, 500):
        with httpx.Client(base_url=live.url, timeout=DEADLINE_S, verify=False) as client:
            for one in range(at, min(n, at + 500)):
                body = {key: value.format(one) if isinstance(value, str) else value for key, value in fields.items()}
                assert client.post("/job" if "job_name" in body else "/", json=body).status_code == 200


def test_a_users_tasks_are_paged_newest_first_and_none_is_lost(live: Live) -> None:
    many(live, 1005, uid="a b/ü", task="t{}", data=None)
    first = live.client.get("/users/a b/ü")
    link = next_page(first)
    assert link is not None
    assert link.startswith("/users/a%20b/%C3%BC?after=")
    rest = live.client.get(link)
    assert next_page(rest) is None
    assert [len(first.json()), len(rest.json())] == [1000, 5]
    assert [task["task"] for task in first.json() + rest.json()] == [f"t{n}" for n in reversed(range(1005))]


def test_a_history_is_paged_newest_first_and_the_rest_is_shown_whole(started: Callable[..., Live]) -> None:
    live = started()
    many(live, 1003, job_name="job{}", date="1h")
    shown = live.client.get("/jobs")
    assert next_page(shown) is None
    assert len(shown.json()["scheduled"]) == 1003  # what waits is never cut off
    for id_ in shown.json()["scheduled"]:
        assert live.client.delete(f"/job/{id_}").status_code == 200
    many(live, 2, job_name="later{}", date="1h")
    first = live.client.get("/jobs")
    link = next_page(first)
    assert link is not None
    assert link.startswith("/jobs?history=")
    rest = live.client.get(link)
    assert next_page(rest) is None
    assert [len(first.json()[name]) for name in ("running", "scheduled", "history")] == [0, 2, 1000]
    assert [len(rest.json()[name]) for name in ("running", "scheduled", "history")] == [0, 0, 3]
    names = [job["job_name"] for page in (first, rest) for job in page.json()["history"].values()]
    assert names == [f"job{n}" for n in reversed(range(1003))]


def test_each_api_lists_only_its_own_and_all_have_the_same_ids(live: Live) -> None:
    native = live.submit(owner="solo")["id"]
    mine = live.client.post("/", json={"uid": "solo", "task": "t", "data": 1}).json()["id"]
    assert [task["id"] for task in live.client.get("/solo").json()] == [mine]
    timed = live.client.post("/job", json={"job_name": "x", "date": "1h"}).json()["message"].split()[4]
    assert mine not in live.client.get("/jobs").text
    assert timed in live.client.get("/jobs").json()["scheduled"]
    found = {job["id"] for job in live.client.get("/v1/jobs?limit=1000").json()["items"]}
    assert {native, mine, timed} <= found


def test_a_user_is_the_same_by_number_and_by_text(live: Live) -> None:
    for uid in (77, "77", 77.0):
        assert live.client.post("/", json={"uid": uid, "task": "t", "data": None}).status_code == 200
    assert [task["uid"] for task in live.client.get("/77").json()] == ["77", "77", "77"]
    live.client.post("/", json={"uid": 1.5, "task": "t", "data": None})
    assert len(live.client.get("/1.5").json()) == 1


@pytest.mark.parametrize(
    "data",
    ["null", "true", "0", "-1.50", "1e400", '""', "[]", "{}", '{"a":{"b":[null,"é\\n"]}}', "12345678901234567890123"],
)
def test_data_comes_back_as_it_was_given(live: Live, data: str) -> None:
    body = f'{{"uid":"raw{hash(data)}","task":"t","data":{data}}}'
    answer = live.client.post("/", content=body.encode(), headers={"content-type": "application/json"})
    assert answer.status_code == (400 if data == "1e400" else 200)
    if answer.status_code == 200:
        assert f'"data":{data},' in live.client.get(f"/raw{hash(data)}").text


def test_the_same_key_submits_once(live: Live) -> None:
    for path, body in (
        ("/", {"uid": "key", "task": "t", "data": 1}),
        ("/job", {"job_name": "key", "date": "1h"}),
        ("/schedule/create", {"inputList": ["a"], "templateFunction": "true"}),
    ):
        first, second = (live.client.post(path, json=body, headers={"idempotency-key": f"k{path}"}) for _ in range(2))
        assert first.json() == second.json()
    assert len(live.client.get("/key").json()) == 1


def test_the_native_job_says_what_a_timed_job_names(live: Live) -> None:
    live.worker("known/handler")  # a handler, though it could be an image
    for name, field in (
        ("JOB_A", "handler"), ("known/handler", "handler"), ("busybox", "image"), ("localhost:5000/a/b:1.2", "image"),
        ("Upper/Case", "handler"), ("два слова: и двоеточие", "handler"), ("a" * 200, "image"),
    ):  # fmt: skip
        said = live.client.post("/job", data={"job_name": name, "date": "1h"}).json()["message"]
        id_ = said.removeprefix(f"job {name} with id ").split()[0]
        job = live.client.get(f"/v1/jobs/{id_}").json()
        assert job[field] == name
        assert live.client.get(f"/job/{id_}").json()["job_name"] == name


def test_a_name_that_nobody_offers_waits_and_it_is_said_for_what(live: Live) -> None:
    said = live.client.post("/job", data={"job_name": "Not: offered", "date": "0s"}).json()["message"]
    id_ = said.split(" with id ")[1].split()[0]
    assert "Not: offered" in live.client.get(f"/v1/jobs/{id_}/explain").json()["summary"]


def test_dates_are_in_the_servers_zone(serve: Callable[..., Server]) -> None:
    server = serve("--workers", "0", environ={"ROTA_TZ": "America/St_Johns"})
    zone = ZoneInfo("America/St_Johns")
    at = datetime.now(zone).replace(microsecond=0) + timedelta(days=200)
    written = at.strftime(FORMAT)
    said = server.post("/job", {"job_name": "JOB_A", "date": written})["message"]
    id_ = said.split(" with id ")[1].split()[0]
    job = server.get(f"/v1/jobs/{id_}")
    assert datetime.fromisoformat(job["run_at"]) == at
    shown = server.get(f"/job/{id_}")
    assert shown["scheduled_to"] == written
    submitted = datetime.fromisoformat(job["submitted_at"]).astimezone(zone)
    assert shown["scheduled_in"] == submitted.strftime(FORMAT)


@pytest.mark.parametrize(
    ("when", "seconds"), [("0s", 0), ("30s", 30), ("2m", 120), ("1h", 3600), ("4d", 345600), ("007s", 7)]
)
def test_relative_times_are_from_now(live: Live, when: str, seconds: int) -> None:
    said = live.client.post("/job", data={"job_name": "REL", "time": when}).json()["message"]
    job = live.client.get(f"/v1/jobs/{said.split(' with id ')[1].split()[0]}").json()
    assert datetime.fromisoformat(job["run_at"]) - datetime.fromisoformat(job["submitted_at"]) == timedelta(
        seconds=seconds
    )


def test_this_second_is_not_in_the_past_but_the_last_ones_are(live: Live) -> None:
    zone = live.service.zone
    for _ in range(20):
        written = datetime.now(zone).strftime(FORMAT)
        answer = live.client.post("/job", data={"job_name": "x", "date": written})
        if datetime.now(zone).strftime(FORMAT) == written:  # the clock has not gone on meanwhile
            assert answer.status_code == 200
            break
    past = (datetime.now(zone) - timedelta(seconds=2)).strftime(FORMAT)
    assert live.client.post("/job", data={"job_name": "x", "date": past}).status_code == 400


@pytest.mark.parametrize(
    ("template", "variables", "script"),
    [
        ("echo {{a}}", {"a": "x; rm 'y'"}, "echo x; rm 'y'"),
        ("{{ a }}{{a}}", {"a": "1"}, "11"),
        ("{{a}}", {"a": "{{b}}", "b": "no"}, "{{b}}"),
        ("{{a}}", {"a": r"\{{a}} {{a|raw}} {{{a}}}"}, r"\{{a}} {{a|raw}} {{{a}}}"),
        (r"\{{a}}", {"a": "1"}, r"\1"),
        ("{{{a}}}", {"a": "1"}, "{1}"),
        ("{{my-var}} {{file.name}}", {"my-var": "1", "file.name": "2"}, "1 2"),
        ("docker ps --format '{{.State}}'", {}, "docker ps --format '{{.State}}'"),
        ("awk '{{print $1}}' {{{a,b},c}", {}, "awk '{{print $1}}' {{{a,b},c}"),
        ("a\r\n{{a}}\n", {"a": "é\t"}, "a\r\né\t\n"),
    ],
)
def test_placeholders_are_replaced_raw_and_nothing_else_is(
    template: str, variables: dict[str, str], script: str
) -> None:
    assert filled(template, variables) == script
    assert templates.render(escaped(script), {}) == script


@pytest.mark.parametrize("template", ["{{a}}", "{{a}} {{b}}", "{{a", "{{ a }", "x {{a\n}}"])
def test_a_placeholder_without_a_variable_or_an_end_is_refused(template: str) -> None:
    with pytest.raises(Invalid, match="a"):
        filled(template, {"b": "1"})


def test_a_master_tasks_script_gets_its_input_twice(serve: Callable[..., Server]) -> None:
    server = serve("--workers", "2", "--slots", "2")
    task = server.post(
        "/schedule/create",
        {
            "inputList": ["one", "two  words", "it's", "ünï", 4, ["five"]],
            "variableJson": json.dumps({"say": "printf '%s|' \"$1\"", "fail": "it's"}),
            "templateFunction": '{{say}}\ncat\n[ "$1" != "{{fail}}" ]',
        },
    )
    assert (task["chunksToExecute"], task["chunksExecuted"]) == (6, 0)

    def over() -> Any:
        shown = server.get("/schedule/status", params={"taskId": task["id"]})
        return shown if shown["status"] == "FAILED" else None

    shown = wait_for(over, "the task is over")
    assert shown["chunksExecuted"] == 6
    assert {name: shown[name] for name in ("inputList", "variableJson", "templateFunction")} == {
        name: task[name] for name in ("inputList", "variableJson", "templateFunction")
    }
    lines = [
        json.loads(line) for line in server.http.get(f"{server.url}/v1/jobs/{task['id']}/results").text.splitlines()
    ]
    texts = ["one", "two  words", "it's", "ünï", "4", '["five"]']
    assert [line["stdout"] for line in lines] == [f"{text}|{text}\n" for text in texts]
    assert [line["exit_code"] for line in lines] == [0, 0, 1, 0, 0, 0]


def test_many_inputs_come_back_in_order(live: Live) -> None:
    inputs = [f"input {n}" for n in range(5000)]
    task = live.client.post("/schedule/create", json={"inputList": inputs, "templateFunction": "true"}).json()
    shown = live.client.get("/schedule/status", params={"taskId": task["id"]}).json()
    assert shown["inputList"] == inputs
    assert shown["chunksToExecute"] == 5000


def test_a_node_is_a_worker_that_takes_nothing_and_is_gone_after_its_lease(serve: Callable[..., Server]) -> None:
    server = serve("--workers", "0", "--lease", "3")
    server.submit("add", {"a": 1})
    for _ in range(3):
        assert server.get("/schedule/node-beat", params={"nodeId": "node-7"}) is True
    (node,) = server.get("/v1/workers")["items"]
    assert (node["name"], node["state"], node["slots"], node["handlers"], node["scripts"]) == (
        "node-7", "present", 0, [], False,
    )  # fmt: skip
    free = {"process": 5, "asynchronous": 5, "total": 5}
    assert server.post(f"/v1/workers/{node['id']}/claim", {"free": free})["leases"] == []
    until = time.monotonic() + 4  # longer than its lease: beats renew it
    while time.monotonic() < until:
        server.get("/schedule/node-beat", params={"nodeId": "node-7"})
        assert [w["state"] for w in server.get("/v1/workers")["items"]] == ["present"]
        time.sleep(0.1)
    wait_for(lambda: [w["state"] for w in server.get("/v1/workers")["items"]] == ["gone"], "the node is gone")
    server.get("/schedule/node-beat", params={"nodeId": "node-7"})
    assert [w["state"] for w in server.get("/v1/workers")["items"]] == ["present"]


@pytest.mark.parametrize("apis", ["", "a", "b", "d", "abcd"])
def test_only_the_chosen_apis_are_served(started: Callable[..., Live], apis: str) -> None:
    live = started(apis=tuple(apis))
    tags = {op["tags"][0] for item in live.client.get("/openapi.json").json()["paths"].values() for op in item.values()}
    names = {"user-tasks": "a", "timed-jobs": "b", "pull-workers": "c", "master-tasks": "d"}
    assert {letter for tag, letter in names.items() if tag in tags} == set(apis)
    assert live.client.get("/schedule/ping").status_code == (200 if "d" in apis else 404)
    assert (live.client.get("/").status_code == 302) is ("b" in apis)
    assert live.client.get("/", headers={"accept": "text/html"}).headers["location"] == "/ui/"
    jobs = live.client.get("/jobs")
    if "b" in apis:
        assert "history" in jobs.json()
    elif "a" in apis:
        assert jobs.json() == []  # then it is a user like any other
    else:
        assert jobs.status_code == 404


ROUTES = [
    ("GET", "/"), ("POST", "/"), ("DELETE", "/"), ("GET", "/ana"), ("GET", "/users/ana"), ("GET", "/jobs"), ("GET", "/job/x"),
    ("POST", "/job"), ("DELETE", "/job"), ("DELETE", "/job/x"), ("POST", "/schedule/create"), ("GET", "/schedule/status"),
    ("GET", "/schedule/node-beat?nodeId=evil"), ("GET", "/schedule/ping"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"host": "evil.example"},
        # what a browser sends for an HTML form on a foreign page
        {
            "origin": "http://evil.example",
            "sec-fetch-site": "cross-site",
            "sec-fetch-mode": "navigate",
            "sec-fetch-dest": "document",
        },
    ],
)  # fmt: skip
def test_no_web_page_drives_the_older_apis(live: Live, method: str, path: str, headers: dict[str, str]) -> None:
    def there() -> tuple[int, int]:  # jobs of other tests may become due meanwhile, but none comes
        stats = live.client.get("/v1/stats").json()
        return sum(stats["jobs"].values()), stats["workers"]

    before = there()
    form = {"job_name": "evil", "date": "0s", "inputList": "a", "templateFunction": "true"}
    answer = live.client.request(method, path, data=form if method == "POST" else None, headers=headers)
    assert answer.status_code == (421 if "host" in headers else 403)
    assert there() == before


def test_no_other_route_takes_a_form(live: Live) -> None:
    for method, path in (("POST", "/v1/jobs"), ("POST", "/v1/workers"), ("POST", "/"), ("DELETE", "/")):
        answer = live.client.request(
            method, path, data={"uid": "1", "task": "t", "data": "1", "handler": "h", "id": "x"}
        )
        assert answer.status_code == 415, path
