"""The reader of transcripts notices what differs."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.apis.transcript import Differs, Message, Player, read

WRITTEN = """! --workers 1
! ROTA_TZ=UTC
# nothing
> POST /job
> content-type: application/json
>
> {"a":
>   1}
< 200
< x: y
<
< {"id": "<<job>>"}

>~ GET /job/<<job>>
< 204
"""


def test_a_transcript_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text(WRITTEN)
    transcript = read(path)
    first, second = transcript.exchanges
    assert (transcript.arguments, transcript.environment) == (["--workers", "1"], {"ROTA_TZ": "UTC"})
    assert (first.request.first, first.request.body, first.until) == ("POST /job", '{"a":\n  1}\n', False)
    assert (first.answer.first, first.answer.headers) == ("200", [("x", "y")])
    assert (second.request.first, second.answer.first, second.answer.body, second.until) == (
        "GET /job/<<job>>", "204", None, True,
    )  # fmt: skip
    path.write_text("nonsense")
    with pytest.raises(ValueError, match="line 1"):
        read(path)


@pytest.mark.parametrize(
    ("wanted", "has", "same"),
    [
        ('{"a": "<<x>>", "b": "<<x>>"}', '{"a":"1-z","b":"1-z"}', True),
        ('{"a": "<<x>>", "b": "<<x>>"}', '{"a":"1","b":"2"}', False),
        ('{"a": "<<known>>"}', '{"a":"other"}', False),
        ('{"a": "<<known>>"}', '{"a": "k.1"}', True),
        ('{"a": 1, "b": 2}', '{"b": 2, "a": 1}', False),
        ('{"a": 1}', '{"a": 1, "b": 2}', False),
        ('"<<:date>>"', '"01-02-2030 03:04:05"', True),
        ('"<<:date>>"', '"2030-02-01 03:04:05"', False),
        ('"<<:time>>"', '"2030-02-01T03:04:05.123456Z"', True),
        ("plain", "plain", True),
        ("plain", "plain text", False),
        ("…", "anything", True),
        ("", "something", False),
    ],
)
def test_an_answer_that_differs_is_noticed(wanted: str, has: str, same: bool) -> None:
    player = Player("http://x")
    player.known["known"] = "k.1"
    answer, message = httpx.Response(200, text=has, headers={"x": "y"}), Message("200", [("x", "y")], wanted)
    if same:
        player._compare(answer, message)
        return
    with pytest.raises(Differs):
        player._compare(answer, message)


@pytest.mark.parametrize("message", [Message("201"), Message("200", [("x", "z")]), Message("200", [("x", "-")])])
def test_another_status_or_header_is_noticed(message: Message) -> None:
    with pytest.raises(Differs):
        Player("http://x")._compare(httpx.Response(200, headers={"x": "y"}), message)
