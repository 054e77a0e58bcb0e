"""Packages whose names are imported on first use. The stub beside each ``__init__`` lists them, with their modules.

``crucible-batch validate`` is to start in the time of a few empty node processes, and imports take most of the start.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module


def lazily(package: str, file: str) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` for a package, which is in ``file``.

    Its names are those that the stub imports, each in a line of its own: ``from module import name as name``. Names of
    a folder that was deleted are unknown.
    """
    root = os.path.dirname(file)  # noqa: PTH120 - pathlib is not loaded yet

    @cache
    def homes() -> dict[str, str]:
        with open(f"{file}i", encoding="utf-8") as stub:  # noqa: PTH123 - pathlib is not loaded yet
            lines = [line.split() for line in stub]
        found = {words[3]: words[1] for words in lines if words[:1] == ["from"]}
        folders = {module.rpartition(".")[0] for module in found.values()}
        deleted = {folder for folder in folders if not os.path.isdir(path_of(folder))}  # noqa: PTH112 - see above
        return {name: module for name, module in found.items() if module.rpartition(".")[0] not in deleted}

    def path_of(folder: str) -> str:
        return os.path.join(root, *folder.removeprefix(package).split("."))  # noqa: PTH118 - see above

    def find(name: str) -> object:
        if name == "__all__":
            return [*homes()]
        if name.startswith("__") or name not in homes():
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found: object = getattr(import_module(homes()[name]), name)
        setattr(sys.modules[package], name, found)
        return found

    return find, lambda: sorted({*vars(sys.modules[package]), *homes()})
