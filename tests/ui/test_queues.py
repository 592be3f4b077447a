"""Queues: paused, resumed, limited."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from tests.http.live import Live
from tests.ui.viewer import OF_THE_LOOK, Viewer

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("ui")]


def test_a_queue_is_paused_resumed_and_limited(viewer: Viewer, live: Live, browser: Browser, axe: str) -> None:
    live.submit(queue="slow")
    page = viewer.go("/queues")
    page.get_by_role("button", name="Pause slow").click()
    viewer.agree("Pause")
    expect(viewer.row("slow")).to_contain_text("paused")
    assert live.client.get("/v1/queues/slow").json()["paused"]
    assert viewer.findings(axe) == []
    page.get_by_role("button", name="Resume slow").click()
    expect(viewer.row("slow")).to_contain_text("open")
    page.get_by_role("button", name="Limits of slow").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Starts").fill("often")
    dialog.get_by_role("button", name="Set").click()
    expect(dialog.get_by_role("alert")).to_contain_text("rate")
    dialog.get_by_label("Starts").fill("100/1m")
    dialog.get_by_label("Running at once").fill("4")
    viewer.agree("Set")
    expect(viewer.row("slow")).to_contain_text("of 4")
    expect(viewer.row("slow")).to_contain_text("100 in 1m")
    with Viewer(browser, live.url, width=360, dark=True) as phone:
        phone.go("/queues")
        assert phone.overflows() <= 0
        assert phone.findings(axe, OF_THE_LOOK) == []
