"""What the package exports: the names of the stub, from the modules that it names."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import crucible_batch
from crucible_batch import errors
from crucible_batch.core.progress import Message
from crucible_batch.features import exists
from tests.harness.case_table import each_case

LAZY = ("crucible_batch", "crucible_batch.journal")


def _is_there(module: str) -> bool:
    _, _, feature = module.partition(".features.")
    return not feature or exists(feature.partition(".")[0])


def _stub_names(package: str) -> dict[str, str]:
    stub = Path(importlib.import_module(package).__file__ or "").with_suffix(".pyi")
    return {
        alias.name: node.module
        for node in ast.parse(stub.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom) and node.module and _is_there(node.module)
        for alias in node.names
    }


@each_case(
    "package, name, module",
    [
        (package, name, module)
        for package in LAZY
        for name, module in sorted(_stub_names(package).items())
    ],
)
def test_a_name_is_the_one_that_the_stub_says(package: str, name: str, module: str) -> None:
    assert getattr(importlib.import_module(package), name) is getattr(
        importlib.import_module(module), name
    )


@each_case("package", LAZY)
def test_a_package_lists_its_names_before_they_are_loaded(package: str) -> None:
    assert set(_stub_names(package)) <= set(dir(importlib.import_module(package)))


def test_every_error_of_the_tree_and_every_message_is_exported() -> None:
    tree = {
        name
        for name, it in vars(errors).items()
        if isinstance(it, type) and issubclass(it, Exception)
    }
    assert tree | {message.__name__ for message in get_args(Message)} <= set(crucible_batch.__all__)


def test_an_unknown_name_is_refused_as_python_does() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = crucible_batch.nonsense  # type: ignore[attr-defined]


def test_importing_the_package_loads_no_http_stack() -> None:
    program = (
        "import sys, crucible_batch; print(*({'httpx', 'pydantic', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == ""
