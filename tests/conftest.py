"""What holds for a whole run. Its order: what takes longest begins first, so that what is left in the end is short."""

from __future__ import annotations

import gc
import os
import signal
import tempfile

import pytest
from hypothesis import settings

from tests import leavings, postgres

settings.register_profile("rota", deadline=None, database=None, derandomize=True)  # a busy machine breaks nothing
settings.load_profile("rota")

# A shell that runs this in the background has had it ignore Ctrl-C, and processes inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The beginnings of their names, the longest first. Most of their time they wait: for leases, and for processes.
_LONGEST = (
    "tests/chaos/test_chaos.py",
    "tests/check_worker/test_workers.py::test_a_worker_keeps_to_the_protocol",
    "tests/examples/test_tour.py::test_the_tour_keeps_its_promises",
    "tests/e2e/test_bad_days.py::test_kill_9_of_anything",
    "tests/docs/test_documents.py::test_commands_do_what_the_document_says[docs/moving-from-pull-workers.md]",
    "tests/check_worker/test_broken_workers.py::test_the_worker_that_they_are_made_of_is_right",
    "tests/e2e/test_arrays.py",
    "tests/e2e/test_bad_days.py",
    "tests/ui/",
    "tests/http/test_http_description.py",
    "tests/check_worker",
    "tests/docs/test_documents.py::test_commands_do_what_the_document_says",
    "tests/examples",
    "tests/e2e",
    "tests/simulation",
)
_NAME_LENGTH = 60  # of a parameter


def pytest_configure(config: pytest.Config) -> None:
    """Make a folder for what the processes of this run share, and leave."""
    if postgres.RUN not in os.environ:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())  # `tmp_path` stays to be looked at
        folder = leavings.make_folder()
        os.environ[postgres.RUN] = os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
        config.add_cleanup(lambda: leavings.remove(folder))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest first."""

    def rank(item: pytest.Item) -> int:
        return next((at for at, beginning in enumerate(_LONGEST) if item.nodeid.startswith(beginning)), len(_LONGEST))

    items.sort(key=rank)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name a long text by its beginning and length: each process tells the others all names, and the environment has one."""
    if isinstance(val, str) and len(val) > _NAME_LENGTH:
        return f"{val[:_NAME_LENGTH]}... {len(val)}".encode("unicode_escape").decode("ascii")
    return None


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what was imported and collected: it is there to stay, and is walked in 0.3 s."""
    gc.collect()
    gc.freeze()
