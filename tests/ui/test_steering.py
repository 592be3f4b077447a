"""What a person does: find, choose, stop, run again, change, submit; by mouse and by keyboard."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.http.live import Live, eventually
from tests.ui.viewer import Viewer

GREETING = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "times": {"type": "integer", "default": 1},
        "loud": {"anyOf": [{"type": "boolean"}, {"type": "null"}], "default": None},
        "to": {"type": "array", "items": {"$ref": "#/$defs/Place"}, "default": []},
    },
    "required": ["name"],
    "additionalProperties": False,
    "$defs": {"Place": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}},
}
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("ui")]


def state_of(live: Live, job: str) -> str:
    state: str = live.client.get(f"/v1/jobs/{job}").json()["state"]
    return state


def test_a_running_job_is_aborted_after_a_question(viewer: Viewer, live: Live) -> None:
    worker = live.worker("abort-me")
    job = live.submit(handler="abort-me")["id"]
    (lease,) = live.claim(worker)
    page = viewer.go(f"/jobs/{job}")
    viewer.press("Abort")
    expect(page.get_by_role("dialog")).to_contain_text("SIGTERM")
    viewer.agree("Keep as it is")
    assert state_of(live, job) == "running"
    page.keyboard.press("a")
    viewer.agree("Abort")
    viewer.told("durable")
    expect(page.locator(".state").first).to_have_text("aborting")
    live.report(worker, lease, "aborted", proof={"signals": [["TERM", 0.0]], "processes": 1, "took_s": 0.1})
    expect(page.locator(".state").first).to_have_text("aborted")
    expect(page.locator(".proof")).to_contain_text("all gone after")


def test_a_waiting_job_is_changed_and_canceled_and_run_again(viewer: Viewer, live: Live) -> None:
    job = live.submit(handler="change-me", delay="1h")["id"]
    page = viewer.go(f"/jobs/{job}")
    page.keyboard.press("e")
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Queue").fill("no way\x7f" * 200)
    dialog.get_by_role("button", name="Change", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("queue")
    dialog.get_by_label("Queue").fill("elsewhere")
    dialog.get_by_label("Priority").fill("7")
    viewer.agree("Change")
    changed = live.client.get(f"/v1/jobs/{job}").json()
    assert (changed["queue"], changed["priority"]) == ("elsewhere", 7)
    viewer.press("Cancel")
    viewer.agree("Cancel the job")
    expect(page.locator(".state").first).to_have_text("canceled")
    page.keyboard.press("r")
    viewer.agree("Run again")
    page.wait_for_url(lambda url: "/jobs/" in url and job not in url)
    expect(page.locator(".facts")).to_contain_text("Again, of")


def test_many_are_chosen_and_stopped_with_a_summary_first(viewer: Viewer, live: Live) -> None:
    jobs = [live.submit(handler="many", delay="1h", queue="bulk")["id"] for _ in range(5)]
    live.client.post(f"/v1/jobs/{jobs[0]}/abort").raise_for_status()
    page = viewer.go("/jobs?queue=bulk")
    page.get_by_label("Choose all on this page").check()
    expect(page.get_by_role("toolbar")).to_contain_text("5 chosen")
    viewer.press("Move")
    page.get_by_role("dialog").get_by_label("Priority").fill("9")
    page.get_by_role("dialog").get_by_role("button", name="Move: 4").click()
    viewer.told("4 jobs moved")
    assert live.client.get(f"/v1/jobs/{jobs[1]}").json()["priority"] == 9
    page.get_by_label("Choose all on this page").check()
    viewer.press("Abort or cancel")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("4 of the 5 chosen")
    expect(dialog.locator(".tally")).to_contain_text("scheduled")
    expect(dialog).to_contain_text("1 are left as they are")
    viewer.agree("Abort or cancel: 4")
    viewer.told("4 jobs stopped")
    assert {state_of(live, job) for job in jobs} == {"canceled"}
    expect(page.locator("main .state", has_text="canceled")).to_have_count(5)


def test_all_that_a_filter_finds_are_stopped_not_only_one_page(viewer: Viewer, live: Live) -> None:
    jobs = [{"handler": "h", "queue": "all-of-it", "delay": "1h"} for _ in range(130)]
    live.client.post("/v1/jobs/bulk", json=jobs).raise_for_status()
    page = viewer.go("/jobs?queue=all-of-it&state=scheduled")
    expect(page.locator(".chip.is-scheduled .num")).to_have_text("130")
    page.get_by_label("Choose all on this page").check()
    viewer.press("Choose all that are found")
    viewer.press("Abort or cancel")
    viewer.agree("Abort or cancel: 130")
    viewer.told("130 jobs stopped")
    expect(page.locator(".empty")).to_contain_text("No job is like this")
    assert live.client.get("/v1/jobs/count?queue=all-of-it&state=canceled").json()["count"] == 130


def test_filters_live_in_the_address_and_pages_have_cursors(viewer: Viewer, live: Live) -> None:
    owners = ["ana" if at % 2 else "ben" for at in range(120)]
    jobs = [{"handler": "paged", "delay": "1h", "owner": owner, "queue": "paged"} for owner in owners]
    live.client.post("/v1/jobs/bulk", json=jobs).raise_for_status()
    page = viewer.go("/jobs?queue=paged")
    rows = page.locator("main [data-row]")
    expect(rows).to_have_count(50)
    newest = rows.first.locator("a").first.get_attribute("href")
    assert newest
    viewer.press("Older")
    expect(rows.first.locator("a").first).not_to_have_attribute("href", newest)  # or it is the first page's button
    assert "cursor=" in page.url
    viewer.press("Older")
    expect(page.locator("main [data-row]")).to_have_count(20)
    page.go_back()
    expect(page.locator("main [data-row]")).to_have_count(50)
    page.get_by_label("Owner").fill("ana")
    page.get_by_label("Owner").press("Enter")
    page.wait_for_url(re.compile("owner=ana"))
    assert "cursor" not in page.url
    page.locator(".chip.is-succeeded").click()
    expect(page.locator(".empty")).to_contain_text("No job is like this")
    page.reload()
    expect(page.get_by_label("Owner")).to_have_value("ana")
    viewer.press("Show all jobs")
    page.wait_for_url(f"{live.url}/ui/jobs")


def test_a_bad_filter_is_said_where_it_is(viewer: Viewer, live: Live) -> None:
    page = viewer.go("/jobs?label=nonsense")
    expect(page.get_by_role("alert")).to_contain_text("name=value")
    page = viewer.go("/jobs?state=nonsense")
    expect(page.get_by_role("alert")).to_contain_text("no state")


def test_the_keyboard_goes_everywhere(viewer: Viewer, live: Live) -> None:
    jobs = [live.submit(handler="keys", delay="1h", queue="keys")["id"] for _ in range(3)]
    page = viewer.go("/")
    page.keyboard.press("g")
    page.keyboard.press("j")
    page.wait_for_url(f"{live.url}/ui/jobs")
    page.keyboard.press("/")
    page.keyboard.type("keys")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("handler=keys"))
    expect(page.locator("main [data-row]")).to_have_count(3)
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("j")
    expect(page.locator(f'[data-row="{jobs[1]}"] a').first).to_be_focused()
    page.keyboard.press("x")
    expect(page.get_by_role("toolbar")).to_contain_text("1 chosen")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(jobs[1]))
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("next and previous row")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.locator("[data-find]").fill(jobs[2])
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(jobs[2]))


def test_a_job_is_submitted_from_the_form(viewer: Viewer, live: Live) -> None:
    worker: dict[str, Any] = {
        "name": "typed",
        "handlers": [{"name": "greet", "schema": GREETING, "doc": "Say hello."}],
        "slots": 1,
    }
    live.client.post("/v1/workers", json=worker).raise_for_status()
    page = viewer.go("/submit?handler=greet")
    expect(page.locator("main")).to_contain_text("Say hello.")
    page.get_by_label("name", exact=True).fill("Ana")
    page.get_by_label("times", exact=True).fill("3")
    page.get_by_label("loud", exact=True).select_option("true")
    page.get_by_label("to", exact=True).fill('[{"city": 7}]')
    viewer.press("Dry run")
    expect(page.locator(".wrong")).to_contain_text("city")
    expect(page.locator(".wrong")).to_be_in_viewport()
    page.get_by_label("to", exact=True).fill('[{"city": "Graz"}]')
    page.get_by_label("Labels").fill("team=a, n=1")
    page.get_by_label("Slots").fill("2")
    page.get_by_label("Limit key").fill("of-{name}")
    page.get_by_label("Not before").fill("soon")
    expect(page.get_by_label("The request", exact=True)).to_contain_text('"times": 3')
    viewer.press("Submit")
    expect(page.locator(".wrong")).to_contain_text("soon")
    page.get_by_label("Not before").fill("1h")
    viewer.press("Dry run")
    verdict = page.get_by_role("status").filter(has_text="live worker")
    expect(verdict).to_contain_text("scheduled")
    expect(verdict).to_be_in_viewport()
    viewer.press("Submit")
    page.wait_for_url(re.compile("/ui/jobs/."))
    job = live.client.get(f"/v1/jobs/{page.url.rpartition('/')[2]}").json()
    assert (job["data"], job["labels"], job["state"]) == (
        {"name": "Ana", "times": 3, "loud": True, "to": [{"city": "Graz"}]},
        {"team": "a", "n": "1"},
        "scheduled",
    )
    assert (job["slots"], job["limit_key"]) == (2, "of-Ana")
    expect(page.locator(".facts").first).to_contain_text("of-Ana")
    page = viewer.go("/submit")
    page.get_by_role("tab", name="Command").click()
    page.get_by_label("Command", exact=True).fill("wc -l {}")
    page.get_by_label("Inputs").fill("a.txt\nb.txt\n")
    page.get_by_label("Queue").fill("nobody")
    viewer.press("Submit")
    page.wait_for_url(re.compile("/ui/jobs/."))
    expect(page.locator("main")).to_contain_text("0 of 2 over")


def test_a_schedule_is_made_paused_run_changed_and_removed(viewer: Viewer, live: Live) -> None:
    page = viewer.go("/schedules")
    viewer.press("New schedule")
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Rule").fill("61 * * * *")
    expect(dialog.locator(".hint")).to_contain_text("61")
    dialog.get_by_label("Rule").fill("30 2 * * *")
    dialog.get_by_label("Time zone").fill("Europe/Berlin")
    expect(dialog.locator(".slots li")).to_have_count(5)
    dialog.get_by_label("Name").fill("by hand")
    dialog.get_by_label("Handler").fill("h")
    dialog.get_by_label("Data").fill("{oops")
    dialog.get_by_role("button", name="Make").click()
    expect(dialog.get_by_role("alert")).to_contain_text("no JSON")
    dialog.get_by_label("Data").fill('{"a": 1}')
    viewer.agree("Make")
    expect(page.locator("h1")).to_have_text("by hand")
    expect(page.locator(".slots li")).to_have_count(10)
    viewer.press("Run now")
    viewer.told("Submitted")
    expect(page.locator("main")).to_contain_text("by hand")
    viewer.press("Pause")
    expect(page.locator(".job-head")).to_contain_text("paused")
    viewer.press("Resume")
    page.keyboard.press("e")
    page.get_by_role("dialog").get_by_label("Rule").fill("every 6h")
    viewer.agree("Change")
    expect(page.locator(".job-head")).to_contain_text("every 6h")
    viewer.press("Remove")
    viewer.agree("Remove")
    page.wait_for_url(f"{live.url}/ui/schedules")
    expect(viewer.row("by hand")).to_have_count(0)


def test_a_worker_is_drained(viewer: Viewer, live: Live) -> None:
    worker = live.worker("h", name="to-drain")
    page = viewer.go("/workers")
    page.get_by_role("button", name="Drain to-drain").click()
    viewer.agree("Drain")
    expect(viewer.row("to-drain")).to_contain_text("draining")
    assert eventually(lambda: live.client.get(f"/v1/workers/{worker}").json()["draining"])
    viewer.row("to-drain").get_by_role("button", name="to-drain", exact=True).click()
    expect(page.get_by_role("dialog")).to_contain_text(worker)
