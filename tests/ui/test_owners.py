"""Owners: their shares, and what is set for them."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from tests.http.live import Live
from tests.ui.viewer import OF_THE_LOOK, Viewer

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("ui")]


def test_an_owner_is_given_a_weight_and_limits(viewer: Viewer, live: Live, browser: Browser, axe: str) -> None:
    for owner in ("ana", "ben"):
        live.submit(owner=owner)
    page = viewer.go("/owners")
    expect(viewer.row("ana")).to_contain_text("50 %")
    page.get_by_role("button", name="Change ana").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Weight").fill("3")
    dialog.get_by_label("Highest priority").fill("10")
    viewer.agree("Set")
    expect(viewer.row("ana")).to_contain_text("75 %")
    expect(viewer.row("ana")).to_contain_text("highest priority 10")
    assert live.client.get("/v1/owners/ana").json()["weight"] == 3
    assert viewer.findings(axe) == []
    with Viewer(browser, live.url, width=360, dark=True) as phone:
        phone.go("/owners")
        assert phone.overflows() <= 0
        assert phone.findings(axe, OF_THE_LOOK) == []
