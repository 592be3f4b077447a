"""Runs: their graphs, and what is done to all of their jobs."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.http.live import Live
from tests.ui.viewer import Viewer

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("ui")]


def submit(live: Live, name: str, jobs: int = 3) -> str:
    chain = [{"handler": "step", "ref": f"step-{n}", "after": [f"step-{n - 1}"] if n else []} for n in range(jobs)]
    answer = live.client.post("/v1/runs", json={"name": name, "jobs": chain})
    assert answer.status_code == 201, answer.text
    run: str = answer.json()["id"]
    return run


def test_a_run_is_a_graph_that_is_stopped_and_run_again(viewer: Viewer, live: Live) -> None:
    run = submit(live, "catalogue")
    page = viewer.go("/runs")
    viewer.row("catalogue").get_by_role("link").first.click()
    page.wait_for_url(re.compile(run))
    expect(page.locator(".graph .node")).to_have_count(3)
    expect(page.locator(".graph .edge")).to_have_count(2)
    worker = live.worker("step")
    (lease,) = live.claim(worker)
    expect(page.locator(".graph .node.is-running")).to_have_count(1)
    live.report(worker, lease)
    expect(page.locator(".graph .node.is-succeeded")).to_have_count(1)
    page.get_by_role("tab", name="Jobs (3)").click()
    expect(viewer.row("step-1")).to_contain_text("queued")
    page.get_by_role("tab", name="Graph").click()
    page.keyboard.press("a")
    viewer.agree("Abort")
    expect(page.locator(".state").first).to_have_text("aborted")
    viewer.press("Run again")
    viewer.agree("Run again")
    page.wait_for_url(lambda url: run not in url)
    expect(page.locator(".job-line")).to_contain_text("again, of an earlier one")
    page.locator(".graph .node").last.click()
    page.wait_for_url(re.compile("/ui/jobs/."))


def test_a_large_graph_is_shown_in_columns(viewer: Viewer, live: Live) -> None:
    jobs = [
        {"handler": "h", "ref": "first"},
        *({"handler": "h", "ref": f"n{n}", "after": ["first"]} for n in range(420)),
    ]
    run = live.client.post("/v1/runs", json={"name": "wide", "jobs": jobs}).json()["id"]
    page = viewer.go(f"/runs/{run}")
    expect(page.locator(".graph .node")).to_have_count(421)


def test_no_edge_of_a_graph_passes_behind_a_job(viewer: Viewer, live: Live) -> None:
    after = {
        "fetch": [], "read": ["fetch"], "check": ["read"], "price": ["check", "fetch"], "stock": ["check"],
        "pages": ["price", "stock", "read"], "mails": ["pages", "fetch"], "report": ["mails", "check", "fetch", "stock"],
    }  # fmt: skip
    jobs = [{"handler": "step", "ref": ref, "after": before} for ref, before in after.items()]
    run = live.client.post("/v1/runs", json={"name": "tangle", "jobs": jobs}).json()["id"]
    page = viewer.go(f"/runs/{run}")
    expect(page.locator(".graph .node")).to_have_count(len(after))
    expect(page.locator(".graph .edge")).to_have_count(sum(map(len, after.values())))
    behind = page.evaluate("""() => {
        const jobs = [...document.querySelectorAll(".graph .node rect")].map(rect => rect.getBBox())
        const within = (from, size, at) => at > from + 1 && at < from + size - 1
        const found = []
        for (const edge of document.querySelectorAll(".graph .edge")) {
            for (let at = 2; at < edge.getTotalLength() - 2; at += 3) {
                const { x, y } = edge.getPointAtLength(at)
                if (jobs.some(box => within(box.x, box.width, x) && within(box.y, box.height, y))) {
                    found.push([edge.getAttribute("d"), x, y])
                    break
                }
            }
        }
        return found }""")
    assert behind == []
