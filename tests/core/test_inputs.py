from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from rota.core.inputs import BadInput, arguments, has_placeholder, quote, render, text_of

# --- as a text


@pytest.mark.parametrize(
    ("item", "text"),
    [
        (b'"a b"', "a b"),
        (b'""', ""),
        (b'"\\u00e4\\n\\t\\""', 'ä\n\t"'),
        (b'"1"', "1"),
        (b"1", "1"),
        (b"1.50", "1.50"),
        (b"123456789012345678901234567890", "123456789012345678901234567890"),
        (b"true", "true"),
        (b"null", "null"),
        (b'{"a" : [1,\n 2], "b": "x y"}', '{"a":[1,2],"b":"x y"}'),
        (b"[ ]", "[]"),
    ],
)
def test_a_string_is_its_text_and_other_json_its_compact_text(item, text):
    assert text_of(item) == text_of(Raw(item)) == text


@pytest.mark.parametrize("item", [b'"a\\u0000b"', b'"\\u0000"'])
def test_an_input_with_a_nul_is_a_bad_one(item):
    with pytest.raises(BadInput, match="NUL"):
        text_of(item)


@pytest.mark.parametrize("item", [b"", b"{", b'"a', b"nope"])
def test_what_is_no_json_is_a_bad_input(item):
    with pytest.raises(BadInput, match="not JSON"):
        text_of(item)


# --- as arguments


@pytest.mark.parametrize(
    ("data", "args", "item", "positional", "keywords"),
    [
        ("null", "[]", None, [], {}),
        ("null", "[1]", None, [1], {}),
        ('{"a": 1}', "[]", None, [], {"a": 1}),
        ("[1, 2]", "[]", None, [[1, 2]], {}),
        ("5", "[1, null]", None, [1, None, 5], {}),
        (" null", "[]", None, [], {}),
        ("null", "[]", "7", [7], {}),
        ("null", "[]", "null", [None], {}),
        ("null", "[]", " null ", [None], {}),
        ("null", "[]", "false", [False], {}),
        ("null", '["x"]', '"a"', ["x", "a"], {}),
        ("null", "[]", "[1, 2]", [[1, 2]], {}),
        ("null", "[]", '{"a": 1}', [], {"a": 1}),
        ("null", "[]", "{}", [], {}),
        ('{"a": 1, "b": 2}', "[]", '{"a": 3}', [], {"a": 3, "b": 2}),
        ('{"a": 1}', "[0]", '"x"', [0, "x"], {"a": 1}),
        ('{"a": 1}', "[0]", "null", [0, None], {"a": 1}),
        ("4", "[0]", '{"a": 1}', [0, 4], {"a": 1}),
    ],
)
def test_data_and_input_become_arguments(data, args, item, positional, keywords):
    got = arguments(data.encode(), args.encode(), None if item is None else item.encode())
    assert got == (positional, keywords)


def test_keywords_of_one_call_are_no_others():
    first = arguments(b'{"a": 1}', b"[]", b'{"b": 2}')[1]
    first["c"] = 3
    assert arguments(b'{"a": 1}', b"[]", b'{"b": 2}')[1] == {"a": 1, "b": 2}


# --- in a command

PATHS = [
    *("a", "a.b", "a.b.c", "a/b", "a/b.c", "a/b.c/d", "a.b/c", "a.b/", "a/b/", "a//b", "//a", "/a", "/", "//"),
    *(
        ".",
        "..",
        ".a",
        "a.",
        "a/.b",
        "a/.b.c",
        "a/..",
        "./a",
        "../a.b",
        "/a.b/c.d.e",
        "a b.c d",
        "-n",
        "--",
        "a///",
        "/a/",
    ),
    *(
        "it's",
        "'",
        "''",
        "'a",
        "a'",
        "a''b",
        '"',
        'a"b',
        "$HOME",
        "`id`",
        "\\",
        "\\n",
        "*",
        "~",
        "#",
        "%",
        "{}",
        "{.}",
        "!x",
    ),
    *("ä.ö", "a@b", "a=b", "a,b:c", "a\tb", " a", "a ", "\x01", "€/🦊.x"),
]
EVERY = "{}|{.}|{/}|{//}|{/.}|{#}"


def test_what_each_placeholder_gives():
    command = "x {} {.} {/} {//} {/.} {#} {%}"
    assert render(command, "a/b.c.d", number=7, slot=2) == "x a/b.c.d a/b.c b.c.d a b.c 7 2"
    assert render(command, "b", number=1) == "x b b b . b 1 1"


def test_without_a_placeholder_the_input_is_the_last_word():
    assert render("echo x", "a b", number=1) == "echo x 'a b'"
    assert render("echo", "", number=1) == "echo ''"
    assert render("", "date", number=1) == "date"
    assert render("echo {#}", "a", number=3) == "echo 3"


@pytest.mark.parametrize("text", ["{ }", "{...}", "{a}", "{{}", "{}}", "${#}", "{/}{.}", "{1}"])
def test_only_whole_placeholders_count(text):
    expected = text.replace("{/}{.}", "xx").replace("{}", "x").replace("{#}", "4")
    assert render(f": {text}", "x", number=4) == f": {expected}" + ("" if expected != text else " x")
    assert has_placeholder(text) == (expected != text)


def test_a_value_is_never_filled_in_again():
    assert render(": {} {/}", "{#}/{}", number=3) == ": '{#}/{}' '{}'"


def test_an_input_is_a_command_where_the_first_word_has_a_placeholder():
    assert render("{}", "echo a b", number=1) == render("", "echo a b", number=1) == "echo a b"
    assert render("{} {}", "a b", number=1) == "a b a b"
    assert render("x;{}", "a b", number=1) == "x;a b"
    assert render("x; {}", "a b", number=1) == "x; 'a b'"
    assert render("A={} x", "a b", number=1) == "A='a b' x"


def test_a_placeholder_can_be_asked_for():
    assert has_placeholder("a {%}", "{%}") and not has_placeholder("a {#}", "{%}")


@given(st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=20))
def test_the_shell_sees_the_input_exactly(text):
    seen = subprocess.run(["/bin/sh", "-c", render("printf '%s' {}", text, number=1)], capture_output=True, check=True)
    assert seen.stdout.decode() == text


def test_the_shell_sees_one_word_exactly_even_beside_others():
    for text in PATHS:
        command = render("printf '<%s>' pre{}post {}{}", text, number=1)
        seen = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=True).stdout.decode()
        assert seen == f"<pre{text}post><{text}{text}>"


def test_words_that_need_no_quotes_have_none():
    assert quote("a-b_c.d+e/F9") == "a-b_c.d+e/F9"
    assert quote("a@b") == "'a@b'"
    assert quote("it's") == """'it'"'"'s'"""
    assert quote("'") == '''"'"'''


# --- beside the real one

needs_parallel = pytest.mark.skipif(
    shutil.which("parallel") is None, reason="GNU parallel is not installed here: nothing to compare with"
)


def _parallel(*arguments: str, inputs: list[str]) -> list[str]:
    command = ["parallel", "--will-cite", "--dry-run", "-0", "-k", "-j1", *arguments]
    ran = subprocess.run(command, input="\0".join(inputs), capture_output=True, text=True, check=True, timeout=60)
    return ran.stdout.rstrip("\n").split("\n")


@needs_parallel
def test_each_placeholder_is_what_gnu_parallel_makes_of_it():
    theirs = _parallel(f"echo {EVERY}", inputs=PATHS)
    assert [render(f"echo {EVERY}", text, number=n) for n, text in enumerate(PATHS, 1)] == theirs


@needs_parallel
@pytest.mark.parametrize(
    "command",
    [
        "echo",
        "echo {#}",
        "echo '{}'",
        'echo "{}"',
        "{} x",
        "a {}b{.}c",
        "{/}{//}",
        "{{}}",
        "{%}",
        "echo { }",
        "{}",
        "x;{}",
        "A={} b",
        "a|{} {/}",
    ],
)
def test_commands_are_filled_in_as_gnu_parallel_does(command):
    texts = [text for text in PATHS if text != "\x01"]
    assert [render(command, text, number=n) for n, text in enumerate(texts, 1)] == _parallel(command, inputs=texts)


@needs_parallel
def test_texts_at_random_are_filled_in_as_gnu_parallel_does():
    import random

    rng = random.Random(3)
    texts = ["".join(rng.choices("a.b/'\"$\\ {}#%é-", k=rng.randint(1, 12))) for _ in range(300)]
    assert [render(f"x {EVERY}", t, number=n) for n, t in enumerate(texts, 1)] == _parallel(f"x {EVERY}", inputs=texts)


def test_json_round_trip_of_any_text():
    for text in PATHS:
        assert text_of(json.dumps(text).encode()) == text
        assert not re.search("\0", text)
