"""The report of a run, for people and for programs."""

from __future__ import annotations

import json

from tests.chaos.run import Run, Struck


def as_json(run: Run) -> str:
    told = {
        "seed": run.seed,
        "lease_s": run.lease_s,
        "began_at": round(run.began_at, 1),  # on the clock of the ledger, which violations speak of
        "took_s": round(run.took_s, 1),
        "counts": run.findings.counts,
        "violations": run.violations,
        "faults": [_row(run, struck) for struck in _in_order(run)],
    }
    return json.dumps(told, indent=2) + "\n"


def as_markdown(run: Run) -> str:
    verdict = "no violation" if not run.violations else f"{len(run.violations)} violations"
    lines = [f"# Chaos: seed {run.seed}, {verdict}", ""]
    lines += [f"{len(run.faults)} faults in {run.took_s:.0f} s; leases of {run.lease_s:g} s.", ""]
    lines += [f"- {what}" for what in run.violations] + [""] * bool(run.violations)
    lines += ["| counted | |", "|---|---|"]
    for name, counts in run.findings.counts.items():
        lines.append(f"| {name} | {', '.join(f'{n} {what}' for what, n in sorted(counts.items()))} |")
    lines += [
        "",
        "| at s | fault | whom | way | lasted s | a fresh job had run s later |",
        "|---:|---|---|---|---:|---:|",
    ]
    for struck in _in_order(run):
        lines.append("| " + " | ".join("" if cell is None else str(cell) for cell in _row(run, struck).values()) + " |")
    return "\n".join(lines) + "\n"


def _in_order(run: Run) -> list[Struck]:
    return sorted(run.faults, key=lambda struck: struck.from_s)


def _row(run: Run, struck: Struck) -> dict[str, str | float | None]:
    return {
        "at_s": round(struck.from_s - run.began_at, 1),
        "fault": struck.fault.kind,
        "target": struck.fault.target,
        "way": struck.fault.more,
        "lasted_s": round(struck.to_s - struck.from_s, 1),
        "recovered_s": None if struck.recovered_s is None else round(struck.recovered_s, 1),
    }
