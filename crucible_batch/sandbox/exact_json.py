"""JSON in which a number with a fraction is a Decimal, read and written with all its digits."""

import dataclasses
import functools
import json
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, NoReturn

# Deeper than any honest body; far from Python's recursion limit, which `dumps` would meet first.
_MAX_DEPTH = 32


def loads(raw: bytes) -> object:
    """Parse UTF-8 JSON; ValueError for anything that could not be stored and written again as it came."""
    try:
        value: object = json.loads(raw.decode("utf-8"), parse_float=Decimal, parse_constant=_refuse_constant)
    except (ArithmeticError, RecursionError) as error:
        raise ValueError("number too large or nesting too deep") from error
    _check(value)
    return value


def dumps(value: object, *, sort_keys: bool = False) -> str:
    """Write `value` as compact ASCII JSON; a Decimal keeps its digits, a datetime (in UTC) ends in Z.

    A dataclass is written as an object of its fields.
    """
    parts: list[str] = []
    _write(value, parts.append, sort_keys=sort_keys)
    return "".join(parts)


_text: Callable[[str], str] = json.encoder.encode_basestring_ascii
_float = json.JSONEncoder(allow_nan=False).encode
_name = functools.lru_cache(1024)(_text)
_WORDS = {None: "null", True: "true", False: "false"}


def members(record: Any) -> dict[str, object]:
    """Return the fields of a dataclass by name, as `dumps` writes them. Their values are not copied."""
    return {name: getattr(record, name) for name in _field_names(record.__class__)}


@functools.cache
def _field_names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


def _write(value: object, put: Callable[[str], None], *, sort_keys: bool) -> None:
    if isinstance(value, str):
        put(_text(value))
    elif value is None or isinstance(value, bool):
        put(_WORDS[value])
    elif isinstance(value, float):
        put(_float(value))
    elif isinstance(value, int):
        put(int.__repr__(value))
    elif isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError("JSON has no NaN and no infinity")
        put(str(value))
    elif isinstance(value, dict):
        _write_object(sorted(value.items()) if sort_keys else value.items(), put, sort_keys=sort_keys)
    elif isinstance(value, list | tuple):
        before = "["
        for item in value:
            put(before)
            _write(item, put, sort_keys=sort_keys)
            before = ","
        put("]" if value else "[]")
    elif isinstance(value, datetime):
        put(_text(value.isoformat(timespec="milliseconds").replace("+00:00", "Z")))
    elif dataclasses.is_dataclass(value):
        _write_object(members(value).items(), put, sort_keys=sort_keys)
    else:
        raise TypeError(f"{type(value).__name__} has no JSON")


def _write_object(items: Iterable[tuple[object, object]], put: Callable[[str], None], *, sort_keys: bool) -> None:
    before = "{"
    for key, item in items:
        put(f"{before}{_name(str(key))}:")
        _write(item, put, sort_keys=sort_keys)
        before = ","
    put("{}" if before == "{" else "}")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _check(value: object) -> None:
    """Refuse what parses but can't be handled: deep nesting, and lone surrogates (they have no UTF-8)."""
    pending: list[tuple[object, int]] = [(value, 1)]
    while pending:
        item, depth = pending.pop()
        if depth > _MAX_DEPTH:
            raise ValueError(f"nested deeper than {_MAX_DEPTH} levels")
        match item:
            case str():
                item.encode("utf-8")  # raises UnicodeEncodeError, which is a ValueError
            case dict():
                pending += [(part, depth + 1) for pair in item.items() for part in pair]
            case list():
                pending += [(part, depth + 1) for part in item]
            case _:
                pass
