"""What the package exports: the stub, the lazy table and the modules agree."""

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

STUB = Path(crucible_batch.__file__).with_suffix(".pyi")


def _stub_names() -> dict[str, str]:
    tree = ast.parse(STUB.read_text(encoding="utf-8"))
    return {
        alias.name: node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


def test_the_stub_lists_what_can_be_imported() -> None:
    assert set(_stub_names()) == set(crucible_batch.__all__) - {"__version__"}


@pytest.mark.parametrize(("name", "module"), sorted(_stub_names().items()))
def test_a_name_is_the_one_that_the_stub_says(name: str, module: str) -> None:
    assert getattr(crucible_batch, name) is getattr(importlib.import_module(module), name)


def test_every_error_of_the_tree_and_every_message_is_exported() -> None:
    tree = {name for name, it in vars(errors).items() if isinstance(it, type) and issubclass(it, Exception)}
    assert tree | {message.__name__ for message in get_args(Message)} <= set(crucible_batch.__all__)


def test_an_unknown_name_is_refused_as_python_does() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = crucible_batch.nonsense  # type: ignore[attr-defined]


def test_importing_the_package_loads_no_http_stack() -> None:
    program = "import sys, crucible_batch; print(*({'httpx', 'pydantic', 'PIL'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == ""
