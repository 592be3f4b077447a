"""Bodies as the older APIs take them: JSON, and where they took forms (urlencoded or multipart) those too.

A member that an API does not know is ignored, as the originals did; what it knows is checked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from rota.core.errors import Invalid, TooLarge
from rota.http.parsing import is_json, media_of, struct_of
from rota.http.problems import Refusal

T = TypeVar("T", bound=Struct)
Pairs = list[tuple[str, str]]  # the fields of a form, in its order

JSON_ONLY = ("application/json",)
FORMS = ("application/json", "application/x-www-form-urlencoded", "multipart/form-data")
# Forms take a hundred times longer to read than JSON, and nobody is answered meanwhile: whoever has more sends JSON.
MAX_FORM = 1 << 20
MAX_FIELDS = 10_000
_MAX_BOUNDARY = 70  # RFC 2046


def json_body(kind: type[T]) -> Callable[[bytes, bytes], T]:
    """Return a parser of JSON bodies."""
    return _Parser(kind, None)


def form_body(kind: type[T], *, convert: Callable[[Pairs], T] | None = None) -> Callable[[bytes, bytes], T]:
    """Return a parser of bodies in JSON or a form. `convert` makes a body of a form's fields, unless they have its names."""

    def same(pairs: Pairs) -> T:
        return struct_of(pairs, kind, frozenset())

    return _Parser(kind, convert or same)


class _Parser(Generic[T]):
    def __init__(self, kind: type[T], convert: Callable[[Pairs], T] | None) -> None:
        self._convert = convert
        self._decode = msgspec.json.Decoder(kind).decode

    def __call__(self, body: bytes, content_type: bytes) -> T:
        """Return a body as a struct. Raises msgspec's errors, Invalid and Refusal (the type)."""
        media = media_of(content_type.decode("latin-1"))
        if not body and not content_type:
            return self._decode(b"{}")  # nothing was sent: what is missing is told as ever
        if is_json(media):
            return self._decode(body)
        if self._convert is not None and media in FORMS and len(body) > MAX_FORM:
            raise TooLarge("body", MAX_FORM, f"a form has at most {MAX_FORM} bytes; JSON may have more")
        if self._convert is not None and media == "application/x-www-form-urlencoded":
            return self._convert(_urlencoded(body))
        if self._convert is not None and media == "multipart/form-data":
            boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
            return self._convert(_multipart(body, boundary))
        wanted = "application/json" if self._convert is None else "application/json or a form"
        raise Refusal("unsupported-media-type", f"{media or 'no type'}: send {wanted}", field="Content-Type")


def _urlencoded(body: bytes) -> Pairs:
    try:
        return parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except UnicodeDecodeError:
        raise Invalid("body", "is not UTF-8") from None
    except ValueError:
        raise Invalid("body", f"a form has at most {MAX_FIELDS} fields; JSON may have more") from None


def _multipart(body: bytes, boundary: bytes) -> Pairs:
    if not 0 < len(boundary) <= _MAX_BOUNDARY:
        raise Invalid("Content-Type", f"a multipart form has a boundary, of at most {_MAX_BOUNDARY} characters")
    parts = _Parts()
    try:
        parser = MultipartParser(boundary, parts.callbacks())  # type: ignore[arg-type]
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise Invalid("body", f"is no multipart form: {error}") from None
    if not parts.complete:
        raise Invalid("body", "is a multipart form that ends in the middle")
    return parts.pairs


class _Parts:
    """Collects the parts of a multipart form."""

    def __init__(self) -> None:
        self.pairs: Pairs = []
        self.complete = False
        self._header, self._value, self._data = bytearray(), bytearray(), bytearray()
        self._name: bytes | None = None

    def callbacks(self) -> dict[str, Callable[..., None]]:
        """Return what the parser calls."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_part_data": lambda data, start, end: self._data.extend(data[start:end]),
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        self._data.clear()
        self._name = None

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._name = parse_options_header(bytes(self._value))[1].get(b"name")
        self._header.clear()
        self._value.clear()

    def _end(self) -> None:
        if self._name is None:
            raise Invalid("body", "is a multipart form with a part that has no name")
        if len(self.pairs) == MAX_FIELDS:
            raise Invalid("body", f"a form has at most {MAX_FIELDS} fields; JSON may have more")
        try:
            name = self._name.decode()
        except UnicodeDecodeError:
            raise Invalid("body", "is a multipart form with a name that is not UTF-8") from None
        try:
            self.pairs.append((name, self._data.decode()))
        except UnicodeDecodeError:
            raise Invalid(name, "is not UTF-8") from None

    def _finish(self) -> None:
        self.complete = True
