"""Why a worker's registration is over."""

from __future__ import annotations

from enum import Enum, auto


class End(Enum):
    """How a registration ended."""

    DRAINED = auto()  # it holds nothing any more, as was asked
    FENCED = auto()  # by its own clock its leases may be over
    UNKNOWN = auto()  # the server does not know it (any more)
    STOPPED = auto()  # at once, as was asked
    BROKEN = auto()  # what runs the jobs has failed
