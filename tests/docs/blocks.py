"""Reads the code blocks of a Markdown document, and what the comment above each says shall be done with it.

    <!-- file: NAME -->       write the block as this file into the reader's folder
    <!-- serve -->            start its command, which goes on in the background, and wait until workers are there
    <!-- run -->              run its commands; each must end with status 0
    <!-- run: exits N -->     run its commands; the last must end with status N
    <!-- not run: WHY -->     leave it

In a `console` block lines that start with `$ ` are commands, which `\\` or `> ` may continue, and the others are what they
print: `…` stands for anything within a line, and a line of `…` alone for any number of lines. Commands that show
nothing may print anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"<!-- (file|serve|run|not run)(?:: (.*?))? -->\s*\Z")


@dataclass
class Command:
    """A command and the lines that it is said to print."""

    text: str
    prints: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Block:
    """A block: its language, its text, and its mark (None when it has none)."""

    language: str
    text: str
    line: int
    mark: str | None
    detail: str

    @property
    def commands(self) -> list[Command]:
        """Return the commands of a `console` or `bash` block."""
        if self.language == "bash":
            return [Command(self.text)]
        commands: list[Command] = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                commands.append(Command(line[2:]))
            elif line.startswith("> ") or (commands and commands[-1].text.endswith("\\")):
                commands[-1].text += "\n" + line.removeprefix("> ")
            else:
                commands[-1].prints.append(line)
        return commands


def blocks(document: Path) -> list[Block]:
    """Return the blocks of a document, in order."""
    text = document.read_text(encoding="utf-8")
    found = []
    for fence in _FENCE.finditer(text):
        mark = _MARK.search(text, 0, fence.start())
        indent = len(fence[1])
        body = "".join(line[indent:] if line.strip() else line for line in fence[3].splitlines(keepends=True))
        found.append(
            Block(
                language=fence[2],
                text=body,
                line=text.count("\n", 0, fence.start()) + 1,
                mark=mark[1] if mark else None,
                detail=(mark[2] or "") if mark else "",
            )
        )
    return found


def matches(expected: list[str], printed: list[str]) -> bool:
    """Say whether what was printed is what the document shows."""
    if not expected:
        return True
    parts = [r"(?:.*\n)*" if line == "…" else re.escape(line).replace("…", ".*") + r" *\n" for line in expected]
    return re.fullmatch("".join(parts), "".join(f"{line}\n" for line in printed)) is not None
