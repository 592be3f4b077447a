"""Owners: their shares, and what is set for them."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.http.live import Live
from tests.ui.viewer import Viewer

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("ui")]


def test_an_owner_is_given_a_weight_and_limits(viewer: Viewer, live: Live) -> None:
    for owner in ("heavy", "light"):
        live.submit(owner=owner, handler="nobody-has-it", queue="weighed")
    page = viewer.go("/owners")
    before = live.client.get("/v1/owners/heavy/share").json()["share"]
    page.get_by_role("button", name="Change heavy").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Weight").fill("3")
    dialog.get_by_label("Highest priority").fill("10")
    viewer.agree("Set")
    expect(viewer.row("heavy")).to_contain_text("highest priority 10")
    owner = live.client.get("/v1/owners/heavy/share").json()
    assert owner["weight"] == 3
    assert owner["share"] > before
    expect(viewer.row("heavy")).to_contain_text(f"{100 * owner['share']:.0f} %")
