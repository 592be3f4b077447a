from __future__ import annotations

import re
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.core.templates import names, render

# Whatever a shell could trip over, more often than plain letters; bash has no NUL and no lone surrogates.
nasty = st.text(
    st.sampled_from("'\"\\$`!*?[]{}()<>|&;#~=%^ \t\n\r-a\x01\x7fäß€🦊")
    | st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]),
    max_size=30,
)


def _nasty_values() -> list[str]:
    import hypothesis

    values = ["", "'", '"', "\\", "$(id)", "`id`", "{{x}}", "a'b\"c", "-n", "--", "\n", "~", "*", "!!", "%s", "\\{{x}}"]

    @hypothesis.settings(max_examples=400)
    @given(nasty)
    def collect(value: str) -> None:
        values.append(value)

    collect()
    return values


def test_bash_sees_each_variable_as_one_word_exactly():
    values = _nasty_values()
    assert len(values) > 300
    script = "\n".join(f"printf '%s\\0' {{{{v{n}}}}}" for n in range(len(values)))
    text = render(script, {f"v{n}": value for n, value in enumerate(values)})
    for start in range(0, len(values), 100):  # the command line has a limit
        piece = "\n".join(f"printf '%s\\0' {{{{v{n}}}}}" for n in range(start, min(start + 100, len(values))))
        piece = render(piece, {f"v{n}": value for n, value in enumerate(values)})
        done = subprocess.run(["bash", "-c", piece], stdout=subprocess.PIPE, timeout=30, check=True)
        assert done.stdout.decode().split("\0")[:-1] == values[start : start + 100]
    done = subprocess.run(["bash"], input=text.encode(), stdout=subprocess.PIPE, timeout=30, check=True)
    assert done.stdout.decode().split("\0")[:-1] == values


@given(nasty)
def test_raw_is_put_in_as_it_is(value: str):
    assert render("a{{x|raw}}b", {"x": value}) == f"a{value}b"
    assert render("a{{ x | raw }}b", {"x": value}) == f"a{value}b"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (r"\{{x}}", "{{x}}"),
        (r"\{{", "{{"),
        (r"\{{ x | raw }}", "{{ x | raw }}"),
        ("{{.State}}", "{{.State}}"),
        ("docker inspect -f '{{.Name}} {{json .Config}}'", "docker inspect -f '{{.Name}} {{json .Config}}'"),
        ("${HOME} {x} { {x} }", "${HOME} {x} { {x} }"),
        ("{{1x}} {{x-y}} {{}} {{x", "{{1x}} {{x-y}} {{}} {{x"),
        ("{{x}}", "1"),
        ("{{ x }}{{\tx}}", "11"),
        ("{{{x}}}", "{{{x}}}".replace("{{x}}", "1")),
    ],
)
def test_literal_forms(template: str, expected: str):
    assert render(template, {"x": "1"}) == expected


@given(st.text(max_size=60))
def test_a_text_without_placeholders_stays_as_it_is(text: str):
    text = re.sub(r"\{\{", "{ {", text)
    assert render(text, {}) == text
    assert names(text) == []


@given(st.text(st.sampled_from("{}\\|x_ raw.1\n"), max_size=60))
def test_render_wants_exactly_the_names(template: str):
    wanted = names(template)
    filled = render(template, dict.fromkeys(wanted, "v"))
    assert isinstance(filled, str)
    for name in wanted:
        rest = dict.fromkeys(wanted, "v")
        del rest[name]
        with pytest.raises(KeyError, match=name):
            render(template, rest)


def test_names_are_told_once_in_order():
    assert names(r"{{b}} {{a|raw}} \{{c}} {{ b }} {{.d}} {{_e1}}") == ["b", "a", "_e1"]


def test_values_are_not_templates():
    assert render("{{a}} {{b|raw}}", {"a": "{{b}}", "b": "{{a}}"}) == "'{{b}}' {{a}}"
