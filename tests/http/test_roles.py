"""Each role tried against each route. The table is written by hand, and compared with the app's own list of operations: a
route that nobody has thought about fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from rota.core.access import LOCAL, STRANGER, Caller
from rota.http.app import APIS, operations
from rota.http.operations import Operation
from rota.http.routes import docs, ui
from tests.http.guarded import Guarded

ANYONE, OWNERS, WORKERS, ADMINS, KEEPERS = "anyone", "owners", "workers", "admins", "keepers"
TABLE = {
    "POST /v1/jobs": OWNERS, "GET /v1/jobs": OWNERS, "POST /v1/jobs/bulk": OWNERS, "GET /v1/jobs/{id}": OWNERS,
    "PATCH /v1/jobs/{id}": OWNERS, "GET /v1/jobs/{id}/attempts": OWNERS, "GET /v1/jobs/{id}/events": OWNERS,
    "GET /v1/jobs/{id}/logs": OWNERS, "GET /v1/jobs/{id}/results": OWNERS, "GET /v1/jobs/{id}/explain": OWNERS,
    "GET /v1/jobs/{id}/deliveries": OWNERS, "POST /v1/jobs/{id}/deliveries/{delivery}/resend": OWNERS,
    "POST /v1/jobs/{id}/abort": OWNERS, "POST /v1/jobs/{id}/retry": OWNERS,
    "GET /v1/jobs/{id}/graph": OWNERS, "GET /v1/jobs/{id}/inputs/map": OWNERS, "GET /v1/jobs/{id}/inputs/{index}": OWNERS,
    "GET /v1/jobs/{id}/checkpoint": OWNERS, "GET /v1/handlers": OWNERS,
    "GET /v1/events": OWNERS,
    "POST /v1/schedules/deploy": ADMINS,
    "POST /v1/runs": OWNERS, "GET /v1/runs": OWNERS, "GET /v1/runs/{id}": OWNERS, "GET /v1/runs/{id}/graph": OWNERS,
    "POST /v1/runs/{id}/abort": OWNERS, "POST /v1/runs/{id}/retry": OWNERS,
    "GET /v1/owners": OWNERS, "GET /v1/owners/{id}": OWNERS, "PATCH /v1/owners/{id}": ADMINS,
    "GET /v1/owners/{id}/share": OWNERS,
    "POST /v1/schedules": OWNERS, "GET /v1/schedules": OWNERS, "POST /v1/schedules/preview": OWNERS,
    "GET /v1/schedules/{id}": OWNERS, "PATCH /v1/schedules/{id}": OWNERS, "DELETE /v1/schedules/{id}": OWNERS,
    "POST /v1/schedules/{id}/pause": OWNERS, "POST /v1/schedules/{id}/resume": OWNERS, "POST /v1/schedules/{id}/run": OWNERS,
    "GET /v1/schedules/{id}/preview": OWNERS, "GET /v1/schedules/{id}/firings": OWNERS,
    "GET /v1/schedules/{id}/history": OWNERS,
    "GET /v1/queues": OWNERS, "GET /v1/queues/{name}": OWNERS, "PATCH /v1/queues/{name}": ADMINS,
    "POST /v1/queues/{name}/pause": ADMINS, "POST /v1/queues/{name}/resume": ADMINS,
    "GET /v1/limits": OWNERS, "GET /v1/limits/{kind}/{name}": OWNERS, "PUT /v1/limits/{kind}/{name}": ADMINS,
    "DELETE /v1/limits/{kind}/{name}": ADMINS,
    "POST /v1/workers": WORKERS, "POST /v1/workers/{id}/claim": WORKERS, "POST /v1/workers/{id}/heartbeat": WORKERS,
    "POST /v1/workers/{id}/watch": WORKERS, "POST /v1/workers/{id}/report": WORKERS, "POST /v1/workers/{id}/logs": WORKERS,
    "DELETE /v1/workers/{id}": WORKERS,
    "GET /v1/workers": ADMINS, "GET /v1/workers/{id}": ADMINS, "POST /v1/workers/{id}/drain": ADMINS,
    "GET /v1/jobs/count": OWNERS, "POST /v1/jobs/abort": OWNERS, "POST /v1/jobs/retry": OWNERS, "POST /v1/jobs/move": OWNERS,
    "GET /v1/overview": OWNERS, "GET /v1/stats/series": ADMINS, "GET /v1/errors": OWNERS, "GET /v1/timeline": OWNERS,
    "GET /v1/stats": ADMINS, "GET /metrics": ADMINS,
    "POST /v1/tokens": KEEPERS, "GET /v1/tokens": KEEPERS, "DELETE /v1/tokens/{id}": KEEPERS, "GET /v1/audit": KEEPERS,
    "GET /healthz": ANYONE, "GET /readyz": ANYONE, "GET /openapi.json": ANYONE, "GET /docs": ANYONE,
    "GET /docs/assets/{name}": ANYONE, "GET /": ANYONE, "GET /ui": ANYONE, "GET /ui/{path}": ANYONE,
    "GET /v1/me": OWNERS,
    # user tasks
    "POST /": OWNERS, "DELETE /": OWNERS, "GET /users/{id}": OWNERS, "GET /{userId}": OWNERS,
    # timed jobs
    "GET /jobs": OWNERS, "POST /job": OWNERS, "DELETE /job": OWNERS, "GET /job/{id}": OWNERS, "DELETE /job/{id}": OWNERS,
    # pull workers
    **{
        f"{method} {prefix}{path}": who
        for prefix in ("", "/scheduler")
        for method, path, who in (
            ("GET", "/get_task/{worker_id}", WORKERS), ("POST", "/task_status", WORKERS),
            ("PUT", "/heartbeat/{worker_id}", WORKERS), ("POST", "/register_worker/{worker_id}", WORKERS),
            ("DELETE", "/unregister_worker/{worker_id}", WORKERS), ("POST", "/add_task", OWNERS),
            ("POST", "/cancel_task/{task_id}", OWNERS), ("GET", "/status", ADMINS),
        )
    },
    # master tasks
    "POST /schedule/create": OWNERS, "GET /schedule/status": OWNERS, "GET /schedule/node-beat": WORKERS,
    "GET /schedule/ping": ANYONE,
}  # fmt: skip
ADMITTED = {
    ANYONE: {"nobody", "wrong", "admin", "user", "worker"},
    OWNERS: {"admin", "user"},
    WORKERS: {"admin", "worker"},
    ADMINS: {"admin"},
    KEEPERS: {"admin"},
}
ROLES = ("nobody", "wrong", "admin", "user", "worker")
OPERATIONS = [*operations(APIS), docs.INDEX, *docs.PAGES, *ui.PAGES]


def name(operation: Operation[Any, Any]) -> str:
    return f"{operation.method} {operation.shown_path}"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    server = Guarded(tmp_path_factory.mktemp("guarded"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def clients(guarded: Guarded) -> Iterator[dict[str, httpx.Client]]:
    texts = {
        "nobody": None,
        "wrong": "rota_" + "0" * 64,
        "admin": guarded.token("admin"),
        "user": guarded.token("user", owner="ana"),
        "worker": guarded.token("worker"),
    }
    found = {role: guarded.as_(text) for role, text in texts.items()}
    yield found
    for client in found.values():
        client.close()


def test_every_route_has_a_line_and_every_line_a_route() -> None:
    assert {name(operation) for operation in OPERATIONS} == set(TABLE)


def test_the_table_says_what_the_app_says() -> None:
    assert {name(operation): operation.who.value for operation in OPERATIONS} == TABLE


def ask(client: httpx.Client, method: str, path: str, thing: str = "no-such-thing") -> httpx.Response:
    """Ask with things that there are not, and read no more than the head of what goes on for ever."""
    for parameter in ("{id}", "{name}", "{worker_id}", "{task_id}", "{userId}", "{delivery}"):
        path = path.replace(parameter, thing)
    with client.stream(method, path, content=b"{}", headers={"content-type": "application/json"}) as answer:
        if not answer.headers["content-type" if "content-type" in answer.headers else "date"].startswith("text/event"):
            answer.read()
        return answer


@pytest.mark.parametrize("route", sorted(TABLE))
@pytest.mark.parametrize("role", ROLES)
def test_each_role_against_each_route(clients: dict[str, httpx.Client], role: str, route: str) -> None:
    method, _, path = route.partition(" ")
    answer = ask(clients[role], method, path, f"no-such-{role}")
    if role in ADMITTED[TABLE[route]]:
        assert answer.status_code not in (401, 429), answer.text
        # A user who asks for another's list by name is told that it is not for this token.
        if not (role == "user" and route in ("GET /{userId}", "GET /users/{id}")):
            assert answer.status_code != 403, answer.text
    elif role in ("nobody", "wrong"):
        assert answer.status_code == 401
        challenges = answer.headers.get_list("www-authenticate")
        assert any(c.startswith("Bearer") for c in challenges)
        assert any(c.startswith("Basic") for c in challenges)
    else:
        assert answer.status_code == 403, answer.text
        assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize("anonymous", [LOCAL, STRANGER], ids=["loopback", "insecure"])
def test_without_tokens_everything_is_open_but_what_makes_tokens(tmp_path: Any, anonymous: Caller) -> None:
    server = Guarded(tmp_path, anonymous=anonymous)
    try:
        with server.as_(None) as client:
            for route, who in TABLE.items():
                method, _, path = route.partition(" ")
                status = ask(client, method, path).status_code
                assert (status == 403) is (who == KEEPERS), route
                assert status != 401, route
    finally:
        server.stop()
