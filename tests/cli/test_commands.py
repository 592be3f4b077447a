"""Every command against a live server: what it prints where, and its exit code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from rota.cli.main import COMMANDS
from rota.cli.serve import _given, serve
from rota.client import Client, calls
from tests.cli.conftest import Run
from tests.client.fakes import FakeServer, reply
from tests.client.live import Hands, LiveServer
from tests.processes import PATIENCE_S


def test_submit_prints_the_id_alone(run: Run, client: Client) -> None:
    done = run("submit", "echo", "--data", '{"a": 1}', "--label", "k=v", "--owner", "ana", "--priority", "2")
    assert (done.exit_code, done.stderr) == (0, "")
    job = client.get(done.stdout.strip())
    assert (job.data, job.labels, job.owner, job.priority) == ({"a": 1}, {"k": "v"}, "ana", 2)


def test_submit_and_wait(run: Run, client: Client) -> None:
    done = run("submit", "echo", "--data", "-", "--wait", input='{"a": [1, "ä"]}')
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"a": [1, "ä"]})
    whole = run("submit", "echo", "--data", "3", "--wait", "--json")
    job = json.loads(whole.stdout)
    assert (job["state"], job["result"]) == ("succeeded", 3)
    assert whole.stdout.encode().rstrip() == bytes(client.call(calls.get(job["id"], msgspec.Raw)))


def calls_get(id_: str):
    from rota.client import calls

    return calls.get(id_, msgspec.Raw)


def test_a_job_that_fails_is_exit_code_1(run: Run) -> None:
    done = run("submit", "fail", "--wait")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "failed (error): ValueError: no good; more: rota job " in done.stderr


def test_times_and_dependencies(run: Run, client: Client) -> None:
    first = run("submit", "echo", "--in", "1h").stdout.strip()
    second = run("submit", "echo", "--after", first, "--at", "2100-01-01T00:00:00Z").stdout.strip()
    assert client.get(first).state == "scheduled"
    assert client.get(second).after == [first]
    assert run("submit", "echo", "--key", "cli").stdout == run("submit", "echo", "--key", "cli").stdout


def test_scripts(run: Run, tmp_path: Path) -> None:
    done = run("script", "-", "--var", "name=a b", "--wait", "--json", input="echo {{name}}")
    assert (done.exit_code, json.loads(done.stdout)["result"]) == (0, "echo 'a b'")
    (tmp_path / "x.sh").write_text("true")
    assert (done := run("script", "x.sh", "--wait")).exit_code == 0
    assert done.stdout == "", "what it wrote, and it wrote nothing"
    assert run("script", "missing.sh").exit_code == 2
    (tmp_path / "bad.sh").write_bytes(b"\xff")
    assert run("script", "bad.sh").exit_code == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["submit"], "Missing argument 'HANDLER'"),
        (["submit", "echo", "--data", "{a"], "--data: is not JSON"),
        (["submit", "echo", "--in", "soon"], "delay: 'soon' is no duration"),
        (["submit", "echo", "--at", "soon"], "run_at: 'soon' is no time"),
        (["submit", "echo", "--priority", "high"], "--priority"),
        (["submit", "echo", "--label", "x"], "--label: 'x' is not NAME=VALUE"),
        (["submit", "echo", "--key", "a b"], "key: is 1 to 255"),
        (["submit", "echo", "--after", "nope"], "after"),
        (["script", "-", "--var", "x"], "--var"),
        (["jobs", "--state", "odd"], "--state"),
        (["jobs", "--limit", "0"], "--limit"),
        (["jobs", "--after", "yesterday"], "after_time"),
        (["jobs", "--server", "nonsense"], "server: 'nonsense' is no address"),
        (["nothing"], "No such command 'nothing'"),
        (["completion", "csh"], "csh"),
    ],
)
def test_wrong_usage_is_exit_code_2(run: Run, words: list[str], told: str) -> None:
    done = run(*words, input="true")
    assert (done.exit_code, done.stdout) == (2, "")
    assert told in done.stderr


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "sqlite:///nobody.db"])
def test_no_server_is_exit_code_3(run: Run, url: str) -> None:
    done = run("jobs", "--server", url)
    assert done.exit_code == 3
    assert len(done.stderr.splitlines()) == 1
    assert "rota serve" in done.stderr


def test_the_server_comes_from_flag_variable_file_in_this_order(
    run: Run, server: LiveServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ROTA_SERVER", "http://127.0.0.1:1")
    assert run("status").exit_code == 3
    assert run("status", "--server", server.store).exit_code == 0
    monkeypatch.delenv("ROTA_SERVER")
    (tmp_path / "rota.toml").write_text(f'[client]\nserver = "{server.url}"\n')
    assert run("status").exit_code == 0
    (tmp_path / "rota.toml").unlink()
    monkeypatch.setenv("ROTA_PORT", str(server.port))
    assert run("status").exit_code == 0
    monkeypatch.setenv("ROTA_PORT", "many")
    done = run("status")
    assert (done.exit_code, done.stderr) == (2, "Error: ROTA_PORT: 'many' is no number from 0 to 65535\n")


def test_listing(run: Run, client: Client) -> None:
    jobs = [client.submit("nobody", owner="lister", labels={"n": str(n)}) for n in range(3)]
    done = run("jobs", "--owner", "lister")
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["ID", "STATE", "WHAT", "OWNER", "QUEUE", "SUBMITTED", "NOTE"]
    assert [row.split()[0] for row in rows] == [job.id for job in reversed(jobs)]
    page = json.loads(run("jobs", "--owner", "lister", "--limit", "2", "--json").stdout)
    assert [item["id"] for item in page["items"]] == [jobs[2].id, jobs[1].id]
    rest = run("jobs", "--owner", "lister", "--cursor", page["next"]).stdout.splitlines()
    assert [row.split()[0] for row in rest[1:]] == [jobs[0].id]
    labelled = run("jobs", "--label", "n=1", "--state", "queued", "--handler", "nobody", "--queue", "default")
    assert jobs[1].id in labelled.stdout
    assert f"--cursor {page['next']}" in run("jobs", "--owner", "lister", "--limit", "2").stderr
    empty = run("jobs", "--owner", "nobody-at-all")
    assert (empty.exit_code, empty.stdout, empty.stderr) == (0, "", "no such jobs\n")


def test_what_jobs_write_cannot_drive_the_terminal(run: Run, client: Client) -> None:
    job = client.submit_script("true\x1b]0;evil\x07", delay=3600)
    for words in (["jobs", "--state", "scheduled"], ["job", job.id]):
        assert "\x1b" not in re.sub(r"\x1b\[\d+m", "", run(*words, color=True).stdout)  # colours are ours


def test_a_job_and_its_history(run: Run, client: Client) -> None:
    job = client.submit("fail", {"x": 1}, labels={"a": "b"}).wait(PATIENCE_S)
    card = run("job", job.id).stdout
    for text in (job.id, "failed (error)", '{"x":1}', "a=b", "ValueError: no good", "  here", "errored"):
        assert text in card
    assert json.loads(run("job", job.id, "--json").stdout)["error"]["type"] == "ValueError"
    lines = run("events", job.id).stdout.splitlines()
    assert [line.split()[2] for line in lines] == ["submitted", "started", "failed"]
    assert [json.loads(line)["kind"] for line in run("events", job.id, "--json").stdout.splitlines()][-1] == "failed"
    assert "failed" in run("explain", job.id).stdout
    assert json.loads(run("explain", job.id, "--json").stdout)["state"] == "failed"
    for words in (["job", "nope"], ["events", "nope"], ["explain", "nope"], ["logs", "nope"], ["logs", "nope", "-f"]):
        done = run(*words)
        assert (done.exit_code, done.stdout) == (1, ""), words
        assert "there is no job 'nope'" in done.stderr


def test_explain_shows_the_way_out_and_where_the_time_went(run: Run, client: Client) -> None:
    job = client.submit("nobodi", priority=1)
    lines = run("explain", job.id).stdout.splitlines()
    assert lines[0] == f"{job.id}  queued"
    assert lines[1].startswith("- no live worker offers handler 'nobodi'")
    assert lines[2] == "    start a worker that has it: rota worker --app MODULE:NAME"
    assert lines[4].startswith("where its time went: ")
    assert lines[5].split()[:2] == ["a", "slot"]
    assert lines[5].endswith("█" * 30)
    assert "time" in json.loads(run("explain", job.id, "--json").stdout)


def test_dry_runs(run: Run, client: Client) -> None:
    for words in (["submit", "dry", "--data", "7"], ["script", "-"], ["image", "busybox"]):
        done = run(*words, "--dry-run", "--owner", "dryer", input="true")
        first, reason, *_ = done.stdout.splitlines()
        assert (done.exit_code, first) == (0, "would be queued (queue default, owner dryer, priority 0)")
        assert reason.startswith("- "), words
        assert done.stderr == "dry run: nothing was submitted\n"
    told = json.loads(run("submit", "dry", "--in", "1h", "--dry-run", "--json").stdout)
    assert told["jobs"][0]["state"] == "scheduled"
    assert list(client.jobs(owner="dryer")) == []
    refused = run("submit", "dry", "--after", "nobody", "--dry-run")
    assert refused.exit_code == 2
    assert "there is no job 'nobody'" in refused.stderr


def test_logs(run: Run, client: Client) -> None:
    job = client.submit("talk")
    followed = run("logs", job.id, "-f")
    assert (followed.exit_code, followed.stdout) == (0, "line 0\nline 1\nline 2\n")
    assert run("logs", job.id).stdout == followed.stdout
    assert [json.loads(line)["n"] for line in run("logs", job.id, "--json").stdout.splitlines()] == [0, 1, 2]
    assert run("logs", job.id, "--attempt", "2").stdout == ""


def test_abort(run: Run, client: Client, hands: Hands) -> None:
    running, waiting, over = client.submit("hang"), client.submit("nobody"), client.submit("echo").wait(PATIENCE_S)
    assert hands.started.wait(PATIENCE_S)
    done = run("abort", running.id, waiting.id)
    assert (done.exit_code, done.stdout) == (0, f"{running.id}  aborted\n{waiting.id}  canceled\n")
    again = run("abort", "-", "nope", input=f"{running.id}\n{over.id}\n")
    assert (again.exit_code, again.stdout) == (1, f"{running.id}  aborted\n")
    assert again.stderr.splitlines() == [
        f"Error: job {over.id} is over: it is succeeded",
        "Error: there is no job 'nope'",
    ]
    assert json.loads(run("abort", client.submit("nobody").id, "--json").stdout)["state"] == "canceled"
    assert run("abort", "-", input="").exit_code == 0


def test_retry(run: Run, client: Client) -> None:
    job = client.submit("fail").wait(PATIENCE_S)
    done = run("retry", job.id)
    assert client.get(done.stdout.strip()).retry_of == job.id
    assert json.loads(run("retry", "-", "--json", input=job.id).stdout)["retry_of"] == job.id
    refused = run("retry", client.submit("nobody").id)
    assert (refused.exit_code, refused.stdout) == (1, "")


def test_workers_and_status(run: Run, hands: Hands, client: Client) -> None:
    table = run("workers").stdout
    assert hands.worker in table
    assert "echo fail talk hang scripts" in table
    assert json.loads(run("workers", "--json").stdout)["items"][0]["id"] == hands.worker
    client.submit("nobody")
    status = run("status").stdout.splitlines()
    assert status[0].startswith("workers 1, slots 4, running ")
    assert status[1].split()[0] == "QUEUE"
    assert json.loads(run("status", "--json").stdout)["jobs"]["queued"] >= 1
    refused = run("worker", "drain", "nobody")
    assert (refused.exit_code, refused.stdout) == (1, "")


def test_a_busy_server_is_told_so(run: Run) -> None:
    fake = FakeServer([reply(503, b'{"type":"urn:rota:problem:unavailable","detail":"the disk is full"}')])
    done = run("submit", "echo", "--server", fake.url)
    assert (done.exit_code, done.stderr) == (3, "Error: the disk is full\n")
    fake.close()


def test_help_teaches(run: Run) -> None:
    assert run("--version").stdout.startswith("rota ")
    everything = run("--help").stdout
    for name in COMMANDS:
        assert f"  {name} " in everything
        told = run(*name.split(), "--help")
        assert told.exit_code == 0
        if name != "completion":
            assert "Example" in told.stdout, name
    for shell in ("bash", "zsh", "fish"):
        assert "_ROTA_COMPLETE" in run("completion", shell).stdout


def test_help_and_clients_import_no_server() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from rota.cli.main import main\n"
        "CliRunner().invoke(main, ['--help']); early = set(sys.modules)\n"
        "CliRunner().invoke(main, ['jobs', '--server', 'http://127.0.0.1:1'])\n"
        "print([m for m in ('msgspec', 'http.client', 'rich', 'asyncio') if m in early],"
        " [m for m in ('starlette', 'uvicorn', 'rota.service', 'sqlite3', 'asyncio') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[] []"


def test_runs_are_submitted_shown_aborted_and_run_again(run: Run, client: Client, tmp_path: Path) -> None:
    jobs = [{"ref": "a", "handler": "echo"}, {"ref": "b", "handler": "echo", "after": [{"job": "a", "on": "failed"}]}]
    (tmp_path / "flow.json").write_text(json.dumps({"name": "n", "jobs": jobs}))
    done = run("run", "submit", str(tmp_path / "flow.json"), "--wait")
    assert (done.exit_code, done.stdout) == (0, "succeeded: 1 succeeded, 1 canceled\n")
    id_ = done.stderr.strip()
    shown = run("run", id_)
    assert re.search(r"a  succeeded .*\n  b  canceled  after a:failed", shown.stdout), shown.stdout
    assert json.loads(run("run", id_, "--json").stdout)["name"] == "n"
    assert id_ in run("runs", "--name", "n").stdout
    assert [each["id"] for each in json.loads(run("runs", "--json").stdout)["items"]] == [id_]
    assert run("jobs", "--run", id_).stdout.count("echo") == 2
    again = run("retry", id_)
    assert (again.exit_code, client.runs.get(again.stdout.strip()).retry_of) == (0, id_)
    waits = run("run", "submit", "-", input=json.dumps([{"ref": "a", "handler": "echo", "delay": "1h"}]))
    assert run("abort", waits.stdout.strip()).stdout == f"{waits.stdout.strip()}  canceled\n"
    assert run("abort", id_).exit_code == 1
    assert run("run", "submit", "-", input="{").exit_code == 2
    late = run("submit", "echo", "--after", f"{waits.stdout.strip()[4:]}:any")
    assert late.exit_code == 2, "a run is no job"
    first = run("submit", "echo", "--in", "1h").stdout.strip()
    assert client.get(run("submit", "echo", "--after", f"{first}:failed").stdout.strip()).after_on == {first: "failed"}


def test_several_processes_need_postgresql(run: Run) -> None:
    done = run("serve", "--processes", "2", "--store", "sqlite:///r.db")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "processes: is 2, but an embedded store is one process's: its file has one owner" in done.stderr
    assert run("serve", "--processes", "0").exit_code == 2


def test_a_process_of_a_server_is_given_the_flags_that_the_server_was_given() -> None:
    words = ["--app", "a:b", "--app", "c:d", "--no-deploy", "--processes", "3", "--drain", "2.5", "--require-token"]
    with serve.make_context("serve", [*words, "--host=127.0.0.1", "--apis", "a"]):
        given = _given()
    with serve.make_context("serve", given) as again:
        assert {name: value for name, value in again.params.items() if value not in (None, (), False)} == {
            "apps": ("a:b", "c:d"), "processes": 3, "drain_s": 2.5, "require_token": True, "host": "127.0.0.1", "apis": "a",
        }  # fmt: skip
        assert again.params["deploy"] is False
