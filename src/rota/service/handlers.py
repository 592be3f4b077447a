"""What handlers there are, and what they take: what live workers offer, or else what was offered last.

A server looks at most every few seconds, and at once after a worker has registered with it. Schemas are kept apart from
workers, whose rows are read all the time; a version names one.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping

from msgspec import Raw, Struct
from msgspec.structs import replace

from rota.core.arguments import MAX_SCHEMA, Fit, check_fit, fit_of
from rota.core.errors import Invalid
from rota.core.jobs import NO_INPUTS, NO_SCHEMA, HandlerSpec, Submission, WorkerHello
from rota.store.protocol import Store, Tx

KEPT_VERSIONS = 20
FRESH_S = 5.0  # how old what a server knows of handlers may be
Signature = tuple[str, str]  # a handler and its version


class KnownHandler(Struct, frozen=True):
    """A handler: as it was offered last, when that was, how many live workers offer it, and in which versions.

    `fits` says what these take, None for one that takes everything; of a handler that nobody offers now, the last version.
    """

    spec: HandlerSpec
    seen_at: int
    workers: int
    fits: list[Fit | None]


Known = Mapping[str, KnownHandler]
NOBODY: Known = {}


class Handlers:
    """What this server knows of handlers."""

    def __init__(self, store: Store, monotonic: Callable[[], float]) -> None:
        self._store = store
        self._monotonic = monotonic
        self._known: Known = NOBODY
        self._until = -1.0

    async def known(self) -> Known:
        """Return what there is to know, a few seconds old at most. Who comes while another one looks gets what was known."""
        if (now := self._monotonic()) >= self._until:
            before, self._until = self._until, now + FRESH_S
            try:
                self._known = await self._store.read(look)
            except BaseException:
                self._until = before
                raise
        return self._known

    def forget(self) -> None:
        """Look again before the next answer: a worker has registered."""
        self._until = -1.0

    async def find(self) -> list[KnownHandler]:
        """Return all handlers there are, by their names, as of now."""
        self.forget()
        known = await self.known()
        return [known[name] for name in sorted(known)]


async def look(tx: Tx) -> Known:
    """Read what there is to know of all handlers."""
    offered: defaultdict[str, list[HandlerSpec]] = defaultdict(list)
    for row in reversed(await tx.list_workers()):  # the newest first
        if row.gone_at is None and not row.hello.pull:
            for spec in row.hello.handlers:
                offered[spec.name].append(spec)
    handlers = {spec.name: (spec, seen_at) for spec, seen_at in await tx.handlers()}
    versions = {
        name: list(dict.fromkeys(spec.version for spec in offered.get(name) or [last]))
        for name, (last, _) in handlers.items()
    }
    named = [(name, version) for name, each in versions.items() for version in each if version]
    schemas = await tx.signatures(named)
    return {
        name: KnownHandler(
            with_schema(spec, schemas),
            seen_at,
            len(offered[name]),
            [_fit(schemas.get((name, v))) for v in versions[name]],
        )
        for name, (spec, seen_at) in handlers.items()
    }


async def look_at(tx: Tx, name: str) -> Known:
    """Read what the version of one handler that was offered last takes: what a caller's own transaction asks first."""
    found = await tx.get_handler(name)
    if found is None:
        return NOBODY
    spec, seen_at = found
    schemas = await tx.signatures([(name, spec.version)]) if spec.version else {}
    return {name: KnownHandler(spec, seen_at, 0, [_fit(schemas.get((name, spec.version)))])}


def check_arguments(s: Submission, where: str, known: Known) -> None:
    """Raise Invalid when no version of its handler takes the arguments of a submission.

    Inputs of arrays are not looked at: each is its own attempt's to fail.
    """
    handler = known.get(s.handler or "")
    if handler is None or s.inputs != NO_INPUTS:
        return
    try:
        check_fit(handler.fits, bytes(s.data), bytes(s.args))
    except Invalid as wrong:
        raise Invalid(where + wrong.field, wrong.message) from None


def take_schemas(hello: WorkerHello) -> tuple[WorkerHello, list[tuple[str, str, Raw]]]:
    """Return what a worker says of itself without schemas, and those as (handler, version, schema). Raises Invalid."""
    signatures = []
    specs = []
    for at, spec in enumerate(hello.handlers):
        version = ""
        if spec.schema != NO_SCHEMA:
            version = _checked(bytes(spec.schema), f"handlers[{at}].schema")
            signatures.append((spec.name, version, spec.schema))
        specs.append(replace(spec, schema=NO_SCHEMA, version=version))
    return (replace(hello, handlers=specs) if specs else hello), signatures


def with_schema(spec: HandlerSpec, schemas: Mapping[Signature, bytes]) -> HandlerSpec:
    """Return a handler with its schema, where it is known."""
    schema = schemas.get((spec.name, spec.version))
    return spec if schema is None else replace(spec, schema=Raw(schema))


def _checked(schema: bytes, field: str) -> str:
    """Return the version that a schema makes. Raises Invalid."""
    if len(schema) > MAX_SCHEMA:
        raise Invalid(field, f"is at most {MAX_SCHEMA} bytes of JSON")
    try:
        fit_of(schema)
    except ValueError as wrong:
        raise Invalid(field, str(wrong)) from None
    return hashlib.blake2b(schema, digest_size=8).hexdigest()


def _fit(schema: bytes | None) -> Fit | None:
    try:
        return None if schema is None else fit_of(schema)
    except ValueError:  # of a later Rota, perhaps
        return None
