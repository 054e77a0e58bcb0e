"""A frozen value with some of its fields changed: what ``dataclasses.replace`` does, in less than half the time.

A job of a run is copied some thirty times, and ``replace`` goes over its fields by name each time: 3.8 µs for a job of
thirteen fields, against 1.6 here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from dataclasses import replace as changed  # what mypy sees: it checks the fields' names and types by it
from typing import TYPE_CHECKING, Any, TypeVar

__all__ = ["changed"]

if not TYPE_CHECKING:
    T = TypeVar("T")

    def changed(value: T, /, **changes: object) -> T:
        """Return a copy of a frozen dataclass with slots, with other values in the fields that are named.

        Raises ``TypeError`` for a field that it doesn't have. The class has no ``__post_init__``: none would be called.
        """
        kind = type(value)
        return (_COPIERS.get(kind) or _copier(kind))(value, changes)


_COPIERS: dict[type[Any], Callable[[Any, Mapping[str, object]], Any]] = {}


def _copier(kind: type[Any]) -> Callable[[Any, Mapping[str, object]], Any]:
    """Write the copying of a class out, field by field."""
    names = [field.name for field in fields(kind)]
    lines = [f"    set_{name}(copy, changes['{name}'] if '{name}' in changes else value.{name})" for name in names]
    source = "\n".join(
        [
            "def copier(value, changes):",
            "    if not names.issuperset(changes):",
            "        raise TypeError(f'{kind.__name__} has no {sorted(changes.keys() - names)}')",
            "    copy = new(kind)",
            *lines,
            "    return copy",
        ]
    )
    made: dict[str, Any] = {"new": object.__new__, "kind": kind, "names": frozenset(names)}
    made |= {f"set_{name}": getattr(kind, name).__set__ for name in names}
    exec(source, made)  # noqa: S102 - as dataclasses does; all of it is written here, but for the fields' names
    copier: Callable[[Any, Mapping[str, object]], Any] = _COPIERS.setdefault(kind, made["copier"])
    return copier
