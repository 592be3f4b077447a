"""Invariant 14 with a real browser: a page from elsewhere cannot submit, read or abort; Rota's own page can."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.http.live import Live

CHROMIUM = Path("/usr/bin/chromium")
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]  # one browser for all
# Names that an attacker owns, and that lead to this machine: what DNS rebinding does.
RESOLVER = "--host-resolver-rules=MAP evil.test 127.0.0.1, MAP rebound.test 127.0.0.1"
# A new browser asks before pages reach this machine; older ones do not, and here it is Rota that is to refuse.
NO_DEFENCE = "--disable-features=LocalNetworkAccessChecks"


class _Evil(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        page = b"<!doctype html><title>evil</title><body></body>"
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def browser(request: pytest.FixtureRequest) -> Iterator[Browser]:
    if not CHROMIUM.exists():
        message = f"NOT TESTED in a browser: there is no {CHROMIUM} (Debian's package chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        request.config.get_terminal_writer().line(f"\n{message}", yellow=True)
        pytest.skip(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[RESOLVER, NO_DEFENCE])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def evil_port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Evil)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    context.set_default_timeout(120_000)  # the machine may be busy
    yield context.new_page()
    context.close()


@pytest.fixture(params=["127.0.0.1", "localhost", "evil.test"])
def foreign(request: pytest.FixtureRequest, page: Page, evil_port: int) -> Page:
    """A page on another port of this machine (the same site!), or of another site."""
    page.goto(f"http://{request.param}:{evil_port}/")
    return page


def ask(page: Page, url: str, **options: Any) -> Any:
    """Fetch from within a page: [status, text], or what the browser says instead."""
    script = """async ([url, options]) => {
        try { const r = await fetch(url, options); return [r.status, await r.text()] } catch (e) { return String(e) }
    }"""
    return page.evaluate(script, [url, options])


def counts(live: Live) -> Any:
    return live.client.get("/v1/stats").json()["jobs"]


BODIES = [
    {"method": "POST", "headers": {"content-type": "application/json"}, "body": '{"handler":"evil"}'},
    {"method": "POST", "mode": "no-cors", "headers": {"content-type": "text/plain"}, "body": '{"handler":"evil"}'},
    {"method": "POST", "mode": "no-cors", "body": '{"handler":"evil"}'},
    {"method": "POST", "mode": "no-cors"},
]


@pytest.mark.parametrize("options", BODIES)
def test_a_foreign_page_cannot_submit(live: Live, foreign: Page, options: dict[str, Any]) -> None:
    before = counts(live)
    for name in ("127.0.0.1", "localhost"):
        answer = ask(foreign, f"http://{name}:{live.port}/v1/jobs", **options)
        assert answer == "TypeError: Failed to fetch" or answer == [0, ""]  # refused, or opaque
    assert counts(live) == before


def test_a_foreign_page_cannot_read(live: Live, foreign: Page) -> None:
    live.submit(data="secret")
    for path in ("/v1/jobs", "/v1/stats", "/openapi.json", "/metrics", "/docs", "/"):
        assert ask(foreign, f"{live.url}{path}") == "TypeError: Failed to fetch"
        assert ask(foreign, f"{live.url}{path}", mode="no-cors") == [0, ""]
    script = """url => new Promise(done => {
        const stream = new EventSource(url); stream.onopen = () => done("open"); stream.onerror = () => done("refused") })"""
    assert foreign.evaluate(script, f"{live.url}/v1/events") == "refused"


def test_a_foreign_page_cannot_abort(live: Live, foreign: Page) -> None:
    job = live.submit(delay=3600)
    place = f"{live.url}/v1/jobs/{job['id']}"
    ask(foreign, f"{place}/abort", method="POST", mode="no-cors")
    ask(foreign, f"{place}/abort", method="POST", headers={"content-type": "application/json"}, body="{}")
    foreign.evaluate("url => navigator.sendBeacon(url, new Blob(['{}'], {type: 'text/plain'}))", f"{place}/abort")
    ask(foreign, f"{place}/abort", method="POST", mode="no-cors")  # after the beacon: it has arrived
    assert live.client.get(f"/v1/jobs/{job['id']}").json()["state"] == "scheduled"


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data"])
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/{id}/abort"])
def test_a_form_of_a_foreign_page_does_nothing(live: Live, foreign: Page, kind: str, path: str) -> None:
    job = live.submit(delay=3600)
    before = counts(live)
    script = """([url, kind]) => {
        const form = document.createElement('form'); form.method = 'post'; form.action = url; form.enctype = kind;
        const field = document.createElement('input'); field.name = '{"handler":"evil","labels":{"a":"'; field.value = '"}}';
        form.append(field); document.body.append(form); form.submit() }"""
    with foreign.expect_navigation() as navigation:
        foreign.evaluate(script, [live.url + path.format(id=job["id"]), kind])
    assert navigation.value is not None
    assert navigation.value.status == 403
    assert counts(live) == before


def test_a_foreign_page_cannot_frame_or_embed_ours(live: Live, foreign: Page) -> None:
    embed = """([tag, url]) => new Promise(done => {
        const e = document.createElement(tag); e.onload = e.onerror = event => done(event.type); e.src = url;
        document.body.append(e) })"""
    with foreign.expect_response(f"{live.url}/docs") as answer:
        foreign.evaluate(embed, ["iframe", f"{live.url}/docs"])
    assert answer.value.status == 403
    for tag, path in (("script", "/v1/jobs"), ("img", "/v1/stats"), ("script", "/docs/assets/docs.js")):
        assert foreign.evaluate(embed, [tag, live.url + path]) == "error"


def test_a_rebound_name_is_no_name_of_ours(live: Live, page: Page) -> None:
    """The page was loaded under the attacker's name and our port; then the name leads here: one origin, to a browser."""
    origin = f"http://rebound.test:{live.port}"
    answer = page.goto(f"{origin}/docs")
    assert answer is not None
    assert answer.status == 421
    page.route(
        f"{origin}/page", lambda route: route.fulfill(content_type="text/html", body="<!doctype html><body></body>")
    )
    page.goto(f"{origin}/page")
    before = counts(live)
    job = live.submit(delay=3600)
    for path, options in (
        ("/v1/jobs", BODIES[0]),
        ("/v1/jobs", {}),
        (
            f"/v1/jobs/{job['id']}/abort",
            {"method": "POST", "headers": {"content-type": "application/json"}, "body": "{}"},
        ),
    ):
        status, text = ask(page, path, **options)
        assert status == 421
        assert "urn:rota:problem:misdirected" in text
    assert counts(live) == {**before, "scheduled": before["scheduled"] + 1}


def test_a_link_from_elsewhere_leads_to_the_dashboard(live: Live, foreign: Page) -> None:
    with foreign.expect_navigation(url=f"{live.url}/ui/") as navigation:
        foreign.evaluate("url => { location.href = url }", f"{live.url}/")
    assert navigation.value is not None
    assert navigation.value.status == 200


def test_the_docs_work_and_load_nothing_from_outside(live: Live, page: Page) -> None:
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{live.url}/docs")
    page.wait_for_selector("#operations-jobs-jobs_submit")
    paths = live.client.get("/openapi.json").json()["paths"].values()
    assert page.locator(".opblock").count() == sum(len(path) for path in paths) > 50
    page.locator("#operations-server-server_stats .opblock-summary-control").click()
    page.locator("#operations-server-server_stats .try-out__btn").click()
    page.locator("#operations-server-server_stats .execute").click()
    page.wait_for_selector("#operations-server-server_stats .live-responses-table .response-col_status:has-text('200')")
    assert complaints == []
    assert {url.split("/")[2] for url in asked if not url.startswith(("data:", "blob:"))} == {f"127.0.0.1:{live.port}"}
    status, text = ask(page, "/v1/jobs", **BODIES[0])  # our own page may
    assert status == 201
    assert '"handler":"evil"' in text
