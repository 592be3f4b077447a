"""The handlers of the demonstration: those of a shop's back office, some slow, some that fail now and then."""

from __future__ import annotations

import random
import time
from typing import Any

import rota

app = rota.App()


class CarrierUnavailable(Exception):
    pass


@app.handler(timeout=600, retries=1)
def render_video(title: str, seconds: float = 60.0, *, ctx: rota.Context) -> dict[str, Any]:
    """Render a product video, frame by frame."""
    frames = int(seconds * 24)
    print(f"rendering {title!r}: {frames} frames at 1920x1080")
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        ctx.progress(passed / seconds, f"frame {int(passed * 24)} of {frames}")
        if int(passed * 10) % 10 == 0:
            print(f"frame {int(passed * 24):5d}  {24 + int(passed) % 3} fps  quality 0.{930 + int(passed * 7) % 60}")
        time.sleep(0.1)
    return {"title": title, "frames": frames, "bytes": frames * 81_344}


@app.handler(retries=3)
def send_invoice(customer: str, amount: float, *, ctx: rota.Context) -> dict[str, Any]:
    """Write an invoice and hand it to the mail server."""
    chance = random.Random(f"{customer}{amount}")
    time.sleep(chance.uniform(0.01, 0.08))
    if chance.random() < 0.06:
        raise ConnectionError(f"mail.example refused the connection (queue {chance.randrange(100, 999)})")
    print(f"invoice for {customer}: {amount:.2f} EUR")
    return {"customer": customer, "amount": amount, "message_id": f"<{chance.getrandbits(48):x}@shop.example>"}


@app.handler
async def sync_stock(warehouse: str) -> dict[str, int]:
    """Ask a warehouse what it has."""
    chance = random.Random(warehouse)
    return {"articles": chance.randrange(900, 4000), "changed": chance.randrange(0, 60)}


@app.handler(retries=1, timeout=30)
def track_parcel(parcel: str) -> dict[str, str]:
    """Ask the carrier where a parcel is."""
    chance = random.Random(parcel)
    time.sleep(chance.uniform(0.01, 0.05))
    if chance.random() < 0.25:
        raise CarrierUnavailable(f"GET https://carrier.example/parcels/{parcel}: 503 after {chance.randrange(2, 9)} s")
    return {"parcel": parcel, "place": chance.choice(["Bremen", "Lyon", "Gdansk", "Porto"])}


@app.handler(timeout=600)
def resize(path: str, width: int = 640) -> str:
    """Make a smaller picture."""
    chance = random.Random(path)
    time.sleep(chance.uniform(0.002, 0.02))
    if chance.random() < 0.03:
        raise ValueError(f"{path}: not a JPEG (starts with 0x{chance.getrandbits(16):04x})")
    return path.replace(".jpg", f"-{width}.jpg")


@app.handler(timeout=900)
def nightly_report(day: str, *, ctx: rota.Context) -> dict[str, Any]:
    """Sum up a day."""
    for done in range(40):
        ctx.progress(done / 40, f"region {done + 1} of 40")
        time.sleep(0.05)
    return {"day": day, "orders": 18_231, "revenue": 1_204_881.4, "returns": 0.041}
