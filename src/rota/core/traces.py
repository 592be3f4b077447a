"""The names of spans, as W3C Trace Context writes them: `00-TRACE-SPAN-FLAGS`."""

from __future__ import annotations

import re

_NAME = re.compile(r"(?!ff)([0-9a-f]{2})-((?!0{32})[0-9a-f]{32})-((?!0{16})[0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


def read_traceparent(text: str) -> str | None:
    """Return a `traceparent` in the form of version 00, or None when it is none."""
    match = _NAME.fullmatch(text.strip())
    if match is None or (match[1] == "00" and match[5] is not None):
        return None
    return f"00-{match[2]}-{match[3]}-{match[4]}"


def trace_of(traceparent: str) -> str:
    """Return the id of the trace that a span belongs to."""
    return traceparent[3:35]
