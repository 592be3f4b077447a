"""A server with a shop's jobs: what the screenshots show. The seed is fixed; what it is about stays the same.

python -m tests.ui.demo [--port 8123]         start it, fill it, and go on until Ctrl-C
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from examples.processes import die_with_parent

from tests.http.live import DEADLINE_S

OWNERS = ["ana", "ben", "chloe", "media-team"]
WAREHOUSES = ["bremen", "lyon", "gdansk", "porto", "graz"]
LINT = """set -eu
echo "checking $1"
case "$1" in *7.csv) echo "$1: line 12 has 4 columns, not 5" >&2; exit 3;; esac
sleep 0.0{{pause}}
"""
SCHEDULES = [
    ("nightly report", "0 3 * * *", "Europe/Berlin", "nightly_report", {"day": "today"}, "reports"),
    ("stock, every quarter", "*/15 6-20 * * MON-FRI", "Europe/Berlin", "sync_stock", {"warehouse": "bremen"}, "stock"),
    ("heartbeat of the shop", "every 5s", "UTC", "sync_stock", {"warehouse": "lyon"}, "stock"),
    ("invoices of the month", "0 8 1 * *", "Europe/Lisbon", "send_invoice", {"customer": "all", "amount": 1.0}, "mail"),
]  # fmt: skip


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as attempt:
        attempt.bind(("127.0.0.1", 0))
        port: int = attempt.getsockname()[1]
        return port


@contextmanager
def server(folder: Path, port: int, *, workers: int = 3, slots: int = 3) -> Iterator[str]:
    """Run `rota serve` with the demonstration's handlers; give its address."""
    shutil.copy(Path(__file__).with_name("handlers.py"), folder / "shop.py")  # tracebacks show where it lies
    command = [
        sys.executable, "-m", "rota", "serve", "--app", "shop:app", "--store", f"sqlite:///{folder}/rota.db",
        "--port", str(port), "--workers", str(workers), "--slots", str(slots), "--drain", "0",
    ]  # fmt: skip
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "ROTA_LOG_LEVEL": "error"},
        start_new_session=True,
        preexec_fn=die_with_parent,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + DEADLINE_S
        while time.monotonic() < until:
            with suppress(httpx.TransportError):
                if httpx.get(f"{url}/readyz").status_code == 200:
                    break
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait()


def fill(url: str, *, small: bool = False) -> dict[str, str]:
    """Submit a shop's jobs; give the ids of those that pages are shown of. Some run for minutes."""
    chance = random.Random(7)
    client = httpx.Client(base_url=url, timeout=DEADLINE_S)

    def post(path: str, body: Any) -> Any:
        answer = client.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def job(**fields: Any) -> str:
        made: str = post("/v1/jobs", fields)["id"]
        return made

    named: dict[str, str] = {}
    count = 60 if small else 400
    invoices = [
        {
            "handler": "send_invoice", "owner": chance.choice(OWNERS[:3]), "queue": "mail",
            "data": {"customer": f"customer-{chance.randrange(1000, 9999)}", "amount": round(chance.uniform(5, 900), 2)},
            "labels": {"batch": "2026-11"}, "backoff": {"base": 0.2},
        }
        for _ in range(count)
    ]  # fmt: skip
    parcels = [
        {
            "handler": "track_parcel", "owner": chance.choice(OWNERS[:3]), "queue": "carrier",
            "data": {"parcel": f"PX{chance.randrange(10**9):09d}"}, "backoff": {"base": 0.2},
        }
        for _ in range(count // 3)
    ]  # fmt: skip
    stock = [
        {"handler": "sync_stock", "queue": "stock", "owner": "ben", "data": {"warehouse": w}} for w in WAREHOUSES * 8
    ]
    mixed = invoices + parcels + stock
    chance.shuffle(mixed)
    post("/v1/jobs/bulk", mixed)
    named["array"] = job(
        script=LINT, variables={"pause": "2"}, inputs=[f"orders/2026-11-{n:04d}.csv" for n in range(180 if small else 1400)],
        owner="chloe", queue="imports", labels={"source": "partners"}, retries=0,
    )  # fmt: skip
    named["pictures"] = job(
        handler="resize", data={"width": 640}, inputs=[{"path": f"products/{n:05d}.jpg"} for n in range(600)],
        owner="media-team", queue="media",
    )  # fmt: skip
    for title in ("Autumn catalogue", "Winter boots", "How to fold a tent"):
        named["video"] = job(
            handler="render_video",
            data={"title": title, "seconds": 240.0},
            owner="media-team",
            queue="media",
            priority=5,
        )
    named["report"] = job(
        handler="nightly_report", data={"day": "2026-11-28"}, owner="ana", queue="reports", after=[named["array"]],
        hook="https://hooks.example/rota",
    )  # fmt: skip
    catalogue: list[dict[str, Any]] = [
        {"ref": "stock", "handler": "sync_stock", "data": {"warehouse": "bremen"}},
        *(
            {"ref": f"pictures-{n}", "handler": "resize", "data": {"path": f"pages/{n}.jpg"}, "after": ["stock"]}
            for n in range(4)
        ),
        {
            "ref": "film",
            "handler": "render_video",
            "data": {"title": "Catalogue", "seconds": 400.0},
            "after": ["pictures-0"],
        },
        {
            "ref": "prices",
            "handler": "nightly_report",
            "data": {"day": "2026-11-28"},
            "after": ["pictures-1", "pictures-2"],
        },
        {
            "ref": "alarm",
            "handler": "track_parcel",
            "data": {"parcel": "PX1"},
            "after": [{"job": "prices", "on": "failed"}],
        },
        {
            "ref": "publish",
            "handler": "sync_stock",
            "data": {"warehouse": "graz"},
            "after": ["film", "prices", "pictures-3"],
        },
    ]
    named["run"] = post("/v1/runs", {"name": "catalogue", "owner": "media-team", "jobs": catalogue})["id"]
    named["later"] = job(
        handler="nightly_report", data={"day": "2026-11-29"}, owner="ana", queue="reports", delay="3h", priority=2
    )
    named["nobody"] = job(handler="print_labels", owner="ben", data={"pages": 40})
    for at in range(9):
        job(
            handler="send_invoice",
            owner="ben",
            queue="mail",
            delay=f"{at + 1}h",
            data={"customer": f"c{at}", "amount": 10.0},
        )
    gone = job(
        handler="render_video",
        data={"title": "Old logo", "seconds": 600.0},
        owner="media-team",
        queue="media",
        priority=9,
    )
    named["aborted"] = gone
    for name, rule, zone, handler, data, queue in SCHEDULES:
        body = {"handler": handler, "data": data, "queue": queue}
        made = post("/v1/schedules", {"name": name, "rule": rule, "timezone": zone, "job": body, "overlap": "skip"})
        named.setdefault("schedule", made["id"])
        if name.startswith("heartbeat"):
            named["beat"] = made["id"]
    post(f"/v1/schedules/{made['id']}/pause", {})
    until = time.monotonic() + DEADLINE_S
    while client.get(f"/v1/jobs/{gone}").json()["state"] == "queued" and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(1)
    client.post(f"/v1/jobs/{gone}/abort?wait=10")
    while time.monotonic() < until:
        failed = client.get("/v1/jobs", params={"state": "failed", "handler": "track_parcel", "limit": 1}).json()[
            "items"
        ]
        if failed:
            named["failed"] = failed[0]["id"]
            break
        time.sleep(0.2)
    client.close()
    return named


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, server(Path(folder), arguments.port or free_port()) as url:
        print(f"{url}/ui/", flush=True)
        print(fill(url), flush=True)
        with suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)


if __name__ == "__main__":
    main()
