"""Whatever bytes come, a form is read or refused; and what a program writes is read as it was written."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rota.core.errors import Invalid, RotaError
from rota.core.times import SECOND, to_micros
from rota.http.apis import dates
from rota.http.apis.forms import form_body
from rota.http.apis.master_tasks import NewMasterTask, of_form, submission_of
from rota.http.apis.timed_jobs import NewTimedJob
from rota.http.parsing import decode

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50)
TYPES = st.sampled_from(
    [b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x", b"multipart/form-data", b"application/json"]
)  # fmt: skip
PIECES = st.sampled_from(
    [b"--x", b"--x--", b"\r\n", b"\n", b"Content-Disposition: form-data; name=", b'"job_name"', b'"date"', b"; filename=",
     b"Content-Type: text/plain", b"=", b"&", b"%", b"%ff", b"\xff", b"\0", b"a", b'"', b"\\", b":", b"[", b"{"]
)  # fmt: skip
parse_job = form_body(NewTimedJob)
parse_task = form_body(NewMasterTask, convert=of_form)
ZONES = [UTC, ZoneInfo("Asia/Kolkata"), ZoneInfo("America/New_York")]
NOW = to_micros(datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC))


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(st.binary(max_size=200), st.lists(PIECES, max_size=40).map(b"".join)),
    st.one_of(TYPES, st.binary(max_size=60)),
)
@example(b"", b"multipart/form-data; boundary=")
@example(b"", b'multipart/form-data; boundary="')
@example(b"", b"multipart/form-data; boundary*=utf-8''%ff")
def test_no_bytes_break_the_parser(body: bytes, content_type: bytes) -> None:
    for parse in (parse_job, parse_task):
        try:
            task = decode(lambda body, parse=parse: parse(body, content_type), body)  # type: ignore[misc]
            if isinstance(task, NewMasterTask):
                submission_of(task)
        except RotaError:
            pass


@settings(max_examples=200, deadline=None)
@given(TEXT, TEXT)
def test_both_kinds_of_forms_are_read_as_they_were_written(name: str, when: str) -> None:
    fields = {"job_name": name, "date": when}
    written = NewTimedJob(job_name=name, date=when)
    assert parse_job(urlencode(fields).encode(), b"application/x-www-form-urlencoded") == written
    request = httpx.Request("POST", "http://x/", files={key: (None, value.encode()) for key, value in fields.items()})
    assert parse_job(request.read(), request.headers["content-type"].encode()) == written


@settings(max_examples=300, deadline=None)
@given(st.one_of(TEXT, st.text("0123456789-: smhd", max_size=22)), st.sampled_from(ZONES))
def test_no_text_breaks_the_reader_of_dates(text: str, zone: ZoneInfo) -> None:
    if not dates.is_relative(text):
        try:
            at = dates.parse(text, NOW, zone)
        except ValueError:
            return
        assert at >= NOW


@given(st.datetimes(datetime(2026, 5, 5), datetime(2120, 1, 1)), st.sampled_from(ZONES))
def test_a_date_is_shown_as_it_was_given(moment: datetime, zone: ZoneInfo) -> None:
    local = moment.replace(microsecond=0, tzinfo=zone)
    if local.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != local.replace(tzinfo=None):
        return  # an hour that no clock showed
    text = local.strftime(dates.FORMAT)
    assert dates.written(dates.parse(text, NOW, zone), zone) == text


def test_hours_that_a_clock_skips_or_shows_twice_have_one_meaning() -> None:
    zone = ZoneInfo("America/New_York")
    twice = dates.parse("01-11-2026 01:30:00", NOW, zone)
    assert twice == to_micros(datetime(2026, 11, 1, 5, 30, tzinfo=UTC))  # the first of the two
    skipped = dates.parse("14-03-2027 02:30:00", NOW, zone)
    assert skipped == to_micros(datetime(2027, 3, 14, 7, 30, tzinfo=UTC))
    assert dates.written(skipped, zone) == "14-03-2027 03:30:00"


def test_a_hundred_years_are_the_end() -> None:
    with pytest.raises(ValueError, match="100 years"):
        dates.parse("04-05-2127 03:02:01", NOW, UTC)
    assert dates.parse("04-05-2026 03:02:01", NOW + SECOND - 1, UTC) == NOW
    with pytest.raises(ValueError, match="past"):
        dates.parse("04-05-2026 03:02:01", NOW + SECOND, UTC)


@pytest.mark.parametrize(
    ("pairs", "inputs"),
    [
        ([("inputList", "a"), ("inputList", "b,c")], b'["a","b,c"]'),
        ([("inputList", "a, b ,c")], b'["a","b","c"]'),
        ([("inputList", "a")], b'["a"]'),
        ([("inputList", "a,,")], b'["a","",""]'),
        ([("inputList", ' ["a", 1.50, null, {"b": []}]')], b'["a",1.50,null,{"b": []}]'),
        ([("inputList", "[1]"), ("inputList", "[2]")], b'["[1]","[2]"]'),
    ],
)
def test_the_inputs_of_a_form(pairs: list[tuple[str, str]], inputs: bytes) -> None:
    assert bytes(submission_of(of_form([*pairs, ("templateFunction", "true")])).inputs) == inputs


def test_a_form_without_inputs_is_refused() -> None:
    with pytest.raises(Invalid) as refused:
        of_form([("templateFunction", "true")])
    assert refused.value.field == "inputList"
