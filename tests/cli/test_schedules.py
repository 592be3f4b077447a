"""`rota schedules` and `rota schedule …` against a live server."""

from __future__ import annotations

import json

from tests.cli.conftest import Run


def test_a_schedule_from_its_making_to_its_end(run: Run) -> None:
    done = run(
        "schedule", "add", "30 2 * * *", "echo", "--name", "nightly", "--tz", "Europe/Berlin", "--data", '{"a": 1}',
        "--missed", "all:3", "--overlap", "skip", "--jitter", "30s", "--start", "2030-03-30", "--owner", "ana",
        "--priority", "2", "--label", "k=v",
    )  # fmt: skip
    assert (done.exit_code, done.stderr) == (0, "")
    id_ = done.stdout.strip()
    shown = run("schedule", "show", "nightly")
    assert id_ in shown.stdout
    assert "Sat 2030-03-30 02:30:00 +0100\n" in shown.stdout
    assert "Sun 2030-03-31 03:00:00 +0200  the clock passes over this time of day" in shown.stdout
    whole = json.loads(run("schedule", "show", id_, "--json").stdout)
    assert (whole["missed"], whole["missed_limit"], whole["overlap"], whole["jitter"]) == ("all", 3, "skip", 30.0)
    assert whole["job"] == {
        "handler": "echo", "data": {"a": 1}, "labels": {"k": "v"}, "owner": "ana", "priority": 2,
    }  # fmt: skip
    assert "nightly" in run("schedules").stdout
    assert [s["name"] for s in json.loads(run("schedules", "--owner", "ana", "--json").stdout)["items"]] == ["nightly"]
    assert run("schedule", "edit", "nightly", "--rule", "0 3 * * *", "--start", "never").stdout.strip() == id_
    assert json.loads(run("schedule", "show", id_, "--json").stdout)["starts_at"] is None
    assert run("schedule", "pause", "nightly").stderr == "schedule nightly is paused\n"
    assert "paused" in run("schedules").stdout
    assert run("schedule", "resume", "nightly").exit_code == 0
    job = run("schedule", "run", "nightly").stdout.strip()
    assert json.loads(run("job", job, "--json").stdout)["labels"] == {"k": "v", "schedule": "nightly"}
    assert f"by hand  {job}" in run("schedule", "show", "nightly").stdout
    assert run("schedule", "rm", "nightly").exit_code == 0
    gone = run("schedule", "show", "nightly")
    assert (gone.exit_code, gone.stderr) == (1, "Error: there is no schedule 'nightly'\n")


def test_a_script_again_and_again(run: Run) -> None:
    done = run("schedule", "add", "every 90m", "--script", "-", "--name", "backup", input="true\n")
    assert done.exit_code == 0
    assert json.loads(run("schedule", "show", "backup", "--json").stdout)["job"]["script"] == "true\n"
    assert "script: true" in run("schedules").stdout
    assert run("schedule", "rm", "backup").exit_code == 0


def test_a_preview_of_a_rule(run: Run) -> None:
    done = run("schedule", "preview", "30 2 * * *", "--tz", "Europe/Berlin", "--start", "2030-10-26", "-n", "2")
    assert done.stdout == "Sat 2030-10-26 02:30:00 +0200\nSun 2030-10-27 02:30:00 +0200  the first of two\n"
    assert len(json.loads(run("schedule", "preview", "@daily", "--json").stdout)["items"]) == 10


def test_what_is_wrong_is_said_and_is_exit_code_2(run: Run) -> None:
    for words, text in (
        (("add", "0 0 30 2 *", "echo"), "there is no 30 February"),
        (("add", "* * * * *", "echo", "--tz", "Nowhere"), "timezone: 'Nowhere' is no time zone"),
        (("add", "* * * * *"), "job.handler"),
        (("add", "* * * * *", "echo", "--missed", "all:x"), "--missed"),
        (("add", "* * * * *", "echo", "--data", "{"), "--data: is not JSON"),
        (("edit", "x"), "say what to change"),
        (("preview", "every now and then"), "rule: every"),
    ):
        done = run("schedule", *words)
        assert (done.exit_code, text in done.stderr) == (2, True), (words, done.stderr)
