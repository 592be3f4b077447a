"""Names of container images, as registries and engines take them (the grammar of distribution/reference)."""

from __future__ import annotations

import re

_PART = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]{{1,5}})?"
_TAG = r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
_IMAGE = re.compile(rf"(?:{_HOST}/)?{_PART}(?:/{_PART})*{_TAG}", re.ASCII)


def is_image(text: str) -> bool:
    """Say whether this can be the reference of an image: `busybox`, `registry/name:tag`, `name@sha256:...`."""
    return len(text) <= 500 and _IMAGE.fullmatch(text) is not None
