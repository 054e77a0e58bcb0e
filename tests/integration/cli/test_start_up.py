"""A start loads what its command needs: counted in modules, since milliseconds are another
machine's.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from crucible_batch.journal import Binding, Journal
from tests.harness.run_terms import run_terms

MANIFESTS = Path(__file__).parents[3] / "manifests"
LOADED = """
import atexit, sys
atexit.register(
    lambda: print(*(name for name, module in sys.modules.items() if module), file=sys.stderr)
)
sys.argv = ["crucible-batch", *sys.argv[1:]]
from crucible_batch.cli import main
main()
"""


def loaded(*words: str) -> set[str]:
    """Run a command to its end, and return the modules that it has loaded by then."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *words], capture_output=True, text=True, check=True
    )
    return set(done.stderr.splitlines()[-1].split())


def of(package: str, modules: set[str]) -> set[str]:
    return {name for name in modules if name == package or name.startswith(f"{package}.")}


def test_the_version_takes_nothing_but_the_standard_library() -> None:
    modules = loaded("--version")
    ours = of("crucible_batch", modules)
    assert ours == {"crucible_batch", "crucible_batch.cli", "crucible_batch.lazy_imports"}
    for package in (
        "typer",
        "rich",
        "pydantic",
        "httpx",
        "jinja2",
        "yaml",
        "asyncio",
        "sqlite3",
        "dataclasses",
    ):
        assert not of(package, modules), package


def test_help_takes_neither_a_markdown_parser_nor_a_lexer_nor_our_own_machinery() -> None:
    modules = loaded("--help")
    assert of("typer.rich_utils", modules)
    for package in ("markdown_it", "pygments", "rich.syntax", "pydantic", "asyncio"):
        assert not of(package, modules), package
    assert not of("crucible_batch.runs", modules)


def test_checking_a_manifest_takes_neither_engine_nor_http_stack_nor_pillow() -> None:
    modules = loaded("validate", str(MANIFESTS / "hello.yaml"))
    assert of("crucible_batch.manifest", modules)
    for package in (
        "httpx",
        "PIL",
        "aiofiles",
        "asyncio",
        "starlette",
        "uvicorn",
        "tenacity",
        "filelock",
    ):
        assert not of(package, modules), package
    for room in (
        "engine",
        "gateway",
        "report",
        "outputs",
        "journal.store",
        "core.events",
        "core.job",
        "sandbox",
    ):
        assert not of(f"crucible_batch.{room}", modules), room


def test_the_state_of_a_run_takes_no_http_stack(tmp_path: Path) -> None:
    with Journal.open(tmp_path, Binding("m", "r", "g"), now=0) as journal:
        journal.begin_run(run_terms(), now=0)
    modules = loaded("status", str(tmp_path))
    assert of("crucible_batch.journal", modules)
    assert not of("aiohttp", modules)


def test_on_windows_the_command_names_wsl_and_loads_nothing() -> None:
    on_windows = "import sys; sys.platform = 'win32'\n" + LOADED
    done = subprocess.run(
        [sys.executable, "-c", on_windows, "doctor"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "install and run crucible-batch in WSL" in done.stderr.splitlines()[0]
    assert "typer" not in done.stderr.splitlines()[-1].split()


_FINALIZED = """
import os, sys, types
class Loud:
    def __del__(self, write=os.write):
        write(1, b"finalized")
sys.kept = Loud()
sys.argv = ["crucible-batch", "explain", "NO_SUCH_CODE"]
from crucible_batch.cli import app, main
parse_and_run = app.main
def loading():
    if {has_store}:
        sys.modules["obstore"] = types.ModuleType("obstore")
    parse_and_run()
app.main = loading
main()
"""


@pytest.mark.parametrize("has_store", [False, True])
def test_with_an_object_store_the_process_exits_without_finalization(*, has_store: bool) -> None:
    """Otherwise its threads may abort the process, after a command that has succeeded."""
    code = _FINALIZED.format(has_store=has_store)
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode == 2
    assert "NO_SUCH_CODE" in ended.stderr
    assert ("finalized" in ended.stdout) is not has_store
