"""Stars in the place of secrets, in a stream that comes in pieces."""

from __future__ import annotations

import re
from collections.abc import Iterable

STARS = b"***"
_LEAST_LINE = 8  # of a value of several lines each that is so long is hidden by itself, for programs that indent it


class Redactor:
    """Puts stars for secrets in a stream of bytes, wherever it is cut: what may be the beginning of one is held back."""

    def __init__(self, values: Iterable[str]) -> None:
        patterns = {piece.encode("utf-8", "surrogateescape") for value in values for piece in _pieces(value)}
        # The longest first: one may begin like another.
        self._pattern = re.compile(b"|".join(map(re.escape, sorted(patterns, key=len, reverse=True))))
        self._patterns = patterns
        self._firsts = frozenset(pattern[0] for pattern in patterns)
        self._longest = max(map(len, patterns))
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Return what can be shown of what was held back and this."""
        data = self._held + data
        out: list[bytes] = []
        at = 0
        open_at = self._open_at(data, 0)
        while (found := self._pattern.search(data, at)) is not None and found.start() < open_at:
            out += (data[at : found.start()], STARS)
            at = found.end()
            if at > open_at:
                open_at = self._open_at(data, at)
        out.append(data[at:open_at])
        self._held = data[open_at:]
        return b"".join(out)

    def end(self) -> bytes:
        """Return what was held back, now that nothing follows; a secret that begins like a longer one is hidden in it too."""
        held, self._held = self._held, b""
        return self._pattern.sub(STARS, held)

    def _open_at(self, data: bytes, after: int) -> int:
        """Return where the first thing begins that may go on as a secret."""
        for at in range(max(after, len(data) - self._longest + 1), len(data)):
            if data[at] in self._firsts:
                tail = data[at:]
                if any(len(pattern) > len(tail) and pattern.startswith(tail) for pattern in self._patterns):
                    return at
        return len(data)


def _pieces(value: str) -> list[str]:
    lines = [line.strip() for line in value.splitlines()]
    return [value, *(line for line in lines if len(line) >= _LEAST_LINE)]
