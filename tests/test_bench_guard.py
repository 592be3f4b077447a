"""What the guard of speed calls slower."""

from __future__ import annotations

from pathlib import Path

import msgspec
from bench.guard.comparing import Baseline, Kept, apart, changes

FILE = Path(__file__).parents[1] / "bench" / "guard" / "baseline.json"


def baseline(ratio: Kept, count: float = 1000) -> Baseline:
    return Baseline("Python 3", {"submit": ratio}, {"bytecodes": count})


def words(before: Kept, now: Kept) -> str:
    (ratio, _) = changes(baseline(before), baseline(now))
    return "slower" if ratio.slower else "faster" if ratio.faster else "same"


def test_slower_is_what_lies_apart_and_by_more_than_noise() -> None:
    before = Kept(10, 9.8, 10.3)
    assert words(before, Kept(12, 11, 13)) == "slower"
    assert words(before, Kept(12, 10.2, 13)) == "same", "the halves overlap: the machine was busy"
    assert words(before, Kept(10.9, 10.8, 11)) == "same", "9 % are noise"
    assert words(before, Kept(8, 7.9, 8.1)) == "faster"
    assert words(before, before) == "same"


def test_counts_have_no_noise() -> None:
    kept = Kept(1, 1, 1)
    found = [changes(baseline(kept), baseline(kept, count))[1] for count in (1029, 1031, 969)]
    assert [(change.slower, change.faster) for change in found] == [(False, False), (True, False), (False, True)]
    assert found[1].text().endswith("1,031     1,000    +3.1 %  SLOWER")


def test_what_only_one_run_has_is_said() -> None:
    assert apart({"a": 1, "b": 1}, {"b": 1, "c": 1}) == [
        "new, not in the baseline: c",
        "in the baseline, not measured: a",
    ]


def test_half_of_the_repetitions_lie_between() -> None:
    assert Kept.of([5.0, 1.0, 2.0, 3.0, 4.0]) == Kept(3, 2, 4)


def test_the_baseline_that_is_kept_can_be_read() -> None:
    kept = msgspec.json.decode(FILE.read_bytes(), type=Baseline)
    assert len(kept.ratios) > 10
    assert len(kept.counts) > 2
