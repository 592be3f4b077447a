"""One browser and one server for all that is tried on the dashboard."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.http.live import Live
from tests.ui.viewer import CHROMIUM, Viewer


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


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    server = Live(tmp_path_factory.mktemp("ui"))
    yield server
    server.stop()


@pytest.fixture
def viewer(browser: Browser, live: Live) -> Iterator[Viewer]:
    """A person in front of the dashboard, at a desk."""
    with Viewer(browser, live.url) as viewer:
        yield viewer


@pytest.fixture(scope="session")
def axe() -> str:
    return (Path(__file__).parent / "vendor" / "axe.min.js").read_text("utf-8")
