"""JSON of structs in files of ours, which are untrusted: amounts are text, and checked when they
are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Generic, TypeVar, get_args, get_type_hints

import msgspec
from msgspec.structs import force_setattr

from crucible_batch.core.credits import Stored

T = TypeVar("T", bound=msgspec.Struct)
Check = Callable[[Any], Any]

_ENCODER = msgspec.json.Encoder()


def to_json(value: msgspec.Struct) -> bytes:
    """Return a struct as JSON, in the order of its fields."""
    return _ENCODER.encode(value)


class StructReader(Generic[T]):
    """Reads one kind of struct. Fields that it doesn't have are passed over."""

    def __init__(self, kind: type[T]) -> None:
        self._decoder = msgspec.json.Decoder(kind)
        self._checks = tuple(_checks(kind))

    def read(self, text: str | bytes) -> T:
        """Parse JSON. Raises ``ValueError`` if it isn't a valid struct of this kind."""
        try:
            value = self._decoder.decode(text)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ValueError(str(error)) from None
        return _checked(self._checks, value)


def _checks(kind: type[msgspec.Struct]) -> Iterator[tuple[str, Check]]:
    """Yield the fields with amounts, those of structs in it included, and the check of each."""
    for name, hint in get_type_hints(kind, include_extras=True).items():
        for part in (hint, *get_args(hint)):
            for mark in getattr(part, "__metadata__", ()):
                if isinstance(mark, Stored):
                    yield name, mark.check
            if isinstance(part, type) and issubclass(part, msgspec.Struct):
                yield name, partial(_checked, tuple(_checks(part)))


def _checked(checks: tuple[tuple[str, Check], ...], value: T) -> T:
    for name, check in checks:
        found = getattr(value, name)
        if found is None:
            continue
        sound = check(found)
        if sound is not found:  # a negative zero
            force_setattr(value, name, sound)
    return value
