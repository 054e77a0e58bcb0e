"""The ``init`` command: a starter folder."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path

from rich.text import Text

from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.schema import schema_of
from crucible_batch.cli.terminal import fact, say, say_indented
from crucible_batch.core.redaction import clean_path
from crucible_batch.errors import UserError
from crucible_batch.shell_command import shell_command

_STARTER = {
    # packaged as / written as: packaging tools may leave out files that begin with a dot
    "manifest.yaml": "manifest.yaml",
    "products.csv": "products.csv",
    "teapot.png": "photos/teapot.png",
    "env.example": ".env.example",
    "gitignore": ".gitignore",
}
_SCHEMA = "manifest.schema.json"
_MANIFEST = "manifest.yaml"


def write_starter(output: CommandOutput, directory: Path) -> None:
    """Write the starter folder.

    Raises ``UserError`` before writing anything if one of its files exists.
    """
    templates = files("crucible_batch.cli") / "templates"
    contents = {
        target: (templates / packaged).read_bytes() for packaged, target in _STARTER.items()
    }
    contents[_SCHEMA] = (json.dumps(schema_of("manifest"), indent=2) + "\n").encode()
    # Two starter folders with one name would share a run directory and its budget.
    named = f"\nname: {json.dumps(_batch_name(directory))}\n".encode()
    contents[_MANIFEST] = contents[_MANIFEST].replace(b"\nname: my-batch\n", named)
    _write_files(directory, contents)
    _show_written(output, directory, contents)
    _show_next(output, directory, shell_command("plan", _MANIFEST))
    fact(output.out, "no key?", ("crucible-batch sandbox", "command"))
    fact(output.out, "", "in another terminal: a local gateway")


def _write_files(directory: Path, contents: Mapping[str, bytes]) -> None:
    """Write files into a folder. Raises ``UserError`` before writing if one of them exists."""
    for target in contents:
        if (directory / target).exists() or (directory / target).is_symlink():
            raise UserError(
                f"{directory / target} already exists",
                hint="choose another folder: crucible-batch init DIR",
            )
        folder = (directory / target).parent
        if folder != directory and folder.is_symlink():
            raise UserError(
                f"{folder} is a link", hint="choose another folder: crucible-batch init DIR"
            )
    try:
        for target, content in contents.items():
            path = directory / target
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                file.write(content)
    except OSError as error:
        raise UserError(
            f"{error.filename or directory}: {error.strerror}", hint="choose another folder"
        ) from error
    except RecursionError:  # pathlib creates parent folders recursively
        raise UserError(
            "the folder has too many folders above it", hint="choose another folder"
        ) from None


def _show_written(output: CommandOutput, directory: Path, written: Iterable[str]) -> None:
    where = "here" if directory == Path() else clean_path(directory)
    say(output.out, ("✓ ", "good"), "starter folder created: ", (where, "strong"))
    say_indented(output.out, Text("  "), ("  ".join(sorted(written)), "quiet"))


def _show_next(output: CommandOutput, directory: Path, command: str) -> None:
    """Show the command as the next one, in the folder.

    Results, ``.env`` and later commands belong there.
    """
    if directory == Path():
        fact(output.out, "next", (command, "command"))
        return
    folder = clean_path(directory)
    if folder.startswith("-"):
        folder = f"./{folder}"
    fact(output.out, "next", (shlex.join(["cd", folder]), "command"))
    fact(output.out, "", (command, "command"))


def _batch_name(directory: Path) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", directory.resolve().name).lstrip(".-")
    return name[:100] or "my-batch"
