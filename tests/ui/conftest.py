"""One browser and one server for all that is tried on the dashboard."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from tests.http.live import Live
from tests.ui.stock import fill
from tests.ui.viewer import CHROMIUM, Viewer, new_context


@pytest.fixture(scope="package")  # its event loop must be gone before others of this process want one
def browser(request: pytest.FixtureRequest) -> Iterator[Browser]:
    if not CHROMIUM.exists():
        message = f"NOT TESTED in a browser: there is no {CHROMIUM} (Debian's package chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        request.config.get_terminal_writer().line(f"\n{message}", yellow=True)
        pytest.skip(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One server for all: each test has queues, handlers and owners of its own."""
    server = Live(tmp_path_factory.mktemp("ui"))
    yield server
    server.stop()


@pytest.fixture(scope="package")
def stocked(live: Live) -> dict[str, str]:
    """Jobs in every state, schedules, workers: what pages are shown of."""
    return fill(live)


@pytest.fixture(scope="package")
def desk(browser: Browser) -> Iterator[BrowserContext]:
    """The windows of somebody at a desk, who has been here before."""
    context = new_context(browser)
    yield context
    context.close()


@pytest.fixture(scope="package")
def tab(browser: Browser, desk: BrowserContext, live: Live) -> Iterator[Viewer]:
    """One tab for all who do not need one of their own: a page that is loaded takes more than what is tried on it."""
    with Viewer(browser, live.url, context=desk) as viewer:
        yield viewer


@pytest.fixture
def viewer(tab: Viewer) -> Iterator[Viewer]:
    """A person in front of the dashboard, at a desk."""
    tab.begin()
    yield tab
    tab.check()


@pytest.fixture(scope="session")
def axe() -> str:
    return (Path(__file__).parent / "vendor" / "axe.min.js").read_text("utf-8")
