"""JSON in which a number with a fraction is a Decimal, read and written with all its digits."""

import json
from datetime import datetime
from decimal import Decimal
from typing import NoReturn

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
    """Write `value` as compact ASCII JSON; a Decimal keeps its digits, a datetime (in UTC) ends in Z."""
    match value:
        case Decimal():
            if not value.is_finite():
                raise ValueError("JSON has no NaN and no infinity")
            return str(value)
        case datetime():
            return json.dumps(value.isoformat(timespec="milliseconds").replace("+00:00", "Z"))
        case dict():
            items = sorted(value.items()) if sort_keys else value.items()
            inner = ",".join(f"{json.dumps(str(key))}:{dumps(item, sort_keys=sort_keys)}" for key, item in items)
            return "{" + inner + "}"
        case list() | tuple():
            return "[" + ",".join(dumps(item, sort_keys=sort_keys) for item in value) + "]"
        case _:
            return json.dumps(value, allow_nan=False)


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
