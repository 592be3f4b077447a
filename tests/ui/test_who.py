"""Who is let in, and what each role is shown."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from tests.http.guarded import Guarded
from tests.ui.viewer import Viewer

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("ui")]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    server = Guarded(tmp_path_factory.mktemp("guarded"))
    yield server
    server.stop()


def enter(viewer: Viewer, token: str) -> None:
    viewer.page.get_by_label("Token").fill(token)
    viewer.page.get_by_role("button", name="Show the dashboard").click()


def test_a_token_is_asked_for_and_kept_in_the_tab(
    browser: Browser, desk: BrowserContext, guarded: Guarded, axe: str
) -> None:
    admin = guarded.token("admin", name="root of all")
    with Viewer(browser, guarded.url, context=desk) as viewer:
        page = viewer.go("/jobs")
        expect(page.locator("h1")).to_have_text("This server asks for a token")
        assert viewer.findings(axe) == []
        enter(viewer, "rota_" + "0" * 64)
        expect(page.get_by_role("alert")).to_contain_text("not known here")
        enter(viewer, guarded.token("worker"))
        expect(page.get_by_role("alert")).to_contain_text("worker")
        enter(viewer, admin)
        expect(page.locator("h1")).to_have_text("Jobs")
        page.reload()
        expect(page.locator("h1")).to_have_text("Jobs")
        assert page.evaluate("localStorage.length") == 0
        page = viewer.go("/settings")
        expect(page.locator("main")).to_contain_text("root of all")
        viewer.press("Forget the token")
        expect(page.locator("h1")).to_have_text("This server asks for a token")


def test_a_user_sees_its_own_jobs_and_nothing_of_the_machine(
    browser: Browser, desk: BrowserContext, guarded: Guarded
) -> None:
    with guarded.beside() as client:
        for owner in ("ana", "ben"):
            client.post("/v1/jobs", json={"handler": f"of-{owner}", "owner": owner}).raise_for_status()
    with Viewer(browser, guarded.url, context=desk) as viewer:
        page = viewer.go("/jobs")
        enter(viewer, guarded.token("user", owner="ana"))
        expect(viewer.row("of-ana")).to_have_count(1)
        expect(viewer.row("of-ben")).to_have_count(0)
        expect(page.locator(".side nav")).not_to_contain_text("Workers")
        page = viewer.go("/")
        expect(page.locator(".tile.is-queued b")).to_have_text("1")
        expect(page.locator(".tile.is-failed b")).to_have_text("0")
        for path in ("/", "/schedules", "/settings", "/submit"):
            page = viewer.go(path)
            expect(page.locator("main [role=alert]")).to_have_count(0)
        expect(page.get_by_role("tab", name="Script")).to_have_count(0)
        page = viewer.go("/settings")
        expect(page.get_by_role("tab", name="Tokens")).to_have_count(0)
        with guarded.beside() as client:
            job = client.post("/v1/jobs", json={"handler": "later", "owner": "ana", "delay": "1h"}).json()["id"]
        page = viewer.go(f"/jobs/{job}")
        expect(page.locator("h1")).to_have_text("later")


def test_an_admin_makes_and_revokes_tokens_and_reads_the_trail(
    browser: Browser, desk: BrowserContext, guarded: Guarded, axe: str
) -> None:
    with Viewer(browser, guarded.url, context=desk) as viewer:
        page = viewer.go("/settings")
        enter(viewer, guarded.token("admin"))
        page.get_by_role("tab", name="Tokens").click()
        viewer.press("New token")
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Name").fill("for ana")
        dialog.get_by_label("Owner").fill("ana")
        dialog.get_by_label("scripts").check()
        dialog.get_by_role("button", name="Make", exact=True).click()
        expect(dialog.locator(".command")).to_contain_text(re.compile("^rota_"))
        text = dialog.locator(".command").inner_text().strip()
        assert guarded.as_(text).get("/v1/me").json()["allow"] == ["scripts"]
        page.keyboard.press("Escape")
        expect(viewer.row("for ana")).to_contain_text("good")
        assert viewer.findings(axe) == []
        page.get_by_role("button", name="Revoke for ana").click()
        viewer.agree("Revoke")
        expect(viewer.row("for ana")).to_contain_text("revoked")
        assert guarded.as_(text).get("/v1/me").status_code == 401
        page.get_by_role("tab", name="Audit").click()
        expect(viewer.row("tokens.revoke").first).to_be_visible()


def test_a_token_that_is_revoked_while_one_looks(browser: Browser, desk: BrowserContext, guarded: Guarded) -> None:
    token = guarded.token("user", owner="ana", name="short")
    with Viewer(browser, guarded.url, context=desk) as viewer:
        page = viewer.go("/jobs")
        enter(viewer, token)
        expect(page.locator("h1")).to_have_text("Jobs")
        with guarded.beside() as client:
            ids = [one["id"] for one in client.get("/v1/tokens").json()["items"] if one["name"] == "short"]
            client.delete(f"/v1/tokens/{ids[0]}").raise_for_status()
        expect(page.locator("h1")).to_have_text("This server asks for a token")
        expect(page.get_by_role("alert")).to_contain_text("revoked")
