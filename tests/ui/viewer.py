"""A person in front of the dashboard: a page of a browser that complains about whatever goes wrong behind it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from tests.http.live import DEADLINE_S

CHROMIUM = Path("/usr/bin/chromium")
PATIENCE_MS = DEADLINE_S * 1000
expect.set_options(timeout=PATIENCE_MS)
# A browser says so itself when an answer is a 4xx, and when a server is away: what the page makes of it is looked at.
_ANSWERS = re.compile(r"Failed to load resource: (the server responded with a status of 4\d\d|net::ERR_)")
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
OF_THE_LOOK = ["color-contrast", "target-size"]  # what another width, or another theme, may change


class Viewer:
    """Shows one page. Leaving it fails when a script failed, the policy was violated, or another host was asked.

    In a `context` of others it is one more of their tabs, which has all files already; else it is somebody new.
    """

    def __init__(
        self,
        browser: Browser,
        url: str,
        *,
        width: int = 1440,
        dark: bool = False,
        context: BrowserContext | None = None,
    ) -> None:
        self.url = url
        self._own = context is None
        self.context = context or new_context(browser, width=width, dark=dark)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(f"{error}\n{error.stack}"))
        self.page.on("console", lambda message: self._hear(message.type, message.text))

    def _hear(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not _ANSWERS.match(text):
            self.complaints.append(f"{kind}: {text}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._own:
            self.context.close()
        else:
            self.page.close()
        if kind is None:
            self.check()

    def begin(self) -> None:
        """Forget what was before; a dialog that somebody has left open goes with the page."""
        if self.page.locator("dialog[open]").count():
            self.page.goto("about:blank")
        self.complaints.clear()
        self.asked.clear()

    def check(self) -> None:
        """Fail if something went wrong behind the page."""
        assert self.complaints == []
        ours = urlsplit(self.url).netloc
        assert {urlsplit(url).netloc for url in self.asked if not url.startswith(("data:", "blob:", "about:"))} <= {
            ours
        }

    def go(self, path: str = "/") -> Page:
        """Open a page of the dashboard, and wait until it shows something. Only the first one is loaded: that takes longest."""
        if not self.page.url.startswith(f"{self.url}/ui/"):
            self.page.goto(f"{self.url}/ui{path}")
            return self.settled()
        self._show("/nowhere")  # nothing is left of the page before, nor of what was said there
        self.page.evaluate("document.querySelectorAll('.said [aria-label=Dismiss]').forEach(button => button.click())")
        expect(self.page.locator("main h1")).to_have_text("There is no such page")
        return self.turn(path)

    def turn(self, path: str) -> Page:
        """Go to another page as its links do: nothing is loaded anew."""
        self._show(path)
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done, 30)))")
        return self.settled()

    def _show(self, path: str) -> None:
        self.page.evaluate(
            "to => { history.pushState(null, '', to); dispatchEvent(new PopStateEvent('popstate')) }", f"/ui{path}"
        )

    def settled(self) -> Page:
        """Wait until nothing is being loaded for the first time."""
        expect(self.page.locator("#app > *").first).to_be_attached()
        expect(self.page.locator(".bones")).to_have_count(0)
        return self.page

    def row(self, text: str) -> Locator:
        """Return the rows that have this text."""
        return self.page.locator("main [data-row]", has_text=text)

    def press(self, name: str, within: str = "main") -> None:
        """Press the button that is called so."""
        self.page.locator(within).get_by_role("button", name=name, exact=True).first.click()

    def agree(self, name: str) -> None:
        """Press a button of the dialog that is open, and wait until it is closed."""
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_role("button", name=name, exact=True).click()
        expect(dialog).to_have_count(0)

    def told(self, text: str) -> None:
        """Expect that this was said."""
        expect(self.page.locator(".said").get_by_text(text)).to_be_visible()

    def overflows(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        wide: int = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        return wide

    def findings(self, axe: str, rules: Sequence[str] = _RULES) -> list[str]:
        """Return what axe finds, serious or not."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(axe)
        found: dict[str, Any] = self.page.evaluate(
            f"axe.run(document, {{runOnly: {list(rules)}, resultTypes: ['violations']}})"
        )
        return [
            f"{one['impact']}: {one['id']}: {node['html'][:200]} ({node['failureSummary'][:300]})"
            for one in found["violations"]
            for node in one["nodes"][:3]
        ]


def new_context(browser: Browser, *, width: int = 1440, dark: bool = False) -> BrowserContext:
    """Return what tabs of one person share: files, settings, the size of the window."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", reduced_motion="reduce"
    )
    context.set_default_timeout(PATIENCE_MS)
    return context
