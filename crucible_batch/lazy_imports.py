"""Packages whose names are imported on first use. The stub beside each ``__init__`` lists them,
with their modules.

``crucible-batch validate`` is to start in the time of a few empty node processes, and imports take
most of the start.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module


def lazily(package: str, file: str) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` for a package, which is in ``file``.

    Its names are those that the stub imports, each in a line of its own: ``from module import name
    as name``. Names of features that were deleted are unknown.
    """

    @cache
    def homes() -> dict[str, str]:
        with open(f"{file}i", encoding="utf-8") as stub:  # noqa: PTH123 - pathlib is not loaded yet
            lines = [line.split() for line in stub]
        return {
            words[3]: words[1] for words in lines if words[:1] == ["from"] and _is_there(words[1])
        }

    def find(name: str) -> object:
        if name == "__all__":
            return [*homes()]
        if name.startswith("__") or name not in homes():
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found: object = getattr(import_module(homes()[name]), name)
        setattr(sys.modules[package], name, found)
        return found

    return find, lambda: sorted({*vars(sys.modules[package]), *homes()})


def _is_there(module: str) -> bool:
    """Return whether a module is not of a feature that was deleted."""
    _, _, path = module.partition(".features.")
    if not path:
        return True
    from crucible_batch.features import exists  # noqa: PLC0415 - loads pathlib

    return exists(path.partition(".")[0])
