"""What the benchmarks write down: tables, shares of limits, the chart, and how a recording is read."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from bench import chart, documents
from bench.figures import Row, medians
from bench.peers.ticks import Holds, Ticks
from bench.peers.work import BEGIN, END, HOLD, TICK
from bench.replaying import _Parser

LIMIT = Row("limit: fsyncs", [1000, 2000, 1500], "/s")


def test_a_row_says_how_much_of_its_limit_it_reaches() -> None:
    limits = medians([LIMIT, Row("limit: start", [2.0], "ms")])
    assert Row("submit", [750], "/s", limit="limit: fsyncs").share(limits) == "50 %"
    assert Row("start", [8.0], "ms", limit="limit: start").share(limits) == "25 %", (
        "a time reaches less if it is longer"
    )
    assert Row("submit", [750], "/s", limit="not measured").share(limits) == ""
    assert Row("abort", [], "ms", limit="limit: start", instead="cannot").text(limits).endswith("cannot")


def test_the_page_has_a_table_for_each_part_and_a_matrix_of_peers(tmp_path: Path) -> None:
    (tmp_path / "bench").mkdir()
    (tmp_path / "docs").mkdir()
    for name in ("README.md", "docs/durability.md"):
        (tmp_path / name).write_text("a\n<!-- figures -->\nold\n<!-- end of figures -->\nb\n")
    found = {
        "limits": [LIMIT],
        "submit": [Row("submit one by one, one SDK client", [300.0, 150.0, 200.0], "/s", "≥ 1", limit=LIMIT.what)],
        "peers": [
            Row("drain: Rota on PostgreSQL", [200, 220], "/s"),
            Row("drain: pgqueuer", [100, 100], "/s"),
            Row("drain: Rota on PostgreSQL over pgqueuer", [2.0, 2.2], "times", "≥ 1.2 (design)"),
            Row("abort p50: Rota on PostgreSQL", [3.0], "ms"),
            Row("abort p50: BullMQ", [], "ms", instead="cannot"),
        ],
    }
    documents.write(["two cores"], found, tmp_path)
    page = (tmp_path / "bench/RESULTS.md").read_text()
    assert "| submit one by one, one SDK client | 200 /s | 150 to 300 | 3 | 13 % | ≥ 1 |" in page
    assert "| | Rota on PostgreSQL | pgqueuer | BullMQ |" in page
    assert "| drain | 210 /s (200 to 220) | 100 /s (100 to 100) |  |" in page
    assert "| abort p50 | 3.00 ms |  | cannot |" in page
    assert "### Rota on PostgreSQL over each peer" in page
    assert "| pgqueuer | 2.10 (2.00 to 2.20) |" in page
    quoted = (tmp_path / "README.md").read_text()
    assert quoted.startswith("a\n<!-- figures -->\n\n| what |") and quoted.endswith("<!-- end of figures -->\nb\n")
    assert "| drain: Rota on PostgreSQL over pgqueuer | 2.10 times |" in quoted


def test_the_chart_is_an_svg_with_all_its_points_inside() -> None:
    drawing = ET.fromstring(
        chart.draw("a < b", [("one", [(1000, 10), (100_000, 95)]), ("two", [(1000, 0), (10_000, 3)])])
    )
    circles = [one for one in drawing.iter() if one.tag.endswith("circle")]
    assert len(circles) == 4
    assert all(0 < float(one.get("cx", "")) < 720 and 0 < float(one.get("cy", "")) < 380 for one in circles)
    assert {"a < b", "one", "two", "1,000", "100,000"} <= {one.text for one in drawing.iter()}


def test_messages_of_postgresql_are_counted_however_they_are_cut() -> None:
    ready = b"Z" + (5).to_bytes(4, "big") + b"I"
    row = b"D" + (4 + 7).to_bytes(4, "big") + b"Z" * 7
    for cut in range(len(row + ready) + 1):
        parser = _Parser()
        assert sum(parser.feed(part)[0] for part in ((row + ready)[:cut], (row + ready)[cut:])) == 1
    assert _Parser().feed(row + ready) == (1, True)
    assert _Parser().feed(ready + row) == (1, False), "something comes after it"


def test_what_handlers_wrote_down_is_read_without_its_last_half(tmp_path: Path) -> None:
    (tmp_path / "ticks").write_bytes(TICK.pack(5, 3) + TICK.pack(9, 0) + b"half")
    ticks = Ticks(str(tmp_path / "ticks"))
    assert (ticks.count(), ticks.read()) == (2, [(5, 3), (9, 0)])
    assert Ticks(str(tmp_path / "none")).read() == []
    (tmp_path / "holds").write_bytes(HOLD.pack(BEGIN, 1, 10) + HOLD.pack(END, 1, 12) + HOLD.pack(BEGIN, 2, 20))
    holds = Holds(str(tmp_path / "holds"))
    assert holds.begun(1, 0) == (1, 10)
    assert holds.begun(2, 0) == (2, 20)
    assert holds.ended(1, 1, 0) == 12
