"""The report is one page that needs nothing else, and shows what it was given."""

from __future__ import annotations

import json as standard_json
from html.parser import HTMLParser

from examples.measure import measure
from examples.sources import ENOUGH, LARGEST, packages

from examples import report

VOID = {"meta", "rect", "link", "img", "br"}


class Page(HTMLParser):
    """Collects the cells, and whatever would be loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.outside: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.outside += [f"{name}={value}" for name, value in attrs if name in {"src", "href", "srcset", "action"}]

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] in {"td", "th"} and data.strip():
            self.cells.append(data.strip())


def rows() -> list[report.Row]:
    return [
        report.Row("small <b>", measure(b"def f():\n    pass\n", "<i>.py"), 0.25),
        report.Row("large", measure(b"x = 1\n" * 2000 + b"(", "broken.py"), 1.5),
    ]


def test_the_page_shows_all_packages_the_largest_first_and_loads_nothing() -> None:
    text = report.html(rows())
    page = Page()
    page.feed(text)
    assert page.outside == []
    assert "small &lt;b&gt;" in text
    names = [cell for cell in page.cells if cell.startswith(("large", "small"))]
    assert names == ["large", "small <b>"]
    assert "@media (prefers-color-scheme: dark)" in text
    assert "$" not in text, "every place of the template is filled"


def test_json_has_the_total_and_every_package() -> None:
    document = standard_json.loads(report.json(rows()))
    assert document["total"]["files"] == 2
    assert document["total"]["unparsed"] == 1
    assert [one["package"] for one in document["packages"]] == ["large", "small <b>"]


def test_a_report_of_nothing_is_a_page_too() -> None:
    assert "0 files in 0 packages" in report.html([])


def test_over_a_thousand_real_files_each_once() -> None:
    found = packages()
    files = [f"{package.folder}/{file}" for package in found for file in package.files]
    assert len(files) >= ENOUGH
    assert len(set(files)) == len(files)
    assert max(len(package.files) for package in found) <= LARGEST
    assert len({package.name for package in found}) == len(found)
    assert [package.size for package in found] == sorted((p.size for p in found), reverse=True)
