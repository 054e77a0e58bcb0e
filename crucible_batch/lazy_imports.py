"""Packages whose names are imported on first use. A stub beside each ``__init__`` has the types.

``crucible-batch validate`` is to start in the time of a few empty node processes, and imports take most of the start.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def lazily(
    package: str, names: Mapping[str, tuple[str, ...]]
) -> tuple[list[str], Callable[[str], object], Callable[[], list[str]]]:
    """Return ``__all__``, ``__getattr__`` and ``__dir__`` for a package. ``names`` maps each module to its names."""
    homes = {name: module for module, its_names in names.items() for name in its_names}

    def find(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found: object = getattr(import_module(homes[name]), name)
        setattr(sys.modules[package], name, found)
        return found

    return list(homes), find, lambda: sorted({*vars(sys.modules[package]), *homes})
