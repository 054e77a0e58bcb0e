"""Packages whose names are loaded when they are first used, each by a stub beside its ``__init__`` that has the types.

``crucible-batch validate`` is to start in the time of a few empty node processes, and most of a start is imports.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def lazily(
    package: str, names: Mapping[str, tuple[str, ...]]
) -> tuple[list[str], Callable[[str], object], Callable[[], list[str]]]:
    """Return ``__all__``, ``__getattr__`` and ``__dir__`` of a package; ``names`` are those of each module."""
    homes = {name: module for module, its_names in names.items() for name in its_names}

    def find(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found: object = getattr(import_module(homes[name]), name)
        setattr(sys.modules[package], name, found)
        return found

    return list(homes), find, lambda: sorted({*vars(sys.modules[package]), *homes})
