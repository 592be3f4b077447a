"""What `/openapi.json` says is so: schemathesis asks the live server with what the document allows, and what it does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rota.http.app import APIS, operations
from tests.http.live import Live

BUDGET_S = 35
PATIENCE_S = 250  # where the machine is too busy for all within the budget
OPERATIONS = operations(APIS)


def test_every_route_is_described_once(live: Live) -> None:
    document = live.client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    described = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert described == {(operation.method, operation.shown_path) for operation in OPERATIONS}
    ids = [operation["operationId"] for item in document["paths"].values() for operation in item.values()]
    assert len(ids) == len(set(ids))
    submit = document["paths"]["/v1/jobs"]["post"]
    assert submit["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Submission"}
    assert document["components"]["schemas"]["Submission"]["additionalProperties"] is False


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        return ([node["$ref"]] if "$ref" in node else []) + [
            ref for child in node.values() for ref in references(child)
        ]
    return [ref for child in node for ref in references(child)] if isinstance(node, list) else []


def test_every_reference_leads_somewhere(live: Live) -> None:
    document = live.client.get("/openapi.json").json()
    for ref in references(document):
        assert ref.removeprefix("#/components/schemas/") in document["components"]["schemas"]


def test_the_page_and_its_files_are_served_under_a_strict_policy(live: Live) -> None:
    page = live.client.get("/docs")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "http:" not in page.text
    for name in ("docs.js", "swagger-ui.css", "swagger-ui-bundle.js"):
        assert f"/docs/assets/{name}" in page.text
        assert live.client.get(f"/docs/assets/{name}").status_code == 200
    assert live.client.get("/").headers["location"] == "/jobs"


@pytest.mark.timeout(600)
def test_the_server_does_what_the_document_says(fresh: Live, tmp_path: Path) -> None:
    """No 5xx, no status, type or body that is not described, and nothing wrong is taken for right."""
    fresh.service.signals.close()  # nothing waits: long polls and streams end at once
    every = f"Tested: {len(OPERATIONS) - 1}"  # all but the document itself
    for budget_s in (BUDGET_S, PATIENCE_S):
        if every in (told := fuzzed(fresh.url, tmp_path, budget_s)):
            return
    raise AssertionError(told[-3000:])


def fuzzed(url: str, folder: Path, budget_s: int) -> str:
    """Let schemathesis do its worst for so many seconds, and return what it says."""
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--max-time", str(budget_s),
        "--seed", "1", "--continue-on-failure", "--request-timeout", "60", "--no-color", "--exclude-checks",
        # what a schema cannot say (a duration's form, ids that exist) is refused; a worker that has left is still shown
        "positive_data_acceptance,use_after_free",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=budget_s + 200, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    return done.stdout
