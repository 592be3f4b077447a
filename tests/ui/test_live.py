"""Changes come to the page by themselves: at once, in bursts, after a lost connection, and after a sleep."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from tests.http.live import Live
from tests.ui.viewer import Viewer

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("ui")]

# Somebody looks at the tab again, or at another one.
SEEN = """seen => {
    Object.defineProperty(document, "hidden", { value: !seen, configurable: true })
    document.dispatchEvent(new Event("visibilitychange")) }"""


def test_a_change_is_shown_as_it_happens(viewer: Viewer, live: Live) -> None:
    page = viewer.go("/jobs?queue=live")
    expect(page.locator(".connection.is-live").first).to_be_attached()
    worker = live.worker("live")
    job = live.submit(handler="live", queue="live")["id"]
    row = page.locator(f'[data-row="{job}"]')
    expect(row).to_contain_text("queued")
    (lease,) = live.claim(worker)
    expect(row).to_contain_text("running")
    live.report(worker, lease)
    expect(row).to_contain_text("succeeded")


def test_many_changes_at_once_are_looked_at_once(viewer: Viewer, live: Live) -> None:
    page = viewer.go("/jobs?queue=burst")
    expect(page.locator(".connection.is-live").first).to_be_attached()
    asked = len([url for url in viewer.asked if "/v1/jobs?" in url])
    jobs = [{"handler": "h", "queue": "burst", "delay": "1h"} for _ in range(1000)]
    for _ in range(2):
        live.client.post("/v1/jobs/bulk", json=jobs).raise_for_status()
    expect(page.locator("main [data-row]")).to_have_count(50)
    slow = page.evaluate("""() => new Promise(done => {
        let worst = 0, last = performance.now(), n = 0
        const look = () => {
            const now = performance.now(); worst = Math.max(worst, now - last); last = now
            ++n < 30 ? requestAnimationFrame(look) : done(worst) }
        requestAnimationFrame(look) })""")
    assert slow < 5000  # a machine that is busy; alone it is some 20 ms
    assert len([url for url in viewer.asked if "/v1/jobs?" in url]) - asked < 40


def test_a_lost_server_is_said_and_mended(browser: Browser, desk: BrowserContext, tmp_path: Path) -> None:
    server = Live(tmp_path)
    port = server.port
    with Viewer(browser, server.url, context=desk) as viewer:
        page = viewer.go("/jobs?queue=lost")
        expect(page.locator(".connection.is-live").first).to_be_attached()
        server.stop()
        expect(page.locator(".lost")).to_contain_text("connection to the server is lost")
        expect(page.locator(".connection.is-lost").first).to_be_attached()
        server = Live(tmp_path, port=port)
        job = server.submit(queue="lost", delay="1h")["id"]
        expect(page.locator(".lost")).to_be_empty()
        expect(page.locator(f'[data-row="{job}"]')).to_have_count(1)
        expect(page.get_by_role("alert")).to_have_count(0)
        server.stop()


def test_output_and_progress_come_while_a_job_runs(viewer: Viewer, live: Live) -> None:
    worker = live.worker("talks")
    job = live.submit(handler="talks")["id"]
    live.claim(worker)
    page = viewer.go(f"/jobs/{job}")
    for n, text in enumerate(("first line", "second line")):
        body = {
            "logs": [{"job": job, "attempt": 1, "n": n, "stream": "stdout", "text": f"{text}\n"}],
            "progress": [{"job": job, "attempt": 1, "progress": {"fraction": (n + 1) / 4, "message": f"part {n}"}}],
        }
        live.client.post(f"/v1/workers/{worker}/logs", json=body).raise_for_status()
        expect(page.locator(".log")).to_contain_text(text)
        expect(page.locator(".big-progress")).to_contain_text(f"part {n}")


def test_a_tab_that_nobody_looks_at_lets_go_and_catches_up(browser: Browser, desk: BrowserContext, live: Live) -> None:
    with Viewer(browser, live.url, context=desk) as viewer:
        viewer.page.clock.install()
        page = viewer.go("/jobs?queue=asleep")
        expect(page.locator(".connection.is-live").first).to_be_attached()
        page.evaluate(SEEN, False)
        page.clock.fast_forward(31_000)
        expect(page.locator(".connection.is-paused").first).to_be_attached()
        job = live.submit(queue="asleep", delay="1h")["id"]
        page.evaluate(SEEN, True)
        expect(page.locator(".connection.is-live").first).to_be_attached()
        expect(page.locator(f'[data-row="{job}"]')).to_have_count(1)
