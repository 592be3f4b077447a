"""Modules joined to one file mean what they meant apart."""

from __future__ import annotations

import pytest

from rota.http.modules import join, wanted_later


def test_modules_are_called_once_each_after_those_that_they_import() -> None:
    texts = {
        "main.js": """import Page from "./pages/page.js";
import { one, two as other } from "./parts/part.js";
start(Page, one, other);""",
        "pages/page.js": """import {
  one,
} from "../parts/part.js";
export default function Page() { return one; }""",
        "parts/part.js": """export const one = 1;
function own() {}
export async function load() { return import("../vendor/big.js"); }
export { own as two };""",
    }
    joined = join(texts, "main.js")
    meant = """// parts/part.js
const $parts_part_js = (() => {
const one = 1;
function own() {}
async function load() { return import("./vendor/big.js"); }

return { one: one, load: load, two: own };
})();
// pages/page.js
const $pages_page_js = (() => {
const { one: one } = $parts_part_js;
function Page() { return one; }
return { default: Page };
})();
// main.js
const $main_js = (() => {
const { default: Page } = $pages_page_js;
const { one: one, two: other } = $parts_part_js;
start(Page, one, other);
return {  };
})();
"""
    assert joined == meant
    assert wanted_later(joined) == {"./vendor/big.js"}


def test_a_list_of_exports_at_the_end_of_one_long_line() -> None:
    joined = join({"a.js": "var n=1,e=2;export{n as h,e as html,n as _e};"}, "a.js")
    assert "var n=1,e=2;\nreturn { h: n, html: e, _e: n };" in joined


@pytest.mark.parametrize(
    "line",
    [
        'import * as all from "./b.js";', 'import "./b.js";', "import first, { n } from './b.js';",
        'export * from "./b.js";', "export default 1;", "export let n = 1;",
    ],
)  # fmt: skip
def test_what_cannot_be_joined_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"a\.js: cannot join"):
        join({"a.js": line, "b.js": "export const n = 1;"}, "a.js")


def test_modules_that_import_each_other_are_refused() -> None:
    texts = {"a.js": 'import { b } from "./b.js";', "b.js": 'import { a } from "./a.js";'}
    with pytest.raises(ValueError, match=r"a\.js > b\.js > a\.js"):
        join(texts, "a.js")
