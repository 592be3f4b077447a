"""The lines of docs/http-api.md work, one after the other."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from rota.http.app import NATIVE
from rota.http.problems import PROBLEMS
from tests.http.live import Live

DOCUMENT = Path(__file__).parents[2] / "docs" / "http-api.md"


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_every_line_of_the_document_works(live: Live) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    script = "set -euo pipefail\n" + re.sub(r"\bcurl -s(N?)", r"curl -sS\1 --fail-with-body", "".join(blocks))
    environment = {**os.environ, "ROTA_SERVER": live.url}
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert '"leases":[{"job"' in done.stdout
    assert "event: submitted" in done.stdout


def test_the_document_lists_every_problem_and_worker_route() -> None:
    text = DOCUMENT.read_text("utf-8")
    for code, (status, _) in PROBLEMS.items():
        assert status == 500 or code.startswith("store-") or f"`{code}`" in text
    for operation in NATIVE:
        if operation.tag == "workers" and operation.method != "GET":
            assert f"`{operation.method} {operation.path}`" in text
