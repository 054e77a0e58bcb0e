"""JSON of the sandbox.

Amounts are written as numbers, moments in UTC with a Z, dataclasses as objects.
"""

import dataclasses
import json
from datetime import datetime
from decimal import Decimal
from typing import Any


def loads(raw: bytes) -> object:
    """Parse UTF-8 JSON; ValueError for anything that can't be stored and written again."""
    try:
        value: object = json.loads(raw.decode())
        # Refuses NaN and lone surrogates
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except RecursionError as error:
        raise ValueError("the nesting is too deep") from error
    return value


def dumps(value: object, *, sort_keys: bool = False) -> str:
    return json.dumps(
        value, default=_plain, sort_keys=sort_keys, separators=(",", ":"), allow_nan=False
    )


def members(record: Any) -> dict[str, object]:
    """Return the fields of a dataclass by name. Their values are not copied."""
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        if value == value.to_integral_value():
            return int(value)
        return float(value)
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return members(value)
