"""What only a server on PostgreSQL could get wrong: it cannot hold a NUL character, not even to compare it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rota.http.app import APIS, operations
from rota.store.postgres.store import PostgresStore
from tests import postgres
from tests.http.live import Live

WITH_A_NAME = [operation for operation in operations(APIS) if "{" in operation.path]


class OnPostgres(Live):
    """A server on a database of its own."""

    store = staticmethod(lambda _folder: PostgresStore(postgres.cluster().new_database()))


@pytest.fixture(scope="module")
def on_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    server = OnPostgres(tmp_path_factory.mktemp("postgres"))
    yield server
    server.stop()


@pytest.mark.parametrize("where", ["on_postgres", "live"])
def test_nothing_has_a_nul_character_in_its_name(where: str, request: pytest.FixtureRequest) -> None:
    server: Live = request.getfixturevalue(where)
    for operation in WITH_A_NAME:
        path = operation.shown_path.partition("{")[0] + "a%00b" + operation.shown_path.rpartition("}")[2]
        for body in ({}, {"json": {}}) if operation.method not in ("GET", "DELETE") else ({},):
            answer = server.client.request(operation.method, path, **body)
            known = (403, 404) if operation.named else (200,)  # a user whom nobody knows has no tasks
            assert answer.status_code in known, f"{operation.method} {path}: {answer.text}"


def test_what_is_asked_for_in_vain_is_not_there(on_postgres: Live) -> None:
    for name in ("%00", "%ff", "%ed%a0%80", "x" * 4000):
        assert on_postgres.client.get(f"/v1/jobs/{name}").status_code == 404
