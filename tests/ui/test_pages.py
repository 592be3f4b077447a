"""Every page as a person sees it: at a desk and on a phone, by day and by night, empty and full, with what goes wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from tests.http.live import Live
from tests.ui.stock import NASTY
from tests.ui.viewer import OF_THE_LOOK, Viewer

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("ui")]


# What is made of other parts than those before: axe, which takes longest of all, looks at these.
UNLIKE = [
    "/", "/jobs", "/jobs/{bad}", "/jobs/{runs}", "/jobs/{bad}?tab=events", "/timeline", "/runs", "/runs/{run}",
    "/schedules/{schedule}", "/workers", "/owners", "/queues", "/submit", "/settings",
]  # fmt: skip
PAGES = [
    *UNLIKE, "/jobs?handler=no-such", "/jobs/{good}", "/jobs/{gone}", "/jobs/{blocked}", "/jobs/{script}",
    "/jobs/{bad}?tab=log", "/jobs/{bad}?tab=hook", "/jobs/no-such-job", "/schedules", "/submit?kind=script", "/nowhere",
]  # fmt: skip


@pytest.mark.parametrize(("width", "dark"), [(1440, False), (360, True)], ids=["desk", "phone at night"])
def test_every_page_is_whole_and_for_everybody(
    browser: Browser, live: Live, stocked: dict[str, str], axe: str, width: int, dark: bool
) -> None:
    with Viewer(browser, live.url, width=width, dark=dark) as viewer:
        viewer.go()
        for path in PAGES:
            page = viewer.turn(path.format(**stocked))
            expect(page.locator("main")).not_to_be_empty()
            assert viewer.overflows() <= 0, path
            if path in UNLIKE:
                assert viewer.findings(axe, *([OF_THE_LOOK] if dark else [])) == [], path
            assert page.title() != "owned"
            expect(page.locator("main img")).to_have_count(0)


def test_the_overview_counts_and_links(viewer: Viewer, live: Live, stocked: dict[str, str]) -> None:
    page = viewer.go("/")
    counts = live.client.get("/v1/stats").json()["jobs"]
    expect(page.locator(".tile.is-failed b")).to_have_text(str(counts["failed"]))
    expect(page.locator("#failures")).to_be_visible()
    expect(page.locator(".panel", has=page.locator("#failures"))).to_contain_text("ValueError")
    expect(page.locator(".panel", has=page.locator("#next"))).to_contain_text("night")
    page.locator(".tile.is-failed").click()
    expect(page.locator(".chip.is-failed")).to_have_attribute("aria-pressed", "true")
    expect(viewer.row("ValueError").first).to_be_visible()
    assert page.url == f"{live.url}/ui/jobs?state=failed"


def test_charts_and_failures_that_are_alike(viewer: Viewer, live: Live, stocked: dict[str, str]) -> None:
    page = viewer.go("/")
    expect(page.locator(".chart canvas")).to_have_count(3)
    page.get_by_role("button", name="24h").click()
    page.wait_for_url(re.compile("range=24h"))
    expect(page.locator(".chart canvas")).to_have_count(3)
    expect(page.locator(".chart").first).to_contain_text("succeeded")
    group = page.locator(".panel", has=page.locator("#failures")).locator("li", has_text="ValueError")
    expect(group.locator(".group-count")).to_have_text("1")
    group.locator("a").click()
    expect(page.locator(".error-text")).to_contain_text("ValueError")
    page = viewer.go("/jobs")
    page.get_by_label("Error has").fill("valueerror")
    page.get_by_label("Error has").press("Enter")
    expect(page.locator("main [data-row]")).to_have_count(1)


def test_the_timeline_shows_bars_that_lead_to_their_jobs(viewer: Viewer, live: Live, stocked: dict[str, str]) -> None:
    page = viewer.go("/timeline?span=5 min")
    paper = page.locator(".gantt canvas")
    expect(paper).to_have_attribute("aria-label", re.compile(r"attempts on \d+ worker"))
    viewer.press("Zoom in")
    paper.focus()
    for key in ("ArrowLeft", "-", "0"):
        page.keyboard.press(key)
    bars = page.evaluate(
        """async () => (await (await fetch('/v1/timeline')).json()).items.filter(bar => bar.end === null)"""
    )
    assert bars
    box = paper.bounding_box()
    assert box
    found = None
    for y in range(int(box["y"]) + 30, int(box["y"] + box["height"]), 10):
        page.mouse.move(box["x"] + box["width"] - 2, y)
        page.evaluate("() => new Promise(requestAnimationFrame)")
        if page.locator(".tip", has_text="running").count():  # others have just ended
            found = y
            break
    assert found is not None
    page.mouse.click(box["x"] + box["width"] - 2, found)
    page.wait_for_url(re.compile("/ui/jobs/."))
    page = viewer.go("/timeline?handler=no-such")
    expect(page.locator(".empty")).to_contain_text("Nothing ran")


def test_a_job_shows_all_that_there_is_to_know(viewer: Viewer, stocked: dict[str, str]) -> None:
    page = viewer.go(f"/jobs/{stocked['bad']}")
    expect(page.locator(".error-text")).to_contain_text("ValueError")
    expect(page.locator(".error-text .code-text")).to_contain_text("Traceback")
    expect(page.locator(".log")).to_contain_text(f"began {NASTY}")
    expect(page.locator(".log .stderr")).to_have_text("it breaks")
    expect(page.locator(".spans")).to_contain_text("attempt 1")
    expect(page.locator(".in-words")).to_contain_text("ran")
    expect(page.locator(".facts").first).to_contain_text("1 of 1 failures used")
    page.get_by_role("tab", name="Events").click()
    for kind in ("submitted", "started", "failed"):
        expect(viewer.row(kind).first).to_be_visible()
    page.get_by_role("tab", name="Hook").click()
    viewer.press("Call again")
    viewer.told("called again")
    page = viewer.go(f"/jobs/{stocked['gone']}")
    expect(page.locator(".proof")).to_contain_text("TERM")
    expect(page.locator(".proof")).to_contain_text("3 processes ended")
    page = viewer.go(f"/jobs/{stocked['queued']}")
    expect(page.locator(".reasons")).to_contain_text("no-worker")
    page = viewer.go(f"/jobs/{stocked['good']}")
    expect(page.locator("main .json").first).to_contain_text("rows")
    page = viewer.go(f"/jobs/{stocked['blocked']}")
    page.locator(".facts a").first.click()
    expect(page.locator("h1")).to_have_text("h")
    assert stocked["later"] in page.url


def test_an_array_shows_its_inputs_failed_ones_first(viewer: Viewer, live: Live) -> None:
    worker = live.worker(scripts=True, arrays=True, queues=["arrays"])
    job = live.submit(handler=None, command="work {}", inputs=["a", "b", NASTY], queue="arrays")["id"]
    while leases := live.claim(worker):
        (lease,) = leases
        ends: list[dict[str, Any]] = [
            {"job": job, "attempt": lease["attempt"], "index": index, "outcome": "succeeded" if index < 2 else "errored",
             "stdout": f"out {index}", "exit_code": 0 if index < 2 else 2}
            for index in range(lease["first"], lease["first"] + len(lease["inputs"]))
        ]  # fmt: skip
        live.client.post(f"/v1/workers/{worker}/logs", json={"results": ends}).raise_for_status()
        live.report(worker, lease)
    page = viewer.go(f"/jobs/{job}?tab=inputs")
    page.get_by_role("button", name="All that are over").click()
    expect(viewer.row("out 0")).to_have_count(1)
    viewer.row("out 0").get_by_role("button").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".command")).to_have_text("out 0")
    expect(dialog.locator(".tries")).to_contain_text("inputs 0")
    dialog.get_by_role("button", name="The next input").click()
    expect(dialog.locator(".command")).to_have_text("out 1")
    page.keyboard.press("Escape")
    paper = page.locator(".map canvas")
    expect(paper).to_have_attribute("aria-label", re.compile("3 inputs, a cell each: 2 succeeded, 1 failed"))
    paper.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    expect(page.locator(".map-tip")).to_contain_text("Input 2 failed")
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text(NASTY)
    page.keyboard.press("Escape")
    viewer.press("Run the failed again")
    viewer.agree("Run again")
    page.wait_for_url(lambda url: job not in url)
    expect(page.locator(".map canvas")).to_have_attribute("aria-label", re.compile("2 succeeded, 1 queued"))


def test_an_empty_server_says_how_to_begin(browser: Browser, desk: BrowserContext, fresh: Live) -> None:
    with Viewer(browser, fresh.url, context=desk) as viewer:
        page = viewer.go("/")
        expect(page.locator("main")).to_contain_text("No job yet")
        expect(page.locator("main")).to_contain_text("No worker is there")
        for path, text in (("/jobs", "rota submit"), ("/schedules", "rota schedule add"), ("/workers", "rota worker")):
            expect(viewer.go(path).locator(".empty")).to_contain_text(text)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Live]:
    server = Live(tmp_path)
    yield server
    server.stop()
