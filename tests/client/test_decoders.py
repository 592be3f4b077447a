"""A client may be used by several threads from its first call on."""

from __future__ import annotations

import subprocess
import sys

FIRST_USES = """
import sys, threading
from msgspec import Struct
from rota.client.decoders import decoder_of

sys.setswitchinterval(1e-6)
for _ in range(100):
    fields = {f"a{n}": "int | None" for n in range(20)}
    Inner = type(Struct)("Inner", (Struct,), {"__annotations__": fields, "__module__": __name__})
    Outer = type(Struct)("Outer", (Struct,), {"__annotations__": {"inner": "Inner"}, "__module__": __name__})
    body = ('{"inner":{' + ",".join(f'"a{n}":1' for n in range(20)) + "}}").encode()
    begin, read = threading.Barrier(4), []

    def use():
        begin.wait()
        read.append(decoder_of(Outer).decode(body).inner.a19)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read == [1] * 4
"""


def test_threads_that_read_a_type_for_the_first_time_at_once() -> None:
    subprocess.run([sys.executable, "-c", FIRST_USES], check=True, timeout=60)
