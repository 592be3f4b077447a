"""What a worker offers: which lanes of which queues it serves, and with how many slots."""

from __future__ import annotations

from rota.core.jobs import ARRAY_LANE, IMAGE_LANE, PULL_LANE, SCRIPT_LANE, Free, HandlerSpec, WorkerHello, family_of
from rota.core.needs import base_of, labels_of, needs_of, slots_of
from rota.service.signals import Rooms


class Offer:
    """What a worker can run, by what it said at its registration."""

    def __init__(self, hello: WorkerHello) -> None:
        self._hello = hello
        prefix = PULL_LANE if hello.pull else ""
        self.specs: dict[str, HandlerSpec | None] = {prefix + spec.name: spec for spec in hello.handlers}
        if hello.scripts:
            self.specs[SCRIPT_LANE] = None
        if hello.images:
            self.specs[IMAGE_LANE] = None
        if hello.arrays:
            self.specs |= {ARRAY_LANE + lane: spec for lane, spec in self.specs.items()}
        if hello.pull and not hello.handlers:
            self.specs[PULL_LANE] = None
        self._async = frozenset(lane for lane in self.specs if self.is_async(lane))
        self._process = frozenset(self.specs) - self._async
        self.queues = frozenset(hello.queues)
        self.token = hello.token
        self.labels = labels_of(hello.labels)

    def spec(self, lane: str) -> HandlerSpec | None:
        """Return what it said of a lane that it serves; nothing of scripts, images, and tasks it takes without a word."""
        return self.specs.get(base_of(lane))

    def is_async(self, lane: str) -> bool:
        """Say whether jobs of a lane share an event loop there."""
        spec = self.spec(lane)
        return spec is not None and spec.mode == "async"

    def rooms(self, free: Free) -> Rooms:
        """Return its groups of lanes, and how many slots are free for each."""
        return (self._process, min(free.process, free.total)), (self._async, min(free.asynchronous, free.total))

    def offers(self, lane: str) -> bool:
        """Say whether it can run jobs of a lane, but for what they need."""
        base = base_of(lane)
        return base in self.specs or family_of(base) in self.specs

    def lacks(self, lane: str) -> frozenset[tuple[str, str]]:
        """Return what a lane's jobs need, and it has not."""
        return needs_of(lane) - self.labels

    def serves(self, queue: str, lane: str) -> bool:
        """Say whether it takes jobs of a lane from a queue."""
        return (
            self.offers(lane)
            and (not self.queues or queue in self.queues)
            and not self.lacks(lane)
            and (slots_of(lane) == 1 or self.slots(lane) > 0)
        )

    def total(self, lane: str) -> int:
        """Return how many slots it has for jobs of a lane, busy or not."""
        hello = self._hello
        slots = hello.async_slots if self.is_async(lane) else hello.slots
        return slots if hello.max_jobs is None else min(slots, hello.max_jobs)

    def slots(self, lane: str) -> int:
        """Return how many jobs of a lane it runs at once at most."""
        return self.total(lane) // slots_of(lane)
