"""The layers hold: imports between rooms only go down, and never to a room beside one."""

from __future__ import annotations

import ast
import functools
import graphlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from crucible_batch.features import exists
from crucible_batch.features.needs import NEEDS

PACKAGE = Path(__file__).parents[2] / "crucible_batch"
PATHS = sorted(PACKAGE.rglob("*.py"))

FINDER = "crucible_batch.features"
"""It finds what features add, and names none. Any room but the pure ones may import it."""

# What each room may import of our own package; the table in docs/architecture.md says the same in
# words.
MAY_IMPORT = {
    "lazy_imports": {"features"},
    "option_values": set(),
    "scheduled_time": set(),
    "resource_errors": {"errors"},
    "atomic_files": {"errors"},
    "edited_files": {"errors", "atomic_files"},
    "object_url": {"errors"},
    "errors": {"exit_codes"},
    "exit_codes": set(),
    "secret_text": set(),
    "shell_command": set(),
    "temporary_database": {"errors"},
    "error_codes": {"errors"},
    "core": {"errors"},
    "manifest": {
        "errors", "atomic_files", "option_values",
        "scheduled_time", "secret_text", "temporary_database",
    },
    "input_images": {"errors", "core", "atomic_files"},
    "planner": {"errors", "core", "manifest"},
    "gateway": {"errors", "core", "secret_text"},
    "journal": {
        "errors", "core", "atomic_files", "lazy_imports", "shell_command", "temporary_database",
    },
    "outputs": {"errors", "core", "atomic_files", "object_url", "temporary_database"},
    "report": {"errors", "core", "atomic_files", "shell_command"},
    "saved_plan": {"errors", "core", "atomic_files", "shell_command"},
    "settings": {"errors", "core", "secret_text"},
    "pace": {"core"},
    "engine": {"errors", "core", "pace", "input_images", "outputs", "temporary_database"},
    "runs": {
        "errors", "error_codes", "core", "manifest", "input_images", "planner", "gateway",
        "journal", "outputs", "report", "saved_plan", "settings", "engine", "atomic_files",
        "option_values",
        "scheduled_time", "secret_text", "shell_command",
        "object_url", "resource_errors", "pace", "features",
    },
    "features": {
        "errors", "error_codes", "core", "manifest", "input_images", "planner", "gateway",
        "journal", "outputs", "report", "saved_plan", "settings", "engine", "atomic_files",
        "edited_files", "option_values",
        "scheduled_time", "secret_text", "shell_command",
        "object_url", "resource_errors", "pace", "runs", "cli",
    },
    "sandbox": set(),
    "cli": {
        "errors", "error_codes", "core", "runs", "report", "settings", "sandbox", "atomic_files",
        "shell_command", "option_values", "scheduled_time", "secret_text", "resource_errors",
        "gateway",
        "manifest", "outputs", "saved_plan", "features",
    },
    "api": {"core", "runs", "features"},
    "__init__": {"lazy_imports"},
    "__main__": {"cli"},
}  # fmt: skip


@functools.cache
def _nodes(path: Path) -> list[ast.AST]:
    """All nodes of a module, which is parsed once for all tests."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in _nodes(path):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, (
                f"{path}:{node.lineno}: write imports of our own modules in full"
            )
            if node.module == "crucible_batch":
                yield from ((node.lineno, f"crucible_batch.{alias.name}") for alias in node.names)
            elif node.module:
                yield node.lineno, node.module
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)


def _room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_a_module_imports_only_what_its_room_may() -> None:
    forbidden = []
    for path in PATHS:
        room = _room(path)
        for line, module in _imports(path):
            package, _, rest = module.partition(".")
            imported = rest.split(".")[0]
            if module == FINDER:
                continue
            if package == "crucible_batch" and imported not in {
                "",
                room,
                "__version__",
                *MAY_IMPORT[room],
            }:
                forbidden.append(f"{path}:{line}: {room} may not import {imported}")
    assert forbidden == [], "\n".join(forbidden)


def test_every_file_and_room_that_the_architecture_names_is_there() -> None:
    text = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py|[a-z_]+/)`", text))
    assert len(named) > 60
    deleted = {
        name
        for name in named
        if name.startswith("features/") and not exists(name.split("/")[1] or "..")
    }
    there = {
        name for name in named if (PACKAGE / name).exists() or (PACKAGE.parent / name).exists()
    }
    assert named - there - deleted == set()
    rooms = {name for name in MAY_IMPORT if not name.startswith("__")}
    assert {name.removesuffix(".py").rstrip("/") for name in named} >= rooms


MODULES = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in PATHS}


def test_no_modules_import_each_other_in_a_circle() -> None:
    """An import of a package is one of its ``__init__``; imports inside functions count as well."""
    graph: dict[str, set[str]] = {}
    for name, path in MODULES.items():
        names = list(_names_imported(path))
        imported = {f"{package}.{part}" for package, part in names}
        imported |= {package for package, part in names if f"{package}.{part}" not in MODULES}
        imported |= {f"{module}.__init__" for module in imported}
        graph[name] = imported & MODULES.keys() - {name}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def _names_imported(path: Path) -> Iterator[tuple[str, str]]:
    for node in _nodes(path):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)


def test_every_room_is_in_the_table() -> None:
    rooms = {_room(path) for path in PATHS}
    assert rooms <= set(MAY_IMPORT)


def test_the_core_neither_waits_nor_looks_at_the_world() -> None:
    forbidden = {
        "asyncio",
        "time",
        "random",
        "os",
        "socket",
        "logging",
        "sqlite3",
        "httpx",
        "uuid",
        "secrets",
    }
    used = [
        f"{path}:{line}: {module}"
        for path in PATHS
        if _room(path) == "core"
        for line, module in _imports(path)
        if module.split(".")[0] in forbidden
    ]
    assert used == [], "\n".join(used)


def test_no_import_is_hidden_behind_type_checking() -> None:
    hidden = [
        f"{path}:{node.lineno}"
        for path in PATHS
        for choice in _nodes(path)
        if isinstance(choice, ast.If) and "TYPE_CHECKING" in ast.unparse(choice.test)
        for node in ast.walk(choice)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert hidden == [], "\n".join(hidden)


def test_no_public_class_name_stands_twice() -> None:
    """The sandbox aside: it shares nothing with the rest on purpose, names included."""
    found = [
        node.name
        for path in PATHS
        if _room(path) != "sandbox"
        for node in _nodes(path)
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    assert [name for name, times in Counter(found).items() if times > 1] == []


def test_a_function_has_at_most_72_lines() -> None:
    """That is as much as 60 lines of 120 columns, which they had before."""
    functions = [
        f"{path}:{node.lineno}: {node.name}"
        for path in PATHS
        for node in _nodes(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= 72
    ]
    assert functions == [], "\n".join(functions)


NAMED = {
    ("api", "registry"), ("cli", "registry"),
}  # fmt: skip
"""Rooms with a feature that they still name, beside the registry."""


def test_no_room_names_a_feature() -> None:
    named = {
        (_room(path), module.split(".")[2])
        for path in PATHS
        if _room(path) != "features"
        for _, module in _imports(path)
        if module.startswith(f"{FINDER}.")
    }
    assert named == NAMED


def test_a_feature_uses_only_those_that_it_needs() -> None:
    used = {
        (path.relative_to(PACKAGE).parts[1], module.split(".")[2])
        for path in PATHS
        if _room(path) == "features"
        for _, module in _imports(path)
        if module.startswith(f"{FINDER}.")
    }
    needed = {(one, other) for one, others in NEEDS.items() if exists(one) for other in others}
    assert {
        (one, other)
        for one, other in used
        if exists(one) and other not in {one, "registry", "needs"}
    } == needed
