from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from rota.core.errors import Invalid
from rota.settings import TABLE, Settings, load, table

DOCS = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_table_in_the_docs_is_the_table() -> None:
    assert table() in DOCS.read_text("utf-8")


def test_every_field_has_a_row_and_every_row_a_field() -> None:
    assert [setting.field for setting in TABLE] == [field.name for field in msgspec.structs.fields(Settings)]


def test_flags_win_over_variables_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "rota.toml"
    file.write_text('port = 1\nhost = "a"\nlease = "1m"\napps = ["x:app", "y:app"]\n[client]\ntimeout = 5\n')
    got = load({"port": 3, "store": None}, environ={"ROTA_PORT": "2", "ROTA_HOST": "b", "ROTA_STORE": ""}, file=file)
    assert (got.port, got.host, got.lease_s, got.apps, got.timeout_s) == (3, "b", 60.0, ("x:app", "y:app"), 5.0)
    assert got.store == "sqlite:///rota.db"


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"ROTA_PORT": "9", "ROTA_HOST": "::1"}, "http://[::1]:9"),
        ({"ROTA_HOST": "0.0.0.0"}, "http://127.0.0.1:8000"),
        ({"ROTA_PORT": "9", "ROTA_SERVER": "unix:/x"}, "unix:/x"),
    ],
)
def test_the_servers_url(environ: dict[str, str], url: str, tmp_path: Path) -> None:
    assert load(environ=environ, file=tmp_path / "none").server_url == url


@pytest.mark.parametrize(
    ("name", "text"),
    [("ROTA_PORT", "65536"), ("ROTA_LEASE", "0"), ("ROTA_LEASE", "soon"), ("ROTA_TZ", "Mars/Base"), ("ROTA_SLOTS", "0"),
     ("ROTA_APIS", "a,e"), ("ROTA_APIS", ","), ("ROTA_LOG_FORMAT", "xml"), ("ROTA_WORKERS", "-1")],
)  # fmt: skip
def test_a_bad_variable_is_named(name: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid) as caught:
        load(environ={name: text}, file=tmp_path / "none")
    assert caught.value.field == name


@pytest.mark.parametrize("text", ["prot = 1", "port = true", "= 1", "[server]\nport = 1", "port = 70000"])
def test_a_bad_file_is_named(text: str, tmp_path: Path) -> None:
    file = tmp_path / "rota.toml"
    file.write_text(text)
    with pytest.raises(Invalid, match=r"rota\.toml"):
        load(environ={}, file=file)


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="ROTA_CONFIG"):
        load(environ={"ROTA_CONFIG": str(tmp_path / "none.toml")})


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    got = load(environ={"ROTA_HOOK_SECRET": "whsec_abc", "ROTA_TOKEN": "tok"}, file=tmp_path / "none")
    assert got.hook_secret == "whsec_abc"
    assert "abc" not in repr(got)
    assert "tok'" not in repr(got)


@pytest.mark.parametrize(("text", "letters"), [("a,b", "ab"), (" d , a,d", "da"), ("none", ""), ("", "abcd")])
def test_the_older_apis_are_chosen_by_letters(text: str, letters: str, tmp_path: Path) -> None:
    assert load(environ={"ROTA_APIS": text}, file=tmp_path / "none").apis == tuple(letters)
