"""The zygote imports the handlers once and forks children that have them already.

It is started by the keeper with two descriptors: `orders`, over which the keeper asks for children (a datagram each,
with the child's three descriptors), and `report`, over which it tells the supervisor once what it imported. Children
are forked twice, so that they become the keeper's own. The process between announces the child before it ends: when the
keeper first sees a new child it has the announcement already.
"""

from __future__ import annotations

import gc
import json
import os
import random
import socket
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NoReturn

import msgspec

from rota import tracing
from rota.worker import identity, proctree
from rota.worker.app import Handler
from rota.worker.birth import become_child
from rota.worker.child import Child
from rota.worker.child_async import AsyncChild
from rota.worker.frames import Imported
from rota.worker.framing import receive_with_fds
from rota.worker.loading import BadApp, declared_by, load


def main() -> None:
    """Import, report, and fork on demand until the keeper is gone."""
    setup: dict[str, Any] = json.loads(sys.argv[1])
    orders = socket.socket(fileno=setup["orders"])
    report = socket.socket(fileno=setup["report"])
    orders.set_inheritable(False)
    report.set_inheritable(False)
    if setup["user"] is not None:
        identity.become(setup["user"])
    proctree.die_with(setup["keeper"])
    proctree.set_readable(False)
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        handlers = load(setup["apps"])
        threads = [t.name for t in threading.enumerate() if t is not threading.main_thread()]
        specs = [handler.spec for handler in handlers.values()]
        imported = Imported(specs, declared_by(setup["apps"]), threads=threads)
    except BadApp as wrong:
        handlers, imported = {}, Imported(wrong=str(wrong))
    with report, suppress(OSError):
        report.sendall(msgspec.json.encode(imported))
    tracing.prepare()
    gc.collect()
    gc.freeze()  # what was imported stays shared with the children: their collectors never touch it
    _fork_on_demand(orders, handlers, setup)


def _fork_on_demand(orders: socket.socket, handlers: Mapping[str, Handler], setup: dict[str, Any]) -> None:
    while True:
        message, fds = receive_with_fds(orders)
        if not message:
            return
        order = json.loads(message)
        between = os.fork()
        if between == 0:
            _fork_again(orders, order, fds, handlers, setup)
        for fd in fds:
            os.close(fd)
        os.waitpid(between, 0)


def _fork_again(
    orders: socket.socket, order: dict[str, Any], fds: list[int], handlers: Mapping[str, Handler], setup: dict[str, Any]
) -> NoReturn:
    between = os.getpid()
    try:
        pid = os.fork()
        if pid:
            orders.send(json.dumps({"id": order["id"], "pid": pid}).encode())
        else:
            orders.close()
            while os.getppid() == between:  # wait to become the keeper's
                time.sleep(0.0001)
            become_child(setup["keeper"], fds)
            _reseed()
            channel = socket.socket(fileno=fds[0])
            if order["kind"] == "async":
                AsyncChild(channel, handlers, setup["recycle_bytes"]).serve()
            Child(channel, handlers, setup["recycle_jobs"], setup["recycle_bytes"]).serve()
    except BaseException:  # whatever it is: this process must not go back into the zygote's loop
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


def _reseed() -> None:
    """Give this child random numbers of its own."""
    random.seed()
    if numpy := sys.modules.get("numpy"):
        with suppress(Exception):
            numpy.random.seed()


if __name__ == "__main__":
    main()
