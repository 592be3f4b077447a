"""The short form of `make chaos`: real processes, real faults, and every job accounted for."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.chaos import isolation
from tests.chaos.cluster import ROOT
from tests.processes import started


def test_a_cluster_loses_nothing_and_runs_nothing_twice(tmp_path: Path) -> None:
    if lacks := isolation.missing():
        assert not os.environ.get("CI"), f"CI has to have {lacks}"
        pytest.skip(f"chaos needs {lacks}")
    command = isolation.command(["--short", "--report", str(tmp_path)])
    with started(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as chaos:
        told, _ = chaos.communicate(timeout=500)
    assert chaos.returncode == 0, told
    assert "nothing was lost" in told and (tmp_path / "report.md").exists()
