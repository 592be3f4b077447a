"""Pull workers against a live server: many at once, clients that vanish, programs written for the original, bad input."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from rota.http.app import create_app
from rota.service.admission import MAX_DATA
from tests.apis import pull_bench
from tests.http.live import DEADLINE_S, Live, eventually


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    server = Live(tmp_path)
    yield server
    server.stop()


def add(live: Live, function: str = "f", **fields: Any) -> str:
    answer = live.client.post("/add_task", json={"func_name": function, **fields})
    assert answer.status_code == 201, answer.text
    id_: str = answer.json()["task_id"]
    return id_


def take(live: Live, worker: str, wait: float = 0.0) -> dict[str, Any]:
    answer = live.client.get(f"/get_task/{worker}", params={"wait": wait})
    assert answer.status_code == 200, answer.text
    task: dict[str, Any] = answer.json()
    return task


def counts(live: Live) -> dict[str, int]:
    by_status: dict[str, int] = live.client.get("/status").json()["tasks_by_status"]
    return {status: n for status, n in by_status.items() if n}


def test_a_hundred_workers_that_ask_at_once_get_each_task_exactly_once(live: Live) -> None:
    tasks = {add(live) for _ in range(60)}

    async def ask_all() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(base_url=live.url, timeout=30, limits=limits) as client:
            answered = asyncio.Semaphore(0)

            async def ask(n: int) -> httpx.Response:
                answer = await client.get(f"/get_task/w{n}", params={"wait": 20})
                answered.release()
                return answer

            running = [asyncio.create_task(ask(n)) for n in range(100)]
            for _ in range(60):
                await answered.acquire()
            late = [(await client.post("/add_task", json={"func_name": "f"})).json()["task_id"] for _ in range(40)]
            tasks.update(late)
            return await asyncio.gather(*running)

    answers = asyncio.run(ask_all())
    assert [answer.status_code for answer in answers] == [200] * 100
    got = [answer.json() for answer in answers]
    assert sorted(task["task_id"] for task in got) == sorted(tasks)
    assert {task["attempt"] for task in got} == {1}
    assert counts(live) == {"RUNNING": 100}


def test_a_client_that_has_hung_up_gets_no_task(live: Live) -> None:
    live.client.post("/register_worker/gone")
    with socket.create_connection(("127.0.0.1", live.port), timeout=DEADLINE_S) as connection:
        connection.sendall(b"GET /get_task/gone?wait=60 HTTP/1.1\r\nhost: localhost\r\n\r\n")
        eventually(lambda: live.service.signals._claimants)
    eventually(lambda: not live.service.signals._claimants)
    id_ = add(live)
    task = take(live, "there")
    assert (task["task_id"], task["attempt"]) == (id_, 1)


def test_clients_that_hang_up_at_any_moment_cost_no_task_a_retry(live: Live) -> None:
    tasks = []
    for n in range(60):
        with socket.create_connection(("127.0.0.1", live.port), timeout=DEADLINE_S) as connection:
            connection.sendall(b"GET /get_task/fickle?wait=60 HTTP/1.1\r\nhost: localhost\r\n\r\n")
            tasks.append(add(live))
            time.sleep(n % 10 / 5000)
    assert live.client.delete("/unregister_worker/fickle").status_code == 200  # what was sent in time, it holds
    taken = [take(live, "steady") for _ in tasks]
    assert [task["task_id"] for task in taken] == tasks
    assert {task["retries"] for task in taken} == {0}


@pytest.mark.parametrize("gone", [True, False])
def test_a_task_stays_with_its_worker_only_if_it_could_be_written(tmp_path: Path, gone: bool) -> None:
    async def test(bench: pull_bench.Bench) -> None:
        app = create_app(bench.service)
        id_ = await bench.add()
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            if not sent:
                sent.append(None)
                return {"type": "http.request", "body": b"", "more_body": False}
            await asyncio.Event().wait()
            raise AssertionError("nothing wakes it")

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": "GET", "scheme": "http", "path": "/get_task/w", "query_string": b"",
            "headers": [(b"host", b"localhost")], "server": ("127.0.0.1", 8000), "root_path": "",
            "extensions": {"rota.gone": lambda: gone},
        }  # fmt: skip
        await app(scope, receive, send)  # type: ignore[arg-type]
        assert sent[1]["status"] == 200
        job = await bench.job(id_)
        assert (job.state, job.failures, job.crashes) == ("queued" if gone else "running", 0, 0)
        await bench.beat("w", 60)
        assert (await bench.job(id_)).attempt == 1

    pull_bench.run(tmp_path, test)


class OldWorker(threading.Thread):
    """What the original's own worker does, call by call: it never registers, and looks at few answers."""

    def __init__(self, name: str, scheduler_url: str) -> None:
        super().__init__(daemon=True)
        self.worker_id = name
        self.scheduler_url = scheduler_url
        self.stopping = threading.Event()
        self.beats: list[int] = []
        self.functions = {"process_data": lambda x, y: x + y, "send_email": lambda recipient: f"Email to {recipient}"}

    def beat(self) -> None:
        while not self.stopping.wait(0.05):
            self.beats.append(httpx.put(f"{self.scheduler_url}/heartbeat/{self.worker_id}").status_code)

    def run(self) -> None:
        heart = threading.Thread(target=self.beat, daemon=True)
        heart.start()
        while not self.stopping.is_set():
            response = httpx.get(f"{self.scheduler_url}/get_task/{self.worker_id}", verify=False)
            if response.status_code == 200:
                self.execute(response.json())
            elif response.status_code == 204:
                self.stopping.wait(0.02)
        heart.join(DEADLINE_S)

    def execute(self, task: dict[str, Any]) -> None:
        end: dict[str, Any] = {"task_id": task["task_id"], "worker_id": self.worker_id}
        try:
            result = self.functions[task["func"]](*task["args"], **task["kwargs"])
            end |= {"status": "COMPLETED", "result": str(result)}
        except Exception as error:
            end |= {"status": "FAILED", "error_message": str(error)}
        httpx.post(f"{self.scheduler_url}/task_status", json=end, verify=False)


@pytest.mark.parametrize("prefix", ["", "/scheduler"])
def test_the_originals_own_worker_works_unchanged(live: Live, prefix: str) -> None:
    workers = [OldWorker(f"w{n}", live.url + prefix) for n in range(3)]
    for worker in workers:
        worker.start()
    first = add(live, "process_data", args=[1, 2])
    add(live, "process_data", args=[1], kwargs={"y": 2}, dependencies=[first])
    add(live, "send_email", kwargs={"recipient": "ana"}, timeout=10)
    broken = add(live, "process_data", args=["one", 2])
    eventually(lambda: counts(live) == {"COMPLETED": 3, "FAILED": 1})
    eventually(lambda: all(200 in worker.beats for worker in workers))
    for worker in workers:
        worker.stopping.set()
        worker.join(DEADLINE_S)
    job = live.client.get(f"/v1/jobs/{broken}").json()
    assert (job["attempt"], job["failures"]) == (4, 4)
    assert "concatenate" in job["error"]["message"]
    assert live.client.get(f"/v1/jobs/{first}").json()["result"] == "3"


def test_higher_priority_comes_first_and_then_who_came_first(live: Live) -> None:
    low, first, second, high = (add(live, f"f{n}", priority=p) for n, p in enumerate((-1, 0, 0, 7)))
    assert [take(live, "w")["task_id"] for _ in range(4)] == [high, first, second, low]


def test_a_task_waits_until_all_that_it_depends_on_is_completed(live: Live) -> None:
    first, second = add(live, max_retries=0), add(live, max_retries=0)
    both, one = add(live, dependencies=[first, second]), add(live, dependencies=[second])
    take(live, "w"), take(live, "w")
    live.client.post("/task_status", json={"task_id": first, "status": "COMPLETED"})
    assert live.client.get("/get_task/w").status_code == 204
    live.client.post("/task_status", json={"task_id": second, "status": "FAILED", "error_message": "no"})
    assert counts(live) == {"COMPLETED": 1, "FAILED": 1, "CANCELED": 2}
    for task in (both, one):
        job = live.client.get(f"/v1/jobs/{task}").json()
        assert (job["state"], job["reason"]) == ("canceled", "dependency")
        assert second in job["error"]["message"]
    late = add(live, dependencies=[first])
    assert take(live, "w")["task_id"] == late
    add(live, dependencies=[second])
    assert counts(live)["CANCELED"] == 3


def test_jobs_of_other_apis_are_not_there(live: Live) -> None:
    native = live.submit()["id"]
    worker = live.worker("h")
    (lease,) = live.claim(worker)
    assert live.client.post(f"/cancel_task/{native}").status_code == 404
    assert live.client.post("/task_status", json={"task_id": native, "status": "COMPLETED"}).status_code == 404
    answer = live.client.post("/add_task", json={"func_name": "f", "dependencies": [native]})
    assert answer.status_code == 400
    assert native in answer.json()["detail"]
    seen = live.client.get("/status").json()
    assert (seen["total_tasks"], seen["active_workers"], seen["worker_details"]) == (0, 0, {})
    assert live.report(worker, lease)["accepted"]


@pytest.mark.parametrize("result", [None, 0, "text", [1, [2]], {"a": {"b": None}}, "\0", "x" * (MAX_DATA - 2)])
def test_a_result_is_any_json(live: Live, result: Any) -> None:
    id_ = add(live)
    take(live, "w")
    answer = live.client.post("/task_status", json={"task_id": id_, "status": "COMPLETED", "result": result})
    assert answer.status_code == 200, answer.text
    assert live.client.get(f"/v1/jobs/{id_}").json()["result"] == result


def test_a_result_has_a_limit_and_the_task_goes_on(live: Live) -> None:
    id_ = add(live)
    take(live, "w")
    body = {"task_id": id_, "status": "COMPLETED", "result": "x" * MAX_DATA}
    answer = live.client.post("/task_status", json=body)
    assert answer.status_code == 413
    assert "result" in answer.json()["detail"]
    assert counts(live) == {"RUNNING": 1}


def test_null_means_what_is_left_out(live: Live) -> None:
    id_ = add(live, args=None, kwargs=None, dependencies=None, timeout=None, max_retries=None)
    task = take(live, "w")
    assert task["task_id"] == id_
    assert (task["args"], task["kwargs"], task["dependencies"], task["max_retries"]) == ([], {}, [], 3)


def test_arguments_come_back_as_they_were_sent(live: Live) -> None:
    body = (
        b'{"func_name": "pkg.mod:f", "args": [1.10, 12345678901234567890123, "\\u00e9"], "kwargs": {"a": 0.10, "a": 1}}'
    )
    answer = live.client.post("/add_task", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 201
    task = live.client.get("/get_task/w").text
    assert '"args":[1.10, 12345678901234567890123, "\\u00e9"]' in task
    assert '"kwargs":{"a": 0.10, "a": 1}' in task
    assert '"func":"pkg.mod:f"' in task


JSON = {"content-type": "application/json"}


def text(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


@pytest.mark.parametrize(
    ("path", "body", "status", "field"),
    [
        ("/add_task", b"", 422, None),
        ("/add_task", b"func_name=f", 422, None),
        ("/add_task", b'{"func_name": "f"', 422, None),
        ("/add_task", b'{"func_name": "\xff"}', 422, None),
        ("/add_task", [], 422, None),
        ("/add_task", {}, 422, "func_name"),
        ("/add_task", {"func_name": ""}, 422, "func_name"),
        ("/add_task", {"func_name": 5}, 422, "func_name"),
        ("/add_task", {"func_name": "a\nb"}, 422, "func_name"),
        ("/add_task", {"func_name": "x" * 201}, 422, "func_name"),
        ("/add_task", {"func_name": "f", "args": {"a": 1}}, 422, "args"),
        ("/add_task", {"func_name": "f", "args": "ab"}, 422, "args"),
        ("/add_task", {"func_name": "f", "kwargs": []}, 422, "kwargs"),
        ("/add_task", {"func_name": "f", "kwargs": 1}, 422, "kwargs"),
        ("/add_task", {"func_name": "f", "priority": "high"}, 422, "priority"),
        ("/add_task", {"func_name": "f", "priority": 1.5}, 422, "priority"),
        ("/add_task", {"func_name": "f", "priority": 10**30}, 422, "priority"),
        ("/add_task", {"func_name": "f", "dependencies": "abc"}, 422, "dependencies"),
        ("/add_task", {"func_name": "f", "dependencies": [1]}, 422, "dependencies"),
        ("/add_task", {"func_name": "f", "dependencies": ["nothing"]}, 400, None),
        ("/add_task", {"func_name": "f", "timeout": 0}, 422, "timeout"),
        ("/add_task", {"func_name": "f", "timeout": -1}, 422, "timeout"),
        ("/add_task", {"func_name": "f", "timeout": "soon"}, 422, "timeout"),
        ("/add_task", {"func_name": "f", "max_retries": -1}, 422, "max_retries"),
        ("/add_task", {"func_name": "f", "max_retries": True}, 422, "max_retries"),
        ("/add_task", {"func_name": "f", "args": ["x" * MAX_DATA]}, 413, None),
        ("/task_status", {}, 422, "task_id"),
        ("/task_status", {"task_id": "TASK"}, 422, "status"),
        ("/task_status", {"task_id": "TASK", "status": "Completed"}, 422, "status"),
        ("/task_status", {"task_id": "TASK", "status": "RUNNING"}, 422, "status"),
        ("/task_status", {"task_id": "TASK", "status": "PENDING"}, 422, "status"),
        ("/task_status", {"task_id": 7, "status": "COMPLETED"}, 422, "task_id"),
        ("/task_status", {"task_id": "TASK", "status": "FAILED", "error_message": {}}, 422, "error_message"),
        ("/task_status", {"task_id": "TASK", "status": "FAILED", "worker_id": 1}, 422, "worker_id"),
        ("/task_status", {"task_id": "TASK", "status": "FAILED", "attempt": "1"}, 422, "attempt"),
        ("/task_status", {"task_id": "TASK", "status": "FAILED", "attempt": 10**40}, 409, None),
        ("/task_status", {"task_id": "TASK", "status": "FAILED", "attempt": 0}, 409, None),
        ("/task_status", {"task_id": "TASK", "status": "COMPLETED", "worker_id": "other"}, 409, None),
        ("/task_status", {"task_id": "TASK", "status": "COMPLETED", "worker_id": ""}, 409, None),
        ("/task_status", {"task_id": "nothing", "status": "COMPLETED"}, 404, None),
        ("/cancel_task/nothing", b"", 404, None),
        ("/cancel_task/%00", b"", 404, None),
        ("/register_worker/" + "x" * 201, b"", 422, "worker_id"),
        ("/register_worker/a%0Ab", b"", 422, "worker_id"),
        ("/register_worker/w2", {"functions": "f"}, 422, "functions"),
        ("/register_worker/w2", {"functions": ["f", ""]}, 422, "functions"),
        ("/register_worker/w2", {"slots": 0}, 422, "slots"),
        ("/register_worker/w2", {"slots": "many"}, 422, "slots"),
        ("/register_worker/w2", b"{", 422, None),
    ],
)
def test_bad_input_is_refused_with_its_field_and_changes_nothing(
    live: Live, path: str, body: Any, status: int, field: str | None
) -> None:
    task = add(live)
    take(live, "w")
    before = live.client.get("/status").json()
    content = text(body).replace(b'"TASK"', f'"{task}"'.encode())
    for prefix in ("", "/scheduler"):
        answer = live.client.post(prefix + path, content=content, headers=JSON)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/json"
        detail = answer.json()["detail"]
        if status == 422:
            (wrong,) = detail
            assert set(wrong) == {"loc", "msg", "type"}
            assert wrong["loc"][0] in ("body", "path")
            assert field is None or wrong["loc"][1] == field, wrong
        else:
            assert isinstance(detail, str)
    assert live.client.get("/status").json() == before


def test_looking_at_the_head_of_get_task_takes_no_task(live: Live) -> None:
    add(live)
    assert live.client.head("/get_task/w").status_code == 405
    assert counts(live) == {"PENDING": 1}


def test_the_routes_are_in_the_description_under_a_tag_of_their_own(live: Live) -> None:
    paths = live.client.get("/openapi.json").json()["paths"]
    mine = {
        (method, path): what["operationId"]
        for path, methods in paths.items()
        for method, what in methods.items()
        if what["tags"] == ["pull-workers"]
    }
    at_root = {(method, path) for method, path in mine if not path.startswith("/scheduler/")}
    assert at_root == {
        ("post", "/register_worker/{worker_id}"), ("put", "/heartbeat/{worker_id}"), ("post", "/add_task"),
        ("get", "/get_task/{worker_id}"), ("post", "/task_status"), ("get", "/status"), ("post", "/cancel_task/{task_id}"),
        ("delete", "/unregister_worker/{worker_id}"),
    }  # fmt: skip
    assert set(mine) == at_root | {(method, "/scheduler" + path) for method, path in at_root}
    assert len(set(mine.values())) == 16


def test_many_threads_of_one_worker_share_its_name(live: Live) -> None:
    live.client.post("/register_worker/w", json={"slots": 4})
    tasks = [add(live) for _ in range(40)]
    ended: list[str] = []

    def work() -> None:
        with httpx.Client(base_url=live.url, timeout=DEADLINE_S, verify=False) as client:
            while len(ended) < len(tasks):
                answer = client.get("/get_task/w", params={"wait": 0.3})
                if answer.status_code == 200:
                    end = {"task_id": answer.json()["task_id"], "status": "COMPLETED", "worker_id": "w", "attempt": 1}
                    assert client.post("/task_status", json=end).status_code == 200
                    ended.append(end["task_id"])

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(work) for _ in range(8)]:
            future.result(DEADLINE_S)
    assert sorted(ended) == sorted(tasks)


@pytest.mark.parametrize("name", [".", "[].", ""])
def test_an_unknown_field_with_no_name_to_speak_of_is_refused_as_any(live: Live, name: str) -> None:
    live.client.post("/register_worker", json={"worker_id": "w"})
    answer = live.client.put("/heartbeat/w", json={name: 1})
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"][0]["loc"][0] == "body"
