"""What a hundred open dashboards cost the server, how soon a change is on the screen, and how soon a page shows something.

The followers do what the page does (`http/assets/ui/parts/load.js`, `live.js`): each holds a stream of events, asks again for
what it shows at once after a change, rarer while changes go on, and now and then anyway.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil

import rota
from bench import cluster
from bench.figures import Row, percentile
from bench.scale import Scale
from bench.server import Server, new_store, serving

_FOLLOWERS = 100
_SETTLE_S = 8.0
_WATCHED_S = 30.0
_LEAST_S, _CALM_S, _CALMER = 0.4, 2.0, 1.5
_CHANGES = 30
_LOADS = 10
_CHROMIUM = Path("/usr/bin/chromium")
# What the overview asks for: path, how often anyway (s; of `/v1/overview` while nothing runs), after a change of what.
_ANY, _NEVER = "any", "never"
_SHOWN: list[tuple[str, float, str]] = [
    ("/v1/overview", 10, _ANY),
    ("/v1/stats/series?step=60", 10, _NEVER),
    ("/v1/errors", 30, "failed"),
    ("/v1/queues", 30, _NEVER),
]

# The page itself says at which moment its counts have been painted. It is only listened to: whoever asks it meanwhile
# (`wait_for_function`) has it run a library of some 300 kB, and waits for that too.
_TOLD = "useful paint"
_WATCH = f"""new MutationObserver((_, watch) => {{
    if (!document.querySelector(".tile b")) return
    watch.disconnect()
    requestAnimationFrame(() => setTimeout(() => console.debug("{_TOLD}", performance.now())))
}}).observe(document, {{ childList: true, subtree: true }})"""
# What is painted first of all may be noted a little later.
_CONTENTFUL = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


def rows(scale: Scale) -> Iterator[Row]:
    """Follow a server on a store of each kind; look at the page itself where there is a Chromium."""
    followers = max(int(_FOLLOWERS * max(scale.share, 0.1)), 10)
    watched_s = _WATCHED_S if scale.share == 1 else 6.0
    with new_store() as store, store.serve(workers=2) as server:
        yield from _cost("SQLite", server, followers, watched_s)
        yield from _page(server, scale)
    if not cluster.found():
        print("LEFT OUT: PostgreSQL is not installed (Debian: apt-get install postgresql)", file=sys.stderr, flush=True)
        return
    with cluster.new_database() as database, serving(database.url, workers=2) as server:
        yield from _cost("PostgreSQL", server, followers, watched_s)


def _cost(kind: str, server: Server, followers: int, watched_s: float) -> Iterator[Row]:
    """Compare the server's processor time with and without followers, while nothing happens and with a job a second."""
    for what, every in (("nothing happens", None), ("a job a second runs", 1.0)):
        without = asyncio.run(_watch(server, 0, watched_s, every))
        beside = asyncio.run(_watch(server, followers, watched_s, every))
        name = f"{kind}: processor time of {followers} dashboards while {what}"
        yield Row(name, [max(0.0, beside - without)], "%", "≤ 5 % (issue)")


async def _watch(server: Server, followers: int, watched_s: float, every: float | None) -> float:
    """Return the share of a core, in percent, that the server took."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(server.url, connector=connector, timeout=aiohttp.ClientTimeout()) as session:
        tasks = [asyncio.create_task(_follow(session)) for _ in range(followers)]
        if every is not None:
            tasks.append(asyncio.create_task(_work(session, every)))
        await asyncio.sleep(_SETTLE_S)
        process = psutil.Process(server.process.pid)
        before = _spent(process)
        began = time.monotonic()
        await asyncio.sleep(watched_s)
        taken = 100 * (_spent(process) - before) / (time.monotonic() - began)
        for task in tasks:
            if task.done():
                task.result()  # raises what ended it
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return taken


async def _follow(session: aiohttp.ClientSession) -> None:
    """Do what a page with the overview does."""
    loads = [_Load(session, *shown) for shown in _SHOWN]
    tasks = [asyncio.create_task(load.run()) for load in loads]
    try:
        async with session.get("/v1/events?every=0.25", headers={"accept": "text/event-stream"}) as stream:
            async for line in stream.content:
                if line.startswith(b"event:"):
                    for load in loads:
                        load.hear(line[6:].strip().decode())
    finally:
        for task in tasks:
            task.cancel()


async def _work(session: aiohttp.ClientSession, every: float) -> None:
    while True:
        async with session.post("/v1/jobs", json={"handler": "noop", "data": {"n": 1}}) as answer:
            answer.raise_for_status()
        await asyncio.sleep(every)


class _Load:
    """One thing that a page shows: see `useLoad`."""

    def __init__(self, session: aiohttp.ClientSession, path: str, every: float, concern: str) -> None:
        self._session = session
        self._path = path
        self._every = every
        self._concern = concern
        self._told = asyncio.Event()
        self._told_at = 0.0
        self._pause = _LEAST_S

    def hear(self, kind: str) -> None:
        if self._concern not in (_ANY, kind):
            return
        now = time.monotonic()
        if now - self._told_at > self._pause:
            self._pause = _LEAST_S
        self._told_at = now
        self._told.set()

    async def run(self) -> None:
        while True:
            asked_at = time.monotonic()
            if self._told.is_set():
                self._pause = min(_CALM_S, self._pause * _CALMER)
                self._told.clear()
            async with self._session.get(self._path) as answer:
                answer.raise_for_status()
                await answer.read()
            cost = time.monotonic() - asked_at
            try:
                async with asyncio.timeout(self._every):
                    await self._told.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(max(0.03, asked_at + max(self._pause, 5 * cost) - time.monotonic()))


def _spent(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _page(server: Server, scale: Scale) -> Iterator[Row]:
    """Look at the page in a browser: when it shows something useful, and when a change."""
    if not _CHROMIUM.exists():
        print(f"LEFT OUT: there is no {_CHROMIUM} (Debian: apt-get install chromium)", file=sys.stderr, flush=True)
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, server.client() as client:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM)
        client.submit("noop", {"n": 1}).wait()
        loads = scale.jobs(_LOADS) if scale.share == 1 else 3
        for what, fresh in (("nothing kept", True), ("files kept", False)):
            context = browser.new_context()
            useful, contentful = [], []
            for _ in range(loads + 1):
                if fresh:
                    context.close()
                    context = browser.new_context()
                page = context.new_page()
                page.add_init_script(_WATCH)
                with page.expect_console_message(lambda message: message.text.startswith(_TOLD)) as told:
                    page.goto(f"{server.url}/ui/", wait_until="commit")
                useful.append(float(told.value.text.removeprefix(_TOLD)))
                contentful.append(page.wait_for_function(_CONTENTFUL).json_value())
                page.close()
            context.close()
            yield Row(f"dashboard: first useful paint, {what}", useful[1:], "ms", "≤ 500 ms (issue)")
            yield Row(f"dashboard: first contentful paint, {what}", contentful[1:], "ms")
        yield _changes(browser, client, server, _CHANGES if scale.share == 1 else 4)
        browser.close()


def _changes(browser: Any, client: rota.Client, server: Server, count: int) -> Row:
    """Submit jobs one after another while somebody looks at the list of them."""
    page = browser.new_page()
    page.goto(f"{server.url}/ui/jobs?queue=screen")
    page.locator(".connection.is-live").first.wait_for(state="attached")
    # A row's moment is taken by the page itself: asking it from here would take longer than what is measured.
    page.evaluate("""() => {
        window.seen = {}
        const note = row => window.seen[row.dataset.row] ??= Date.now()
        const look = () => document.querySelectorAll("[data-row]").forEach(note)
        new MutationObserver(look).observe(document.body, { childList: true, subtree: true }) }""")
    taken = []
    for _ in range(count):
        time.sleep(2.5)  # a page that has been quiet for a while
        job = client.submit("noop", {"n": 1}, queue="screen", delay="1h")
        committed = 1000 * time.time()
        page.wait_for_function("id => window.seen[id]", arg=job.id)
        taken.append(max(0.0, page.evaluate("id => window.seen[id]", job.id) - committed))
    page.close()
    what = "dashboard: a change is on the screen after its commit, p95"
    return Row(what, [percentile(taken, 95)], "ms", "≤ 300 ms (issue)")
