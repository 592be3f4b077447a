"""The example calls of the timed jobs' own document, as they are printed there but for host and port, by curl itself."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.conftest import Server

ROOT = "curl --location --request GET 'localhost:8888/jobs'"  # printed beside `GET /`
JOBS = (
    "curl --location --request GET 'localhost:8888/job/38c24e78de0646b2a7348cfa6fc2035c'"  # printed beside `GET /jobs`
)
SUBMIT = """curl --location --request POST 'localhost:8888/job' --form 'job_name="JOB_A"' --form 'date="30s"'"""
DELETE = "curl --location --request DELETE 'localhost:8888/job/15a3e3387c2f44eb89cc62099046353a'"
DATE = r"\d\d-\d\d-\d{4} \d\d:\d\d:\d\d"

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


def run(printed: str, server: Server) -> tuple[int, str, Any]:
    """Run a printed line; return the status, the type and the JSON of its answer."""
    line = printed.replace("localhost:8888", server.url.removeprefix("http://"))
    command = [*shlex.split(line), "--silent", "--show-error", "--write-out", "\n%{http_code} %{content_type}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    body, _, last = done.stdout.rpartition("\n")
    status, _, kind = last.partition(" ")
    return int(status), kind, json.loads(body)


def test_every_printed_line_gets_the_documented_answer(serve: Callable[..., Server]) -> None:
    server = serve("--workers", "1")
    assert run(ROOT, server) == (200, "application/json", {"running": {}, "scheduled": {}, "history": {}})
    # the document shows a list here; the line asks for one job, which does not exist
    missing = {"message": "job with id 38c24e78de0646b2a7348cfa6fc2035c not found"}
    assert run(JOBS, server) == (404, "application/json", missing)

    status, kind, said = run(SUBMIT, server)
    assert (status, kind) == (200, "application/json")
    found = re.fullmatch(r"job JOB_A with id (\S+) will be scheduled to run in 30s", said["message"])
    assert found, said
    job = found[1]

    for printed in (ROOT, ROOT.replace("/jobs", "/")):  # `GET /` leads to /jobs
        status, kind, listed = run(printed, server)
        assert (status, kind) == (200, "application/json")
        assert list(listed) == ["running", "scheduled", "history"]
        assert list(listed["scheduled"]) == [job]
        shown = listed["scheduled"][job]
        assert list(shown) == ["id", "job_name", "scheduled_in", "scheduled_to", "status"]
        assert (shown["id"], shown["job_name"], shown["status"]) == (job, "JOB_A", "scheduled")
        assert re.fullmatch(DATE, shown["scheduled_in"])
        assert re.fullmatch(DATE, shown["scheduled_to"])
    assert run(JOBS.replace("38c24e78de0646b2a7348cfa6fc2035c", job), server) == (200, "application/json", shown)

    missing = {"message": "job with id 15a3e3387c2f44eb89cc62099046353a not found"}
    assert run(DELETE, server) == (404, "application/json", missing)
    removed = run(DELETE.replace("15a3e3387c2f44eb89cc62099046353a", job), server)
    assert removed == (200, "application/json", {"message": f"job {job} was de-scheduled"})
