"""A run leaves nothing behind, nor what a run before it had to leave."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from tests import leavings
from tests.processes import started

ROOT = Path(__file__).parents[1]
MAKE_ONE = "import sys; from tests import leavings; print(leavings.make_folder(), flush=True); sys.stdin.read()"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_run_that_was_killed_leaves_its_folder_to_the_next_one(place: Path) -> None:
    command = [sys.executable, "-c", MAKE_ONE]
    with started(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        folder = Path(run.stdout.readline().strip())
        (folder / "data").mkdir()
        (folder / "data" / "file").write_text("left")
        (place / "rota-tests-of-somebody-else").mkdir()
        assert leavings.make_folder() != folder and folder.exists(), "it is still running"
        run.kill()
        run.wait()
    new = leavings.make_folder()
    assert not folder.exists()
    assert new.exists() and (place / "rota-tests-of-somebody-else").exists()
    with (new / "lock").open() as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_what_is_still_written_to_is_removed_when_that_ends(tmp_path: Path) -> None:
    folder = tmp_path / "busy"
    folder.mkdir()
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            with suppress(OSError):  # what is being removed meanwhile
                (folder / "new").mkdir(parents=True, exist_ok=True)

    writer = threading.Thread(target=write)
    writer.start()
    threading.Timer(0.05, over.set).start()
    try:
        while not over.is_set():
            leavings.remove(folder)
    finally:
        over.set()
        writer.join()
    leavings.remove(folder)
    assert not folder.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="who is not root mounts nothing")
def test_what_is_mounted_in_it_goes_first(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "data").mkdir(parents=True)
    subprocess.run(["mount", "--bind", folder / "data", folder / "data"], check=True)
    leavings.remove(folder)
    assert not folder.exists()
