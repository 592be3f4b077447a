"""The same machine on long seeded walks: what needs many steps in a row (budgets, leases that run out) happens here."""

from __future__ import annotations

import random
from typing import Any

import pytest

from rota.core.states import Outcome

from .test_model import Machine

STEPS = 250


def step(machine: Machine, rng: random.Random) -> tuple[str, dict[str, Any]]:
    pick = rng.randrange(10**6)
    names = [
        "submit",
        "claim",
        "claim",
        "settle",
        "settle",
        "heartbeat",
        "let_time_pass",
        "let_time_pass",
        "abort",
        "edit",
        "retry",
        "restart",
        "lose",
        "advance",
    ]
    name = rng.choice(names if rng.random() < 0.97 else ["leave", "drain", "register"])
    if (
        not any(not worker.gone and not worker.draining for worker in machine.model.workers.values())
        and rng.random() < 0.5
    ):
        name = "register"
    match name:
        case "submit":
            alive = sum(
                job.state in ("queued", "running", "scheduled", "blocked") for job in machine.model.jobs.values()
            )
            return ("submit" if alive < 8 else "claim"), {
                "handler": rng.choice(("h", "again")), "delay": rng.choice((None, 3.0)), "priority": rng.choice((0, 0, 1)),
                "queue": rng.choice(("default", "q")), "after": [rng.randrange(10**6)] if rng.random() < 0.3 else [],
                "retries": rng.choice((None, 0, 9)), "timeout": rng.choice((None, 2.0, 40.0)), "chain": rng.choice((1, 1, 2)),
                "owner": rng.choice(("default", "ana", "bo")),
            } if alive < 8 else {"pick": pick, "n": 1}  # fmt: skip
        case "claim":
            return name, {"pick": pick, "n": rng.randrange(4), "unheard": rng.random() < 0.2}
        case "settle":
            return name, {
                "pick": pick,
                "outcome": rng.choice(list(Outcome)),
                "retry_in_s": rng.choice((None, 0.0, 5.0)),
                "refused": rng.random() < 0.1,
                "old": rng.random() < 0.2,
            }
        case "lose":
            return "settle", {"pick": pick, "outcome": Outcome.LOST, "retry_in_s": None, "refused": False, "old": False}
        case "heartbeat":
            return name, {"pick": pick, "forget": rng.choice((0, 0, 0, 0, 1, 9))}
        case "let_time_pass" | "advance":
            return name, {"seconds": rng.choice((0.0, 0.5, 1.0, 2.5, 5.0, 5.0, 14.9, 15.0))}
        case "edit":
            return name, {
                "pick": pick,
                "priority": rng.choice((None, 5)),
                "delay": rng.choice((None, 0.0, 4.0)),
                "queue": rng.choice((None, "q")),
            }
        case "register":
            return name, {"queues": rng.choice(((), ("default",)))}
        case "restart":
            return name, {}
        case _:
            return name, {"pick": pick}


@pytest.mark.parametrize("seed", [*range(6), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(6, 12))])
def test_a_long_walk(seed: int):
    walk(random.Random(seed), Machine())


def walk(rng: random.Random, machine: Machine) -> None:
    try:
        machine.first_workers()
        for _ in range(STEPS):
            name, arguments = step(machine, rng)
            needs_jobs, needs_leases = name in ("abort", "edit", "retry"), name == "settle"
            needs_workers = name in ("claim", "heartbeat", "leave", "drain")
            if (needs_jobs and not machine.model.jobs) or (needs_leases and not machine.leases):
                continue
            if needs_workers and all(worker.gone for worker in machine.model.workers.values()):
                continue
            getattr(machine, name)(**arguments)
            machine.the_rows_are_as_the_model_says()
            machine.the_counters_agree_with_the_rows()
        machine.the_events_tell_the_story_of_the_rows()
    finally:
        machine.teardown()
