"""The drain rate against the size of the backlog: Rota on both stores, and pgqueuer; a row each, and a chart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench import chart
from bench.figures import Row
from bench.peering import drained, present
from bench.peers.scene import scene
from bench.peers.table import OURS, PEERS, Peer
from bench.scale import Scale

CHART = Path(__file__).parent / "backlog.svg"
_SIZES = (1_000, 3_000, 10_000, 30_000, 100_000)


def rows(scale: Scale) -> Iterator[Row]:
    """Drain backlogs of several sizes, each once; draw them when they are measured in full."""
    sizes = [scale.jobs(size) for size in _SIZES]
    lines: list[tuple[str, list[tuple[float, float]]]] = []
    for peer in present([OURS["sqlite"], OURS["postgres"], PEERS["pgqueuer"]]).values():
        rates = [_rate(peer, size) for size in sizes]
        lines.append((peer.name, list(zip(sizes, rates, strict=True))))
        for size, rate in zip(sizes, rates, strict=True):
            yield Row(f"drain of a backlog of {size:,}: {peer.name}", [rate], "/s")
    if scale.share == 1:
        CHART.write_text(chart.draw("Jobs drained a second, by how many waited", lines), encoding="utf-8")


def _rate(peer: Peer, size: int) -> float:
    with scene(peer) as here:
        here.produce("prepare")
        here.produce("bulk", size)
        with here.running(peer.workers):
            here.ticks.wait(size, 60.0)
            return drained(here)
