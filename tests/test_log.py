"""Logs: every event has its words, nothing secret is written, and nothing changes for who merely imports Rota."""

from __future__ import annotations

import ast
import io
import json
import logging
import string
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rota import log

SOURCES = Path(log.__file__).parent
LEVELS = {"debug", "info", "warning", "error", "exception"}


@pytest.fixture
def _as_before() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("rota")
    handlers, level, our_level, processors = root.handlers[:], root.level, ours.level, log._PROCESSORS[:]
    yield
    root.handlers[:], log._PROCESSORS[:] = handlers, processors
    root.setLevel(level)
    ours.setLevel(our_level)


@pytest.fixture
def stream(_as_before: None) -> io.StringIO:
    return io.StringIO()


def events() -> Iterator[tuple[str, str, set[str]]]:
    """Find every call of a logger: where, the event's name, the names of its fields."""
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id.lower() in {"log", "_log"}
                and node.func.attr in LEVELS
            ):
                assert isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno}: the event's name is a constant"
                yield f"{path}:{node.lineno}", node.args[0].value, {str(keyword.arg) for keyword in node.keywords}


def test_every_event_has_its_words_and_every_word_its_event() -> None:
    used = set()
    for where, event, fields in events():
        assert event in log.WORDS, f"{where}: {event!r} has no words"
        wanted = {name for _, name, _, _ in string.Formatter().parse(log.WORDS[event]) if name}
        assert wanted <= fields, f"{where}: {event!r} lacks {wanted - fields}"
        used.add(event)
    assert set(log.WORDS) == used


def test_a_process_says_in_every_line_which_one_it_is(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_EVERYWHERE", {})
    log.set_up("json", "info", stream)
    log.everywhere(worker="w-1")
    log.get("test").info("server_stopped")
    log.get("test").info("left", worker="w-1.abc")
    logging.getLogger("library").warning("heard")
    assert [json.loads(line)["worker"] for line in stream.getvalue().splitlines()] == ["w-1", "w-1.abc", "w-1"]


def test_people_read_sentences(stream: io.StringIO) -> None:
    log.set_up("text", "info", stream)
    log.get("test").warning("worker_died", name="worker-1", status=-9)
    log.get("test").debug("worker_died", name="unheard", status=0)
    line = stream.getvalue()
    assert "warning worker-1 ended with status -9" in line.replace("has ended", "ended")
    assert line.count("\n") == 1 and "{" not in line


def test_programs_read_json(stream: io.StringIO) -> None:
    log.set_up("json", "info", stream)
    log.get("test").info("server_back", away_s=2.5)
    entry = json.loads(stream.getvalue())
    assert entry["event"] == "server_back" and entry["away_s"] == 2.5 and entry["level"] == "info"
    assert entry["message"] == "the server answers again after 2.5 s" and entry["at"].endswith("Z")


@pytest.mark.parametrize(("terminal", "is_json"), [(True, False), (False, True)])
def test_auto_is_text_on_a_terminal(stream: io.StringIO, terminal: bool, is_json: bool) -> None:
    stream.isatty = lambda: terminal  # type: ignore[method-assign]
    log.set_up("auto", "info", stream)
    log.get("test").info("server_stopped")
    assert stream.getvalue().startswith("{") is is_json


def test_a_traceback_is_kept(stream: io.StringIO) -> None:
    for form in ("text", "json"):
        log.set_up(form, "info", stream)
        try:
            raise ZeroDivisionError("a bug")
        except ZeroDivisionError:
            log.get("test").exception("loop_failed", loop="claim")
    text, entry = stream.getvalue().split("\n{")
    assert "Traceback" in text and "a bug" in text
    assert "ZeroDivisionError: a bug" in json.loads("{" + entry)["exception"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_nothing_secret_is_written(stream: io.StringIO, form: str) -> None:
    log.set_up(form, "info", stream)
    error = ConnectionError("cannot reach https://ana:hunter2@host/v1 with Authorization: Bearer hunter2")
    log.get("test").warning(
        "server_unreachable", error=error, token="hunter2", hook_secret="hunter2", headers={"Authorization": "hunter2"}
    )
    log.get("test").warning("server_unreachable", error=[str(error)])
    logging.getLogger("library").warning("GET postgresql://ana:hunter2@host/db")
    assert "hunter2" not in stream.getvalue()
    assert "host/db" in stream.getvalue()


def test_an_error_without_words_is_named(stream: io.StringIO) -> None:
    log.set_up("text", "info", stream)
    log.get("test").warning("signals_lost", error=TimeoutError())
    assert stream.getvalue().rstrip().endswith("TimeoutError")


def test_a_wrong_field_never_costs_the_line(stream: io.StringIO) -> None:
    log.set_up("text", "info", stream)
    log.get("test").warning("server_back", away_s="?")
    log.get("test").warning("server_back")
    assert stream.getvalue().count("the server answers again") == 2


def test_libraries_take_the_same_road_from_warning_on(stream: io.StringIO) -> None:
    log.set_up("json", "info", stream)
    logging.getLogger("library").info("unheard")
    logging.getLogger("library").warning("heard %s", 1)
    assert json.loads(stream.getvalue())["message"] == "heard 1"


def test_importing_changes_nothing_and_writes_nothing_to_stdout() -> None:
    code = (
        "import logging, structlog\n"
        "from rota import log\n"
        "assert not structlog.is_configured() and not logging.getLogger().handlers\n"
        "log.get('x').info('server_stopped'); log.get('x').warning('server_back', away_s=1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "" and done.stderr == "the server answers again after 1.0 s\n"
