"""How fast jobs are taken in. Every answer comes after the commit that makes its jobs durable."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator

import msgspec

from bench import limits
from bench.figures import Row
from bench.load import post_all
from bench.scale import Scale
from bench.server import Server, new_store

_DATA = {"n": 1, "payload": "x" * 80}
_BULK = 10_000


def rows(scale: Scale) -> Iterator[Row]:
    """Submit to a server without workers, one by one and in bulk."""
    with new_store() as store, store.serve(workers=0) as server:
        _sdk(server, scale.jobs(1_000))  # warm-up
        yield Row(
            "submit one by one, one SDK client",
            [_sdk(server, scale.jobs(5_000)) for _ in scale.repetitions()],
            "/s",
            "≥ 1,500/s (design)",
            limits.FSYNC,
        )
        body = msgspec.json.encode({"handler": "noop", "data": _DATA})
        for connections, required in ((1, ""), (64, "≥ 5,000/s (design)")):
            count = scale.jobs(20_000 if connections > 1 else 5_000)
            yield Row(
                f"submit one by one over HTTP, {connections} connection{'s' * (connections > 1)}",
                [
                    count / post_all(server.port, "/v1/jobs", body, count=count, connections=connections)
                    for _ in scale.repetitions()
                ],
                "/s",
                required,
                limits.SQLITE_SUBMIT if connections > 1 else limits.FSYNC,
            )
        yield Row(
            f"submit in bulk over HTTP, {_BULK:,} at once",
            [bulk(server) for _ in scale.repetitions()],
            "/s",
            "≥ 50,000/s (design)",
            limits.SQLITE_SUBMIT,
        )
        yield Row(
            f"submit in bulk, one SDK client, {_BULK:,} at once",
            [_bulk_sdk(server) for _ in scale.repetitions()],
            "/s",
            limit=limits.SQLITE_SUBMIT,
        )


def _sdk(server: Server, count: int) -> float:
    with server.client() as client:
        began = time.perf_counter()
        for _ in range(count):
            client.submit("noop", _DATA)
        return count / (time.perf_counter() - began)


def bulk(server: Server) -> float:
    """Return jobs a second of one request."""
    body = msgspec.json.encode([{"handler": "noop", "data": _DATA}] * _BULK)
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    began = time.perf_counter()
    connection.request("POST", "/v1/jobs/bulk", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    content = answer.read()
    took = time.perf_counter() - began
    connection.close()
    if answer.status != 201:
        raise RuntimeError(f"answered {answer.status}: {content[:200]!r}")
    return _BULK / took


def _bulk_sdk(server: Server) -> float:
    items = [{"handler": "noop", "data": _DATA}] * _BULK
    with server.client() as client:
        began = time.perf_counter()
        client.submit_many(items)
        return _BULK / (time.perf_counter() - began)
