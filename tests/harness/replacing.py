"""``replace`` of values of both kinds: dataclasses, and structs of ``msgspec``."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import msgspec

V = TypeVar("V")


def replace(value: V, /, **changes: Any) -> V:
    """Return a copy with changed fields."""
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.replace(value, **changes)
    copy: V = dataclasses.replace(value, **changes)  # type: ignore[type-var]
    return copy
