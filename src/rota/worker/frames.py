"""What the supervisor and the children of a worker say to each other, as MessagePack; with script children, as JSON.

    supervisor → child   Start, Cancel, Swept; RunScript, Recall
    child → supervisor   Done, Said, Moved, Hooked, Left; Exited, Dropped

`run` is the supervisor's number of the attempt, for as short a frame as can be. Payloads stay JSON, in bytes.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Raw, Struct

from rota.core.jobs import Failure, HandlerSpec
from rota.core.states import Outcome
from rota.worker.framing import frame

Stream = Literal["stdout", "stderr", "log"]


class Start(Struct, array_like=True, tag=1):
    """Run a handler; of an array, on its input `item`, number `index`. `traceparent` is the span that it is in.

    `checkpoint` is what an attempt before has left.
    """

    run: int
    job: str
    attempt: int
    handler: str
    data: bytes
    args: bytes
    owner: str
    timeout_s: float | None = None
    index: int | None = None
    item: bytes | None = None
    traceparent: str | None = None
    checkpoint: bytes | None = None


class Cancel(Struct, array_like=True, tag=2):
    """Cancel a handler's task (async children only; the others get SIGTERM)."""

    run: int


class Swept(Struct, array_like=True, tag=3):
    """What the last attempt had left behind is gone: reap it, and clean up."""


class RunScript(Struct, array_like=True, tag=4):
    """Run a script, or a command under /bin/sh.

    `text` None is that of the child's last script. `stdin` is its standard input, if there is any, and `argument` its
    first argument; `env` what its environment has besides. `ulimits` are commands for the shell that keep it in its
    limits; `cpu`: say how much processor time it has used. `lane` is the pair of pipes that takes its output.

    One that comes while another runs is begun when that is over, and what it has left behind is swept.
    """

    run: int
    job: str
    attempt: int
    owner: str
    text: str | None
    command: bool = False
    timeout_s: float | None = None
    stdin: str | None = None
    index: int | None = None
    argument: str | None = None
    env: dict[str, str] = {}
    ulimits: str = ""
    cpu: bool = False
    lane: int = 0


class Done(Struct, array_like=True, tag=5):
    """A handler ended. `aborting`: it had been told to end; `left`: processes remain; `worn`: replace this child."""

    run: int
    outcome: Outcome
    result: bytes | None = None
    error: Failure | None = None
    retry_in_s: float | None = None
    refused: bool = False
    aborting: bool = False
    left: bool = False
    worn: bool = False


class Said(Struct, array_like=True, tag=6):
    """A piece of an attempt's output that did not go through a pipe."""

    run: int
    stream: Stream
    text: bytes


class Moved(Struct, array_like=True, tag=7):
    """An attempt's newest progress."""

    run: int
    fraction: float | None
    message: str


class Hooked(Struct, array_like=True, tag=8):
    """A handler calls its job's hook; `n` counts its calls from 0."""

    run: int
    n: int
    data: bytes


class Exited(Struct, array_like=True, tag=9):
    """A script's bash, or a command's shell, ended; `status` as waitpid gives it, or `wrong` says why it did not begin.

    `cpu_s` is the processor time that it and what it started have used, where that was asked for.
    """

    run: int
    status: int
    aborting: bool = False
    left: bool = False
    wrong: str | None = None
    cpu_s: float | None = None


class Recall(Struct, array_like=True, tag=10):
    """Do not begin a script that waits for its turn."""

    run: int


class Dropped(Struct, array_like=True, tag=11):
    """A script that waited for its turn was recalled, and has not begun."""

    run: int


class Left(Struct, array_like=True, tag=12):
    """What a handler leaves for the next attempt."""

    run: int
    data: bytes


class Declared(Struct):
    """The schedules that an app, `origin`, declares, each as the server takes it; `wrong` says why they cannot be told."""

    origin: str
    schedules: list[Raw] = []
    wrong: str | None = None


class Imported(Struct):
    """What the zygote tells the supervisor: its handlers and schedules, or what is wrong."""

    handlers: list[HandlerSpec] = []
    declared: list[Declared] = []
    wrong: str | None = None
    threads: list[str] = []


ToChild = Start | Cancel | Swept | RunScript | Recall
FromChild = Done | Said | Moved | Hooked | Exited | Dropped | Left

_encoder = msgspec.msgpack.Encoder()
decode_to_child = msgspec.msgpack.Decoder(ToChild).decode
decode_from_child = msgspec.msgpack.Decoder(FromChild).decode
decode_from_script = msgspec.json.Decoder(FromChild).decode
_encode_json = msgspec.json.Encoder().encode


def encode(message: ToChild | FromChild) -> bytes:
    """Return a message as a frame of MessagePack."""
    return frame(_encoder.encode(message))


def encode_for_script(message: ToChild) -> bytes:
    """Return a message as a frame of JSON: script children know nothing but the standard library."""
    return frame(_encode_json(message))
