"""Quotas over HTTP: set, shown with their use, and met by each API in its own words; from the clients and the command line."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from rota.cli.main import main
from rota.client import AsyncClient, Client
from rota.core.errors import Invalid, QuotaFull
from tests.http.live import Live, check_problem


@pytest.fixture
def full(live: Live) -> Iterator[Live]:
    """A server on which ana may have one job that waits, and has it; so may the owner of jobs that name none."""
    live.submit(owner="ana", delay=3600)
    live.submit(delay=3600)
    for owner in ("ana", "default"):
        waits = live.client.get(f"/v1/jobs?owner={owner}&state=queued&state=scheduled&state=blocked&limit=1000").json()
        answer = live.client.patch(f"/v1/owners/{owner}", json={"max_waiting": len(waits["items"])})
        assert answer.status_code == 200, answer.text
    yield live
    for owner in ("ana", "default"):
        live.client.patch(f"/v1/owners/{owner}", json={"max_waiting": None, "max_bytes": None})


def test_a_refusal_names_the_quota_what_it_is_and_what_is_used(full: Live) -> None:
    n = full.client.get("/v1/owners/ana").json()["max_waiting"]
    assert full.client.get("/v1/owners/ana").json()["use"] == {"waiting": n, "running": None, "bytes": None}
    one = {"handler": "h", "owner": "ana"}
    run = {"owner": "ana", "jobs": [{"ref": "a", "handler": "h"}]}
    for path, body in (("", one), ("?dry_run=true", one), ("/bulk", [one])):
        problem = check_problem(full.client.post(f"/v1/jobs{path}", json=body), 429, "quota-full")
        assert (problem["limit"], problem["allowed"], problem["used"]) == ("max_waiting", n, n)
        assert "max_waiting of 'ana'" in problem["detail"]
    check_problem(full.client.post("/v1/runs", json=run), 429, "quota-full")


def test_the_older_apis_refuse_it_in_their_own_words(full: Live) -> None:
    ways: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/", {"uid": "ana", "task": "t", "data": {}}),
        ("POST", "/job", {"job_name": "t", "time": "30s"}),
        ("POST", "/add_task", {"func_name": "t"}),
        ("POST", "/schedule/create", {"inputList": ["a"], "templateFunction": "true", "variableJson": {}}),
    ]
    for method, path, body in ways:
        answer = full.client.request(method, path, json=body)
        assert answer.status_code == 429, (path, answer.text)
        assert "max_waiting" in answer.text


def test_what_cannot_be_a_quota_is_refused_by_name(full: Live) -> None:
    n = full.client.get("/v1/owners/ana").json()["max_waiting"]
    for body in (
        {"max_waiting": -1},
        {"max_waiting": n - 1},
        {"max_waiting": "many"},
        {"max_bytes": 1},
        {"max_bytes": 1 << 60},
    ):
        problem = check_problem(full.client.patch("/v1/owners/ana", json=body), 422, "invalid")
        assert problem["field"] == next(iter(body))


def test_the_clients_raise_it_at_once_and_set_quotas(full: Live) -> None:
    with Client(full.url) as client:
        with pytest.raises(QuotaFull, match="max_waiting") as refused:
            client.submit("h", owner="ana")
        assert refused.value.used == refused.value.allowed
        with pytest.raises(Invalid, match="max_waiting"):
            client.owners.edit("ana", max_waiting=0)
        assert client.owners.edit("ana", max_waiting=None).use is None

    async def main() -> None:
        async with AsyncClient(full.url) as client:
            owner = await client.owners.edit("ana", max_bytes=1 << 40)
            assert owner.use is not None and owner.use.bytes

    asyncio.run(main())


def test_the_command_sets_and_shows_them(full: Live) -> None:
    def run(*words: str) -> str:
        done = CliRunner().invoke(main, [*words, "--server", full.url])
        return done.output

    n = full.client.get("/v1/owners/ana").json()["max_waiting"]
    assert f"max_waiting {n} ({n} in use)" in run("owner", "ana")
    assert "max_bytes 1000000 (" in run("owner", "ana", "--max-waiting", "none", "--max-bytes", "1000000")
    assert "max_bytes" not in run("owner", "ana", "--max-bytes", "none")
