"""The inputs of arrays and what became of them: written in pieces before the job is, read in pieces, joined with results."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from rota.core.arrays import CHUNK_BYTES, CHUNK_INPUTS, MAX_INPUT_BYTES, MAX_INPUTS, Range
from rota.core.errors import Conflict, Invalid, RotaError, TooLarge
from rota.core.ids import Ids
from rota.core.jobs import Array, InputResult, Job
from rota.core.quotas import inputs_bytes
from rota.service.admission import MAX_DATA, Upload
from rota.store.protocol import Store, Tx

_PIECES_KEPT = 32
_PIECES_WRITTEN = 16  # in one transaction: other writers wait for it
_PAGE = 100_000
_list = msgspec.json.Decoder(list[Raw]).decode
_any = msgspec.json.Decoder().decode
_list_or_text = msgspec.json.Decoder(list[Raw] | str).decode
_encode = msgspec.json.Encoder().encode
Piece = tuple[int, int, str]


class InputLine(Struct, frozen=True):
    """An input and what became of it."""

    input: Raw
    outcome: InputResult


class Inputs:
    """Reads inputs. They never change, so the pieces that were read last are kept, decoded."""

    def __init__(self) -> None:
        self._pieces: OrderedDict[tuple[str, int], list[Raw]] = OrderedDict()

    async def read(self, tx: Tx, root: str, first: int, n: int) -> list[Raw]:
        """Return the inputs from `first` on, `n` of them, or fewer where a piece ends."""
        for (job, begin), piece in self._pieces.items():
            if job == root and begin <= first < begin + len(piece):
                self._pieces.move_to_end((job, begin))
                return piece[first - begin : first - begin + n]
        row = await tx.inputs_at(root, first)
        assert row is not None, "every input lies in a piece"
        begin, _, body = row
        piece = self._pieces[root, begin] = _list(body)
        if len(self._pieces) > _PIECES_KEPT:
            self._pieces.popitem(last=False)
        return piece[first - begin : first - begin + n]


async def upload(store: Store, ids: Ids, given: Raw, where: str) -> Upload:
    """Write inputs, in several transactions; they belong to nobody until a job is inserted with them.

    Raises Invalid, TooLarge: a list has 1 to 1,000,000 items, of 1 MiB at most each and 256 MiB together; a text has lines.
    """
    values = read_inputs(given, where)
    root = ids.new(await store.write(_now))
    found = Upload(root, len(values), 0)
    try:
        batch: list[Piece] = []
        for piece in _pieces(values, where):
            batch.append(piece)
            found = replace(found, size=found.size + inputs_bytes([piece]))
            if len(batch) == _PIECES_WRITTEN:
                await _write(store, root, batch)
                batch = []
        if batch:
            await _write(store, root, batch)
    except (RotaError, asyncio.CancelledError):
        await discard(store, [found])
        raise
    return found


def measure(ids: Ids, given: Raw, where: str) -> Upload:
    """Return what `upload` would, under a name that nothing lies under. Raises as it does."""
    values = read_inputs(given, where)
    return Upload(ids.new(0), len(values), inputs_bytes(_pieces(values, where)))


async def upload_in(tx: Tx, ids: Ids, given: Raw) -> Upload:
    """Write inputs inside the caller's transaction. Raises Invalid, TooLarge."""
    values = read_inputs(given, "")
    pieces = list(_pieces(values, ""))
    found = Upload(ids.new(tx.now), len(values), inputs_bytes(pieces))
    await tx.insert_inputs(found.root, pieces)
    return found


async def discard(store: Store, uploads: Iterable[Upload]) -> None:
    """Remove inputs that no job has come of."""
    for one in uploads:
        root = one.root
        await store.write(lambda tx, root=root: tx.delete_upload(root))  # type: ignore[misc]  # a lambda's default


def read_inputs(given: Raw, where: str) -> list[Raw]:
    """Split inputs into their items. Raises Invalid, TooLarge."""
    if len(memoryview(given)) > MAX_INPUT_BYTES:
        raise TooLarge("inputs", MAX_INPUT_BYTES, f"{where}inputs: at most {MAX_INPUT_BYTES >> 20} MiB")
    try:
        said: list[Raw] | str = _list_or_text(given)
        if isinstance(said, str):
            values = [Raw(_encode(line)) for line in said.removesuffix("\n").split("\n")] if said else []
        else:
            values = said
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Invalid(where + "inputs", "is a list of JSON values, or a text whose lines they are") from None
    if not values:
        raise Invalid(where + "inputs", "is empty")
    if len(values) > MAX_INPUTS:
        raise TooLarge("inputs", MAX_INPUTS, f"{where}inputs: at most {MAX_INPUTS:,} of them")
    return values


async def read_results(
    tx: Tx, inputs: Inputs, job: str, array: Array, *, after: int, limit: int, bad: bool
) -> list[InputLine]:
    """Return results in the order of the inputs; an array that runs another one again shows also what stands of that."""
    found = await tx.results_of(job, after, limit, which="bad" if bad else "all")
    base = None if bad else array.base
    while base is not None:  # no input is in two of them: only what had not succeeded ran again
        found += await tx.results_of(base, after, limit, which="good")
        base = await _base_of(tx, base)
    found.sort(key=lambda result: result.index)
    lines: list[InputLine] = []
    values: list[Raw] = []
    first = 0
    for result in found[:limit]:
        if not first <= result.index < first + len(values):
            first = result.index
            values = await inputs.read(tx, array.root, first, CHUNK_INPUTS)
        lines.append(InputLine(values[result.index - first], result))
    return lines


async def whole_inputs(tx: Tx, array: Array) -> Raw:
    """Return all inputs of an array as one JSON list."""
    bodies: list[str] = []
    at = 0
    while at < array.inputs:
        row = await tx.inputs_at(array.root, at)
        assert row is not None, "every input lies in a piece"
        first, n, body = row
        bodies.append(body[1:-1])
        at = first + n
    return Raw(f"[{','.join(bodies)}]".encode())


async def retry_array(tx: Tx, job: str, old: Job) -> Array:
    """Return an array that runs what `old` has no success of, and write those ranges. Raises Conflict for nothing to run."""
    array = await tx.get_array(old.id)
    assert array is not None, "the caller has looked"
    stands = bytearray(array.inputs)
    chain: str | None = old.id
    while chain is not None:
        after = -1
        while numbers := await tx.successes_of(chain, after, _PAGE):
            for n in numbers:
                stands[n] = 1
            after = numbers[-1]
        chain = await _base_of(tx, chain)
    missing = [m.span() for m in re.finditer(rb"\0+", stands)]
    if not missing:
        raise Conflict(f"every input of job {old.id} has succeeded: there is nothing to run again", old.state)
    await tx.put_ranges(job, [Range(first=begin, n=end - begin, run_at=tx.now) for begin, end in missing])
    done = stands.count(1)
    return Array(
        inputs=array.inputs, cursor=array.inputs, done=done, parallel=array.parallel, halt=array.halt,
        ran_s=array.ran_s * done / array.done if array.done else 0.0, root=array.root, base=old.id,
    )  # fmt: skip


async def _base_of(tx: Tx, job: str) -> str | None:
    array = await tx.get_array(job)
    return None if array is None else array.base


async def _now(tx: Tx) -> int:
    return tx.now


async def _write(store: Store, root: str, pieces: list[Piece]) -> None:
    async def write(tx: Tx) -> None:
        await tx.begin_upload(root)
        await tx.insert_inputs(root, pieces)

    await store.write(write)


def _pieces(values: list[Raw], where: str) -> Iterator[Piece]:
    """Join inputs to JSON lists of at most so many bytes and items."""
    first = size = 0
    for at, value in enumerate(values):
        length = len(memoryview(value))
        if length > MAX_DATA:
            raise TooLarge("inputs", MAX_DATA, f"{where}inputs[{at}]: at most {MAX_DATA} bytes of JSON")
        if at > first and (size + length > CHUNK_BYTES or at - first == CHUNK_INPUTS):
            yield _piece(values, first, at, where)
            first, size = at, 0
        size += length + 1
    yield _piece(values, first, len(values), where)


def _piece(values: list[Raw], first: int, end: int, where: str) -> Piece:
    body = b"[" + b",".join([memoryview(value) for value in values[first:end]]) + b"]"
    try:
        _any(body)
        return first, end - first, body.decode()
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Invalid(f"{where}inputs[{first}..{end - 1}]", str(error)) from None
