"""How the dashboard is handed out: small, kept by browsers, changed when it changes, and with a strict policy."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from pathlib import Path

import pytest

import rota
from tests.http.live import Live, check_problem

UI = Path(rota.__file__).parent / "http" / "assets" / "ui"
FILES = sorted(p for p in UI.rglob("*") if p.suffix in (".js", ".css", ".svg", ".html"))
MOST_BYTES = 150_000


def test_all_of_it_is_small() -> None:
    """What a browser loads when it has seen every page, as it is sent."""
    sizes = {path.relative_to(UI).as_posix(): len(gzip.compress(path.read_bytes(), 9)) for path in FILES}
    assert len(sizes) > 20
    assert sum(sizes.values()) < MOST_BYTES, sizes


@pytest.mark.parametrize("path", [p for p in FILES if p.suffix == ".js"], ids=lambda p: p.relative_to(UI).as_posix())
def test_a_module_imports_what_there_is_and_never_makes_html(path: Path) -> None:
    text = path.read_text("utf-8")
    for target in re.findall(r"""(?:from|import)\s*\(?\s*"(\.[^"]+)\"""", text):
        assert (path.parent / target).resolve() in FILES, target
    if path.parent.name != "vendor":
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacent|dangerouslySet|document\.write|\beval\b|new Function", text
        )
        assert "http://" not in text.replace("http://www.w3.org", "").replace("http://…", "")
        assert len(text.splitlines()) <= 450


def test_every_file_that_the_page_names_is_there(live: Live) -> None:
    page = live.client.get("/ui/")
    names = re.findall(r'(?:href|src)="(/ui/assets/[^"]+)"', page.text)
    assert len(names) == 4
    for name in names:
        answer = live.client.get(name)
        assert answer.status_code == 200, name
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"


def test_what_is_wanted_later_is_there_and_the_rest_is_one_file(live: Live) -> None:
    """So that nothing is asked for only when something else has come."""
    page = live.client.get("/ui/")
    (main,) = re.findall(r'<script type="module" src="([^"]+)"', page.text)
    text = live.client.get(main).text
    assert not re.search(r"^(import|export)\b", text, re.MULTILINE)
    joined = set(re.findall(r"^// (\S+\.js)$", text, re.MULTILINE))
    apart = set(re.findall(r'import\("\./([^"]+)"\)', text))
    assert apart == {"vendor/uplot.js", "vendor/dagre.esm.js"}
    assert joined | apart | {"first.js"} == {path.relative_to(UI).as_posix() for path in FILES if path.suffix == ".js"}
    for name in apart:
        assert live.client.get(main.replace("main.js", name)).status_code == 200


def test_the_policy_lets_the_script_run_that_stands_in_the_page(live: Live) -> None:
    page = live.client.get("/ui/jobs")
    (script,) = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    assert script == (UI / "first.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'self' 'sha256-{digest}';" in page.headers["content-security-policy"]


def test_pages_are_asked_for_again_and_files_are_kept(live: Live) -> None:
    for path in (
        "/ui/",
        "/ui/jobs",
        "/ui/jobs/some-id",
        "/ui/schedules/a.b%2Fc",
        "/ui/jobs?state=failed&state=running",
    ):
        page = live.client.get(path)
        assert (page.status_code, page.headers["cache-control"]) == (200, "no-cache")
        assert page.headers["content-encoding"] == "gzip"
        again = live.client.get(path, headers={"if-none-match": page.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert live.client.get(path, headers={"accept-encoding": "identity"}).text == page.text
    policy = page.headers["content-security-policy"]
    assert "unsafe" not in policy
    for rule in (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "frame-ancestors 'none'",
    ):
        assert rule in policy
    assert live.client.head("/ui/").status_code == 200


def test_what_is_no_file_of_this_version_is_not_found(live: Live) -> None:
    mark = re.search(r"/ui/assets/(\w+)/", live.client.get("/ui/").text)
    assert mark
    for path in (
        "0123456789abcdef/main.js",
        f"{mark[1]}/nothing.js",
        f"{mark[1]}/parts/view.js",
        f"{mark[1]}/../index.html",
        f"{mark[1]}/vendor/README.md",
        f"{mark[1]}/",
    ):
        check_problem(live.client.get(f"/ui/assets/{path}"), 404, "not-found")


def test_a_browser_is_led_to_it(live: Live) -> None:
    for path in ("/", "/ui"):
        answer = live.client.get(path, headers={"accept": "text/html"})
        assert (answer.status_code, answer.headers["location"]) == (307, "/ui/")


def test_who_i_am(live: Live) -> None:
    me = live.client.get("/v1/me").json()
    assert (me["role"], me["owner"], me["keeper"], me["token"]) == ("admin", None, False, None)
