"""The compose file on a real engine: a cluster, and a job aborted in one of its workers (`make test-deploy`)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rota.client import Client
from rota.core.errors import RotaError
from tests.deploy.cluster import Compose
from tests.engines import wait_until

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(1200)]
_TASKS = """import rota

app = rota.App()


@app.handler
def double(n: int) -> int:
    return 2 * n
"""
_SLEEPER = "echo here; setsid sleep 7654 & sleep 7654"
_UP_S = 180.0


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    apps = tmp_path_factory.mktemp("apps")
    apps.chmod(0o755)
    (apps / "tasks.py").write_text(_TASKS)
    made = Compose(apps)
    try:
        made.up()
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def client(compose: Compose) -> Iterator[Client]:
    """A client of both servers, with the first admin's token, once three workers are there."""
    token = compose.inside(compose.containers("server-1")[0], "cat", "/keys/admin").strip()
    servers = f"http://{compose.address}:8000,http://{compose.address}:8001"
    with Client(servers, token=token) as client:

        def ready() -> bool:
            try:
                return client.stats()["workers"] == 3
            except RotaError:
                return False

        wait_until(ready, f"three workers are there: {compose.compose('ps')}", _UP_S)
        yield client


def test_a_handler_runs_in_a_worker(client: Client) -> None:
    job = client.submit("double", {"n": 21})
    job.wait(60)
    assert job.result == 42


def test_nobody_is_root_or_writes_where_he_should_not(compose: Compose, client: Client) -> None:
    names = [name for service in ("server-1", "server-2", "worker") for name in compose.containers(service)]
    assert len(names) == 5
    for name in names:
        assert compose.inside(name, "id", "-u").strip() == "10001"
        assert compose.engine.inspect(name)["HostConfig"]["ReadonlyRootfs"] is True
        for place in ("/x", "/opt/rota/x", "/data/x", "/etc/x"):
            assert compose.inside(name, "sh", "-c", f"touch {place} 2>/dev/null || echo refused") == "refused\n", place
        rights = dict(
            line.split(":\t")
            for line in compose.inside(name, "grep", "-E", "CapEff|CapBnd|NoNewPrivs", "/proc/1/status").splitlines()
        )
        assert rights == {"CapEff": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1"}


def test_a_job_is_aborted_in_one_of_the_workers(compose: Compose, client: Client) -> None:
    job = client.submit_script(_SLEEPER)
    workers = compose.containers("worker")

    def where() -> list[str]:
        return [
            name
            for name in workers
            if compose.inside(name, "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").count("sleep 7654") >= 2
        ]

    (container,) = wait_until(where, "it runs in one of the workers")
    assert job.abort()
    job.wait(60)
    assert (job.state, job.confirmed) == ("aborted", True)
    assert where() == [], "and nothing of it is left"
    again = client.submit("double", {"n": 1})
    again.wait(60)
    assert again.result == 2
    assert container in compose.containers("worker")


def test_a_server_that_dies_is_not_missed(compose: Compose, client: Client) -> None:
    job = client.submit_script("sleep 3; echo done")
    compose.compose("kill", "--signal", "KILL", "server-1")
    job.wait(90)
    assert job.state == "succeeded"
    assert client.stats()["workers"] == 3
