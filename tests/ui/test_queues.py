"""Queues: paused, resumed, limited, weighed."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.http.live import Live
from tests.ui.viewer import Viewer

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("ui")]


def test_a_queue_is_paused_resumed_limited_and_weighed(viewer: Viewer, live: Live) -> None:
    live.submit(queue="slow")
    page = viewer.go("/queues")
    page.get_by_role("button", name="Pause slow").click()
    viewer.agree("Pause")
    expect(viewer.row("slow")).to_contain_text("paused")
    assert live.client.get("/v1/queues/slow").json()["paused"]
    page.get_by_role("button", name="Resume slow").click()
    expect(viewer.row("slow")).to_contain_text("open")
    page.get_by_role("button", name="Limits of slow").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Starts").fill("often")
    dialog.get_by_role("button", name="Set").click()
    expect(dialog.get_by_role("alert")).to_contain_text("rate")
    dialog.get_by_label("Starts").fill("100/1m")
    dialog.get_by_label("Running at once").fill("4")
    dialog.get_by_label("Weight").fill("2.5")
    viewer.agree("Set")
    expect(viewer.row("slow")).to_contain_text("of 4")
    expect(viewer.row("slow")).to_contain_text("100 a minute")
    expect(viewer.row("slow")).to_contain_text("2.5")
    assert live.client.get("/v1/queues/slow").json()["weight"] == 2.5
    viewer.press("New limit")
    dialog.get_by_label("Of", exact=True).select_option("key")
    dialog.get_by_label("Name").fill("customer/*")
    dialog.get_by_label("Running at once").fill("2")
    viewer.agree("Set")
    expect(viewer.row("customer/*")).to_contain_text("at most 2 each")
    page.get_by_role("button", name="Remove the limit of customer/*").click()
    viewer.agree("Remove")
    expect(viewer.row("customer/*")).to_have_count(0)
