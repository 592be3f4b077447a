"""ES modules joined to one file, so that a browser asks for one and not for thirty.

Nothing is compiled and no line is moved: each module becomes a function that is called once, after those that it imports,
and returns what it exports. What a module imports only when it is wanted, `import("…")`, stays a file of its own.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

_IMPORT = re.compile(r"^import (?:(?P<default>\w+)|\{(?P<names>[^}]*)\}) from \"(?P<path>\.[^\"]+)\";$", re.MULTILINE)
_LATER = re.compile(r"\bimport\(\"(?P<path>\.[^\"]+)\"\)")
_DECLARED = re.compile(
    r"^export (?P<default>default )?(?=(?:(?:async )?function|const|class) (?P<name>\w+))", re.MULTILINE
)
_LIST = re.compile(r"(?:^|(?<=;))export ?\{(?P<names>[^}]*)\};", re.MULTILINE)
_LEFT = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)


def join(texts: Mapping[str, str], root: str) -> str:
    """Return `root` and all that it imports as one module, which lies where `root` does; `texts` are the modules by their path.

    Raises ValueError for what cannot be joined: modules that import each other, and forms of `import` and `export` that are
    not those of the dashboard.
    """
    done: dict[str, str] = {}
    _add(texts, root, (), done)
    return "".join(done.values())


def wanted_later(text: str) -> set[str]:
    """Return the paths that a module asks for only when they are wanted."""
    return {found["path"] for found in _LATER.finditer(text)}


def _add(texts: Mapping[str, str], path: str, above: tuple[str, ...], done: dict[str, str]) -> None:
    if path in done:
        return
    if path in above:
        raise ValueError(f"modules import each other: {' > '.join([*above, path])}")
    folder = posixpath.dirname(path)
    for found in _IMPORT.finditer(texts[path]):
        _add(texts, _resolve(folder, found["path"]), (*above, path), done)
    done[path] = _wrap(path, texts[path], posixpath.dirname((*above, path)[0]))


def _wrap(path: str, text: str, home: str) -> str:
    """Return a module as a function, called; `home` is the folder of the joined file."""
    folder = posixpath.dirname(path)
    exports: dict[str, str] = {}

    def take(found: re.Match[str]) -> str:
        exports["default" if found["default"] else found["name"]] = found["name"]
        return ""

    def take_list(found: re.Match[str]) -> str:
        exports.update({name: own for own, name in _names(found["names"])})
        return ""

    def bring(found: re.Match[str]) -> str:
        names = [("default", found["default"])] if found["default"] else _names(found["names"])
        of = _variable(_resolve(folder, found["path"]))
        return f"const {{ {', '.join(f'{name}: {own}' for name, own in names)} }} = {of};"

    def turn(found: re.Match[str]) -> str:
        target = posixpath.relpath(_resolve(folder, found["path"]), home or ".")
        return f'import("./{target}")'

    for form, change in ((_DECLARED, take), (_LIST, take_list), (_IMPORT, bring), (_LATER, turn)):
        text = form.sub(change, text)
    if left := _LEFT.search(text):
        raise ValueError(f"{path}: cannot join {left[0][:80]!r}")
    given = ", ".join(f"{name}: {own}" for name, own in exports.items())
    return f"// {path}\nconst {_variable(path)} = (() => {{\n{text}\nreturn {{ {given} }};\n}})();\n"


def _names(text: str) -> list[tuple[str, str]]:
    """Return (the name before `as`, the one after it) of each, twice the same without it."""
    pairs = [each.split(" as ") for each in text.replace("\n", " ").split(",") if each.strip()]
    return [(pair[0].strip(), pair[-1].strip()) for pair in pairs]


def _resolve(folder: str, path: str) -> str:
    return posixpath.normpath(posixpath.join(folder, path))


def _variable(path: str) -> str:
    return "$" + re.sub(r"\W", "_", path)
