"""Secrets: where they come from, who gets them, and that nobody reads them in what a job writes."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rota.core.jobs import Lease, RunOptions
from rota.core.states import Outcome
from rota.worker.redaction import STARS, Redactor
from rota.worker.secrets import SecretMissing, Secrets, WithSecrets
from tests.worker.executor_rig import Rig, live, rigged

VALUE = "s3cr3t-välue"


def through(values: list[str], pieces: list[bytes]) -> bytes:
    redactor = Redactor(values)
    return b"".join([*map(redactor.feed, pieces), redactor.end()])


def test_a_value_comes_from_the_environment_or_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "FILED").write_text("of the file\n\n")
    (tmp_path / "BOTH").write_text("of the file")
    (tmp_path / "SHORT").write_text("abc\n")
    (tmp_path / "BAD").write_bytes(b"\xff\xff\xff\xff\xff")
    (tmp_path / "FOLDER").mkdir()
    secrets = Secrets({"ROTA_SECRET_BOTH": "of the variable", "OTHER": "no", "ROTA_TOKEN": "no"}, str(tmp_path))
    assert secrets.of(["FILED", "BOTH"]) == {"FILED": "of the file\n", "BOTH": "of the variable"}
    for name, why in (
        ("OTHER", "no secret OTHER"), ("ROTA_TOKEN", "no secret"), ("SHORT", "fewer than 4"), ("BAD", "cannot read"),
        ("FOLDER", "cannot read"), ("NONE", "ROTA_SECRET_NONE"),
    ):  # fmt: skip
        with pytest.raises(SecretMissing, match=why):
            secrets.of([name])


@pytest.mark.parametrize(
    ("values", "written", "shown"),
    [
        (["abcd"], b"xabcdx abcd", b"x***x ***"),
        (["abcd", "abcdef"], b"abcd abcdef abcde", b"*** *** ***e"),
        (["aaab"], b"aaaab", b"a***"),
        (["abcd", "cdef"], b"abcdef", b"***ef"),
        (["abcd"], b"abc", b"abc"),
        (["line one\nline two"], b"> line one\n> line two\nline one\nline two", b"> ***\n> ***\n***"),
        ([VALUE], VALUE.encode() + b"!", b"***!"),
    ],
)
def test_stars_stand_for_secrets_wherever_they_are_cut(values: list[str], written: bytes, shown: bytes) -> None:
    assert through(values, [written]) == shown
    assert through(values, [bytes([b]) for b in written]) == shown
    for at in range(len(written)):
        assert through(values, [written[:at], written[at:]]) == shown


@given(
    values=st.lists(st.text("ab\n", min_size=4, max_size=12), min_size=1, max_size=3),
    noise=st.lists(st.text("abc\n", max_size=6), min_size=1, max_size=6),
    seed=st.integers(0, 1000),
)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_no_secret_comes_through_in_any_pieces(values: list[str], noise: list[str], seed: int) -> None:
    rng = random.Random(seed)
    written = "".join(part + rng.choice(values) for part in noise).encode()
    pieces, at = [], 0
    while at < len(written):
        n = rng.randint(1, 9)
        pieces.append(written[at : at + n])
        at += n
    shown = through(values, pieces)
    assert not any(value.encode() in shown for value in values)
    assert shown == through(values, [written])


def test_what_is_no_secret_is_not_kept_waiting() -> None:
    redactor = Redactor([VALUE])
    assert redactor.feed(b"working\n") == b"working\n"
    assert redactor.feed(b"s3c") == b""
    assert redactor.feed(b"ond\n") == b"s3cond\n"


def lease_of(rig: Rig, text: str, *names: str, **more: object) -> Lease:
    return rig.script(text, options=RunOptions(secrets=list(names)), **more)


@live
async def test_a_script_has_its_secrets_and_its_output_has_stars():
    async with rigged() as rig:
        executor = WithSecrets(rig.pool, Secrets({"ROTA_SECRET_KEY": VALUE, "ROTA_SECRET_OTHER": "of-others"}))
        text = 'printf "%s" "$KEY" | head -c 5; sleep 0.2; printf "%s" "$KEY" | tail -c +6; echo; echo "<$KEY>" >&2; exit 3'
        lease = lease_of(rig, text, "KEY")
        report = await executor.run(lease)
        assert rig.text(lease, "stdout") == STARS.decode() + "\n"
        assert rig.text(lease, "stderr") == "<***>\n"
        assert report.outcome is Outcome.ERRORED
        assert VALUE not in str(report)
        assert report.error is not None
        assert "<***>" in report.error.message
        # Nothing of it is left for the next one, in the same child.
        lease = lease_of(rig, 'env | grep -c "KEY\\|OTHER\\|s3cr" ; echo "[$KEY]"')
        await executor.run(lease)
        assert rig.text(lease, "stdout") == "0\n[]\n"
        # An input's output goes into its report.
        lease = lease_of(rig, 'echo "$KEY $1"', "KEY", index=0, inputs=[b'"one"'])
        report = await executor.run(lease)
        assert report.stdout == "*** one\n"


@live
async def test_a_worker_without_the_secret_refuses():
    async with rigged() as rig:
        executor = WithSecrets(rig.pool, Secrets({}))
        report = await executor.run(lease_of(rig, "echo ran", "KEY"))
        assert (report.outcome, report.refused) == (Outcome.ERRORED, True)
        assert report.error is not None
        assert report.error.type == "SecretMissing"
        assert "ROTA_SECRET_KEY" in report.error.message
        await asyncio.sleep(0)
        assert not rig.output
