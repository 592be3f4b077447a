"""Some dozen lives of a cluster; `.ci/run` lives two thousand more, and `make simulate SEEDS=…` any number."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .simulate import digest, run
from .world import CALM

LEAST_SEEDS, MOST_SEEDS = 30, 100
HAPPENS = {
    "server {} crashes", "the store's clock jumps by {:+.3f} s", "worker {} dies", "worker {} drains", "worker {} leaves",
    "worker {} stalls for {:.3f} s", "worker {} kills {}: its lease was not renewed", "worker {} is told that {} is lost",
    "worker {} is unknown: kills all, registers again", "lost: the request {}", "lost: the reply to {}",
    "the store takes nothing", "ended succeeded", "ended failed", "ended aborted", "ended canceled", "ended blocked",
    "ended scheduled", "kind lost", "kind timed_out", "kind snoozed", "kind interrupted", "kind out_of_memory",
    "kind abort_requested", "kind edited", "kind released", "kind halted", "worker {} stops input {} of {}",
    "worker {} halts {}",
}  # fmt: skip


def test_limits_hold_runs_come_to_what_their_jobs_have_and_everything_ends():
    ends: set[str] = set()
    for seed in range(10):
        history = run(seed, limited=True).history
        ends |= {
            values[3].lower() for _, text, values in history if text.startswith("store: ") and values[2] == "run_ended"
        }
    assert ends == {"succeeded", "failed", "aborted", "canceled"}, "else these lives have gone lame"


@pytest.mark.parametrize("some", [12, pytest.param(100, marks=pytest.mark.long)])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_crash_at_commit_boundaries(seed: int, some: int):
    """No other fault: the same life, once for each of some boundaries; for all of them with ROTA_SIMULATE_ALL=1."""
    boundaries = run(seed, odds=CALM).boundaries
    assert boundaries > 300
    for at in range(1 + seed, boundaries + 1, 1 if os.environ.get("ROTA_SIMULATE_ALL") else boundaries // some):
        run(seed, odds=CALM, crash_at=at)


def test_the_same_seed_is_the_same_life():
    assert digest(run(7)) == digest(run(7))
    assert digest(run(7)) != digest(run(8))


def test_a_seed_replays_in_another_process():
    root = Path(__file__).parents[2]
    seen = set()
    for hashes in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--seed", "11", "--verbose"],
            cwd=root, env={**os.environ, "PYTHONHASHSEED": hashes}, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        seen.add(done.stdout.rpartition("digest ")[2].split()[0])
    assert seen == {digest(run(11))}


def test_nothing_breaks_everything_ends_and_the_seeds_are_worth_running():
    """Every fault and every end happens within a few dozen seeds; else the simulation has gone lame."""
    told: set[str] = set()
    for seed in range(MOST_SEEDS):
        world = run(seed)
        told |= {text for _, text, _ in world.history}
        told |= {f"ended {values[-1]}" for _, text, values in world.history if text.startswith("store: ")}
        told |= {f"kind {values[-2]}" for _, text, values in world.history if text.startswith("store: ")}
        if seed + 1 >= LEAST_SEEDS and told >= HAPPENS:
            break
    assert told >= HAPPENS, HAPPENS - told
