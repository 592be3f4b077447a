"""Names that others import or read: sorted, stable, all there."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

import rota

SRC = Path(rota.__file__).parent
WITH_ALL = sorted(
    ".".join(("rota", *path.relative_to(SRC).with_suffix("").parts)).removesuffix(".__init__")
    for path in SRC.rglob("*.py")
    if path.name != "__main__.py" and "\n__all__ " in path.read_text()
)

# What a program may import from `rota`; taking one away, or renaming it, breaks somebody.
EXPORTED = [
    "Aborted",
    "App",
    "AsyncClient",
    "Client",
    "Context",
    "Fail",
    "Retry",
    "Snooze",
    "submit_in",
]


def test_exported_names_are_stable():
    assert set(EXPORTED) <= set(rota.__all__), "a name that programs use is gone"


def test_exported_names_are_sorted():
    assert list(rota.__all__) == sorted(rota.__all__)


@pytest.mark.parametrize("name", WITH_ALL)
def test_names_in_all_exist_and_are_sorted(name: str):
    module = importlib.import_module(name)
    names = [n for n in module.__all__ if n != "__version__"]
    assert names == sorted(names)
    assert len(set(names)) == len(names)
    for each in names:
        assert getattr(module, each, None) is not None, f"{name}.{each}"


def test_importing_rota_loads_no_server():
    """Handlers need no server to import: `import rota` brings neither the web stack nor a store."""
    import subprocess
    import sys

    code = """import sys, rota
rota.App
print([m for m in sys.modules if m.split(".")[0] in ("starlette", "uvicorn", "sqlite3")])"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("dialect", ["postgres", "sqlite"])
def test_every_statement_of_a_store_is_used_and_exists(dialect: str):
    """A named statement that nobody runs is dead; one that is run and not written fails only when it is."""
    from rota.store import statements

    written = set(statements.load(f"rota.store.{dialect}.sql"))
    texts_of = [path.read_text() for at in ("store", f"store/{dialect}") for path in (SRC / at).glob("*.py")]
    tree = ast.Module([node for text in texts_of for node in ast.parse(text).body], [])
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert written - texts == set(), "statements that nobody runs"
    calls = [
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("_one", "_all", "_run", "_many")
        and node.args
        and isinstance(node.args[0], ast.Constant)
    ]
    assert set(calls) - written == set(), "statements that are not written"


# What only one dialect needs, and why.
ONLY_SQLITE = {
    **dict.fromkeys(
        (
            "next_due",
            "next_deadline",
            "next_unnamed",
            "next_worker_expiry",
            "next_delivery",
            "next_unnamed_shard",
            "next_range",
            "next_slot",
            "any_waiting",
        ),
        "PostgreSQL is asked for all of them at once: wakeups",
    ),
    "ready_heads_keyed": "PostgreSQL has the keys with the heads: turns",
    **dict.fromkeys(("held_heads", "stand_of"), "PostgreSQL has them with the rows: held_turns"),
    "next_set_owner": "PostgreSQL walks through both at once: next_owners",
    "ready_heads": "PostgreSQL has them with the rows, and counts them: turns, ready_counts",
    "any_limit": "PostgreSQL sees it with the rows: turns",
    "any_quota": "PostgreSQL looks at each owner's row, where it writes anyhow: append_events, add_count",
    **dict.fromkeys(("get_max_running", "owner_running", "owner_shards"), "PostgreSQL counts all at once: places_of"),
    "add_kept": "PostgreSQL writes it with the counters: append_events, add_count",
    "is_in_turn": "PostgreSQL sees to that in put_turns, which holds the row",
    **dict.fromkeys(("note_served", "set_clock"), "PostgreSQL writes all at once: charge_turns"),
    "offer_jobs": "PostgreSQL answers so when it claims",
    "get_upload": "PostgreSQL asks end_upload, which only one transaction is answered",
}
ONLY_POSTGRES = {
    "number_events", "has_event", "transaction_status",  # a commit whose answer was lost
    "wakeups", "ready_counts",  # all of them in one
    "look_at_job", "lock_job_now", "lock_free", "lock_run", "lock_worker", "lock_worker_now",
    "take_due_jobs", "take_unnamed_leases",
    "take_over_before", "late_leases", "is_base", "is_referred", "lock_schedule", "lock_owner",
    "hold_turns",  # rows that others may hold
    "hold_limits", "lock_keys", "hold_quotas", "hold_quotas_now",  # what several may start from, or submit to
    "places_of",  # of all owners at once
    "get_answer_and_quotas",  # both, where each question is a journey
    "claim_these",  # SQLite takes those one by one as it does all others
    "edit_listed", "delete_listed",  # listings beside the jobs: a change of state leaves their indexes alone
}  # fmt: skip


def test_dialects_have_the_same_statements_in_the_same_order():
    """So that they can be read side by side, and a table that is added is added to both."""
    import re

    def names(dialect: str, file: str) -> list[str]:
        text = (SRC / "store" / dialect / "sql" / file).read_text()
        return re.findall(r"^-- name: (\w+)$", text, re.MULTILINE)

    for path in sorted((SRC / "store/sqlite/sql").glob("*.sql")):
        ours, theirs = names("sqlite", path.name), names("postgres", path.name)
        assert set(ours) - set(theirs) <= set(ONLY_SQLITE), path.name
        assert set(theirs) - set(ours) <= ONLY_POSTGRES, path.name
        both = set(ours) & set(theirs)
        assert [name for name in ours if name in both] == [name for name in theirs if name in both], path.name
