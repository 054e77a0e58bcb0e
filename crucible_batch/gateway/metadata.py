"""What a workflow's free-form metadata says: its parameters' names and its service time."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

_NAME_KEYS: Final = ("name", "key", "id")
_LONGEST_ESTIMATE_S: Final = 7 * 24 * 3600.0  # beyond a week it is milliseconds, or a slip


def read_fields(metadata: Mapping[str, object]) -> tuple[str, ...] | None:
    """Return the parameter names in ``available_fields``, in order and each once.

    It may be a list of names, a list of objects that hold the name under ``name``, ``key`` or ``id``, or a mapping by
    name. None where it is absent or of another form.
    """
    listed = metadata.get("available_fields")
    if isinstance(listed, Mapping):
        names: list[str | None] = [name if isinstance(name, str) else None for name in listed]
    elif isinstance(listed, list):
        names = [_name(entry) for entry in listed]
    else:
        return None
    known = [name for name in names if name]
    # One unknown entry makes the list incomplete, and an incomplete list would refuse parameters that exist.
    return tuple(dict.fromkeys(known)) if len(known) == len(names) else None


def read_details(metadata: Mapping[str, object]) -> dict[str, Mapping[str, object]]:
    """Return what the metadata says of each parameter beyond its name, if it says anything."""
    listed = metadata.get("available_fields")
    if isinstance(listed, Mapping):
        return {name: about for name, about in listed.items() if isinstance(about, Mapping)}
    entries = [entry for entry in listed if isinstance(entry, Mapping)] if isinstance(listed, list) else []
    return {name: entry for entry in entries if (name := _name(entry))}


def read_expected_s(metadata: Mapping[str, object]) -> float | None:
    """Return ``estimated_time_seconds``; None where it is absent or no sensible time."""
    value = metadata.get("estimated_time_seconds")
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    return float(value) if 0 < value <= _LONGEST_ESTIMATE_S else None


def _name(entry: object) -> str | None:
    if isinstance(entry, Mapping):
        entry = next((entry[key] for key in _NAME_KEYS if isinstance(entry.get(key), str)), None)
    return entry if isinstance(entry, str) else None
