"""What old clients say and hear, against a live server. The format: tests/apis/transcript.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.apis.transcript import Player, read
from tests.e2e.conftest import Server

FOLDER = Path(__file__).parent / "transcripts"
TRANSCRIPTS = sorted(FOLDER.glob("*.txt"))


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_the_server_says_what_is_written(path: Path, serve: Callable[..., Server]) -> None:
    transcript = read(path)
    server = serve(*transcript.arguments, environ=transcript.environment)
    try:
        Player(server.url).play(transcript)
    except AssertionError as differs:
        differs.add_note(f"in {path.name}")
        raise
