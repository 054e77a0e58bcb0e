"""A start loads what its command needs: counted in modules, since milliseconds are another machine's."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from crucible_batch.cli.app import app
from crucible_batch.cli.garbage import put_off_collecting
from crucible_batch.cli.startup import sparing

MANIFESTS = Path(__file__).parents[2] / "manifests"
LOADED = """
import atexit, sys
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
sys.argv = ["crucible-batch", *sys.argv[1:]]
from crucible_batch.cli import main
main()
"""


def loaded(*words: str) -> set[str]:
    """Run a command to its end, and return the modules that it has loaded by then."""
    done = subprocess.run([sys.executable, "-c", LOADED, *words], capture_output=True, text=True, check=True)
    return set(done.stderr.splitlines()[-1].split())


def of(package: str, modules: set[str]) -> set[str]:
    return {name for name in modules if name == package or name.startswith(f"{package}.")}


def test_the_version_takes_nothing_but_the_standard_library() -> None:
    modules = loaded("--version")
    ours = of("crucible_batch", modules)
    assert ours == {"crucible_batch", "crucible_batch.cli", "crucible_batch.lazy_imports"}
    for package in ("typer", "rich", "pydantic", "httpx", "jinja2", "yaml", "asyncio", "sqlite3", "dataclasses"):
        assert not of(package, modules), package


def test_help_takes_neither_a_markdown_parser_nor_a_lexer_nor_our_own_machinery() -> None:
    modules = loaded("--help")
    assert of("typer.rich_utils", modules)
    for package in ("markdown_it", "pygments", "rich.markdown", "rich.traceback", "pydantic", "asyncio"):
        assert not of(package, modules), package
    assert not of("crucible_batch.api", modules)


def test_checking_a_manifest_takes_neither_engine_nor_http_stack_nor_pillow() -> None:
    modules = loaded("validate", str(MANIFESTS / "hello.yaml"))
    assert of("crucible_batch.manifest", modules)
    for package in ("httpx", "PIL", "aiofiles", "asyncio", "starlette", "uvicorn", "tenacity", "filelock"):
        assert not of(package, modules), package
    for room in ("engine", "gateway", "report", "outputs", "journal.store", "domain.events", "domain.job", "sandbox"):
        assert not of(f"crucible_batch.{room}", modules), room


@pytest.mark.parametrize("words", [[], ["--help"], ["validat"], ["run", "--help"]])
def test_what_is_left_out_shows_nowhere(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for each in (app, sparing(app, words, {})):
        with pytest.raises((SystemExit, typer.Exit)):
            each(words, standalone_mode=True)
        shown.append(capsys.readouterr())
    assert shown[0] == shown[1]
    assert shown[0].out + shown[0].err


def test_only_the_command_that_is_asked_for_has_its_parameters() -> None:
    commands = typer.main.get_command(sparing(app, ["--verbose", "verify", "plan"], {})).commands  # type: ignore[attr-defined]
    assert [name for name, command in commands.items() if command.params] == ["verify"]


def test_the_tab_key_finds_every_parameter() -> None:
    assert sparing(app, [], {"_CRUCIBLE_BATCH_COMPLETE": "complete_bash"}) is app


def test_collecting_is_put_off_once_and_then_goes_on_without_what_was_there_before() -> None:
    gc.collect()  # another test may have started a command in this process
    usual, callbacks = gc.get_threshold(), len(gc.callbacks)
    put_off_collecting()
    put_off_collecting()
    of_a_start = gc.get_threshold()[0]
    assert of_a_start > usual[0]
    assert len(gc.callbacks) == callbacks + 1
    gc.collect()
    assert usual[0] <= gc.get_threshold()[0] < of_a_start
    assert len(gc.callbacks) == callbacks
    assert gc.get_freeze_count()
    gc.unfreeze()
    gc.set_threshold(*usual)
