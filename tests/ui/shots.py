"""Takes the pictures of docs/dashboard.md and the README, from a server with a shop's jobs.

python -m tests.ui.shots [--out docs/img] [--seconds 60]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from tests.ui.demo import fill, free_port, server
from tests.ui.viewer import CHROMIUM, Viewer

# file: page, width, height, dark
PICTURES: dict[str, tuple[str, int, int, bool]] = {
    "dashboard": ("/", 1280, 860, False),
    "jobs": ("/jobs?state=running&state=failed&state=queued&state=scheduled", 1280, 720, False),
    "job": ("/jobs/{failed}", 1280, 720, False),
    "job-running": ("/jobs/{video}", 1280, 760, True),
    "array": ("/jobs/{array}?tab=inputs", 1280, 720, False),
    "timeline": ("/timeline?span=5 min", 1280, 640, False),
    "run": ("/runs/{run}", 1280, 560, False),
    "schedule": ("/schedules/{beat}", 1280, 720, False),
    "phone": ("/", 360, 760, True),
}
MOST_BYTES = 150_000


def take(browser: Browser, url: str, named: dict[str, str], out: Path) -> None:
    """Save every picture."""
    for name, (path, width, height, dark) in PICTURES.items():
        with Viewer(browser, url, width=width, dark=dark) as viewer:
            viewer.page.set_viewport_size({"width": width, "height": height})
            page = viewer.go(path.format(**named))
            page.wait_for_timeout(2500)  # until charts, output and lists have come
            picture = page.screenshot(animations="disabled")
            assert len(picture) <= MOST_BYTES, f"{name}: {len(picture)} bytes"
            (out / f"{name}.png").write_bytes(picture)
            print(f"{name}.png: {len(picture):,} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/img"))
    parser.add_argument(
        "--seconds", type=float, default=75.0, help="how long the server has worked when it is looked at"
    )
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        server(Path(folder), free_port()) as url,
        sync_playwright() as playwright,
    ):
        named = fill(url)
        time.sleep(arguments.seconds)
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        take(browser, url, named, arguments.out)
        browser.close()


if __name__ == "__main__":
    main()
