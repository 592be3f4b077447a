"""Streams, read and resumed: server-sent events (WHATWG HTML, section 9.2) and lines of JSON. Pure: both clients share it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from msgspec import Struct, structs

from rota.client.decoders import decoder_of
from rota.client.retrying import BACKOFF
from rota.client.transport import Request
from rota.core.errors import RotaError
from rota.core.states import FINAL

T = TypeVar("T")


class Stream(Protocol[T]):
    """A stream that is opened again where it broke, until it has `ended`."""

    @property
    def ended(self) -> bool:
        """Say whether all was sent."""
        ...

    def request(self) -> Request:
        """Return the request that goes on after the last item that came."""
        ...

    def feed(self, piece: bytes) -> list[T]:
        """Return the items that `piece` completes."""
        ...

    def closed(self) -> None:
        """Hear that the server has ended its answer as it should."""
        ...

    def broke(self, why: RotaError, tries: int) -> None:
        """Take note that the stream broke. Raises `why` when it did so `tries` times without a byte between."""
        ...

    def pause_s(self, jitter: float) -> float:
        """Return the seconds to wait before the stream is opened again; `jitter` in [0, 1)."""
        ...


class EventStream:
    """Takes pieces of a stream as they come and gives whole events back."""

    def __init__(self, last_id: str | None = None) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._kind = b""
        self._id = last_id
        self.last_id = last_id

    def feed(self, piece: bytes) -> list[tuple[str, bytes]]:
        """Return the (kind, data) of the events that `piece` completes; `last_id` is the id of the last of them."""
        *lines, self._rest = (self._rest + piece).replace(b"\r\n", b"\n").split(b"\n")
        events: list[tuple[str, bytes]] = []
        for line in lines:
            if line:
                self._field(line)
            else:
                self.last_id = self._id  # only now: half an event is not to be passed over
                if self._data:
                    events.append((self._kind.decode() or "message", b"\n".join(self._data)))
                self._data, self._kind = [], b""
        return events

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"data":
                self._data.append(value)
            case b"event":
                self._kind = value
            case b"id":
                self._id = value.decode()


class _End(Struct):
    state: str


class _Resumed(Generic[T]):
    """What the streams share: counting breaks."""

    def __init__(self, kind: type[T]) -> None:
        self.ended = False
        self._decoder = decoder_of(kind)
        self._broken = 0

    def closed(self) -> None:
        """Hear that the server has ended its answer as it should."""

    def broke(self, why: RotaError, tries: int) -> None:
        """Take note that the stream broke. Raises `why` when it did so `tries` times without a byte between."""
        self._broken += 1
        if self._broken >= tries:
            raise why

    def pause_s(self, jitter: float) -> float:
        """Return the seconds to wait before the stream is opened again; `jitter` in [0, 1)."""
        return BACKOFF.delay_s(self._broken, jitter) if self._broken else 0.0


class Following(_Resumed[T]):
    """Events, until the server says that all was sent: then `ended` is True."""

    def __init__(self, request: Request, kind: type[T]) -> None:
        super().__init__(kind)
        self._request = request
        self._events = EventStream()

    def request(self) -> Request:
        """Return the request that goes on after the last item that came."""
        last = self._events.last_id or self._request.last_event
        self._events = EventStream(last)  # half an event of a broken stream comes again, whole
        return structs.replace(self._request, last_event=last)

    def feed(self, piece: bytes) -> list[T]:
        """Return the items that `piece` completes."""
        self._broken = 0
        items = []
        for kind, data in self._events.feed(piece):
            if kind == "end":  # sent too by a server that stops; then the state is not final
                self.ended = decoder_of(_End).decode(data).state in FINAL
            elif (
                kind != "reset"
            ):  # events that this one would have followed are no more: there is nothing to tell of them
                items.append(self._decoder.decode(data))
        return items


class Lines(_Resumed[T]):
    """Lines of JSON, until the server ends its answer. `ask` makes the request for those after a line, or for all."""

    def __init__(self, ask: Callable[[T | None], Request], kind: type[T]) -> None:
        super().__init__(kind)
        self._ask = ask
        self._last: T | None = None
        self._rest = b""

    def request(self) -> Request:
        """Return the request that goes on after the last line that came."""
        self.ended = False
        self._rest = b""  # half a line of a broken stream comes again, whole
        return self._ask(self._last)

    def feed(self, piece: bytes) -> list[T]:
        """Return the lines that `piece` completes."""
        self._broken = 0
        *lines, self._rest = (self._rest + piece).split(b"\n")
        items = [self._decoder.decode(line) for line in lines if line]
        if items:
            self._last = items[-1]
        return items

    def closed(self) -> None:
        """Take the end of the answer as the end of the lines."""
        self.ended = True
