"""Where the inputs of an array come from on a command line: words, the lines of a file, the lines of standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from rota.core.errors import Invalid

STDIN = "standard input"
_PIECE = 1 << 20


def words(given: list[str]) -> Iterator[str]:
    """Give the words of a command line. Raises Invalid for one that is not UTF-8."""
    for n, word in enumerate(given, 1):
        try:
            word.encode()
        except UnicodeEncodeError:  # what Python makes of other bytes is no text, and cannot be sent as JSON
            raise Invalid("INPUT", f"number {n} is not UTF-8: {word!r}; {_WAY_OUT}") from None
        yield word


def lines_of(file: str, separator: bytes = b"\n") -> Iterator[str]:
    """Give the lines of a file, or of standard input (`-`), without their ends, one after another as they are read.

    `separator` is what ends a line: a newline, or NUL. Raises Invalid for a file that cannot be read, and for a line that
    is not UTF-8 or holds a NUL, with its number.
    """
    if file == "-":
        yield from _decoded(sys.stdin.buffer, STDIN, separator)
        return
    try:
        with Path(file).open("rb") as stream:
            yield from _decoded(stream, file, separator)
    except OSError as wrong:
        raise Invalid(file, wrong.strerror or str(wrong)) from None


def _decoded(stream: BinaryIO, name: str, separator: bytes) -> Iterator[str]:
    lines = stream if separator == b"\n" else _split(stream, separator)
    for n, line in enumerate(lines, 1):
        try:
            text = line.removesuffix(separator).decode()
        except UnicodeDecodeError as wrong:
            raise Invalid(name, f"line {n} is not UTF-8 (byte {wrong.start + 1} of it); {_WAY_OUT}") from None
        if "\0" in text:
            raise Invalid(name, f"line {n} holds a NUL, which no argument can; -0 reads inputs that end with NUL")
        yield text


def _split(stream: BinaryIO, separator: bytes) -> Iterator[bytes]:
    rest = b""
    while piece := stream.read(_PIECE):
        *whole, rest = (rest + piece).split(separator)
        yield from whole
    if rest:
        yield rest


_WAY_OUT = "inputs are texts: convert it (iconv -t utf-8), or give a number or a pattern that names the file"
