"""The PostgreSQL of the tests leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import postgres
from tests.processes import started

MAKE_ONE = """
import sys
from tests import postgres
cluster = postgres.Cluster(postgres.programs())
print(cluster.pid, cluster.folder, flush=True)
sys.stdin.read()
"""


@pytest.mark.timeout(300)
def test_a_cluster_ends_with_the_process_that_made_it_also_when_that_is_killed() -> None:
    with started([sys.executable, "-c", MAKE_ONE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as maker:
        assert maker.stdout is not None
        pid, folder = maker.stdout.readline().split()
        assert Path(f"/proc/{pid}").exists()
        maker.kill()
        maker.wait()
    postgres.wait_for(lambda: not Path(f"/proc/{pid}").exists() and not os.path.exists(folder), 60)
