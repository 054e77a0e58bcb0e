"""Each command that the program, its documentation or its deployment files print exists, with its
options."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import typer.main

from crucible_batch.cli.app import app
from tests.harness.command_tree import all_commands
from tests.harness.features import deleted_commands, deleted_options

ROOT = Path(__file__).parents[2]
COMMANDS = {
    name: {
        word
        for parameter in command.params
        for word in (*parameter.opts, *parameter.secondary_opts)
    }
    | {"--help", "-h", *deleted_options()}
    for name, command in all_commands(typer.main.get_command(app)).items()
}
DELETED = deleted_commands()
GROUPS = {name.partition(" ")[0] for name in {*COMMANDS, *DELETED} if " " in name}
PLACES = (
    "README.md", "CONTRIBUTING.md", "SECURITY.md", "Makefile", "Dockerfile", "compose.yaml",
    ".ci", ".github", "docs", "manifests", "crucible_batch",
)  # fmt: skip
SUFFIXES = {".md", ".yaml", ".yml", ".j2", ".js", ".sh", ".sbatch", ""}
TEXTS = [
    path
    for place in PLACES
    for path in ([ROOT / place] if (ROOT / place).is_file() else sorted((ROOT / place).rglob("*")))
    if path.is_file() and path.suffix in SUFFIXES
]
PRINTED = re.compile(
    r"crucible-batch(?: --\S+)* ([a-z][a-z-]*)((?: (?:(?!\. |\.$)[^`\n|;&()])+)?)", re.MULTILINE
)
"""A command and the rest of its line, as far as it belongs to it."""
PROSE = re.compile(
    "against|and|are|as|command|generates|guarantees|has|in|installed|into|itself|manifest"
    "|notification|sidecar|that|yet|you"
)
"""What follows the name of the program in sentences."""


def strings(tree: ast.AST) -> Iterator[str]:
    """Yield the texts of a module: an f-string as one, with X for each value."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(each.value) if isinstance(each, ast.Constant) else "X" for each in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in {
            "shell_command",
            "run_command",
        }:
            words = [
                str(each.value) if isinstance(each, ast.Constant) else "X" for each in node.args
            ]
            yield " ".join(
                ["crucible-batch", *(["run"] if node.func.id == "run_command" else []), *words]
            )  # type: ignore[attr-defined]


def printed() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "crucible_batch").rglob("*.py")):
        for text in strings(ast.parse(path.read_text(encoding="utf-8"))):
            yield path.relative_to(ROOT).as_posix(), text
    for path in TEXTS:
        yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def faults(text: str) -> Iterator[str]:
    for found in PRINTED.finditer(text.replace("\\\n", " ")):
        # What follows -- is the command of another program.
        command, rest = found[1], re.split(r"  # | -- ", found[2])[0].split()
        if command in GROUPS and rest:
            command, rest = f"{command} {rest[0]}", rest[1:]
        if command in COMMANDS:
            options = [
                word.partition("=")[0].strip(".,:'\"]")
                for word in rest
                if re.match(r"--?[a-z]", word)
            ]
            yield from (
                f"{found[0]!r}: no option {option}"
                for option in options
                if option not in COMMANDS[command]
            )
        elif command not in DELETED and not PROSE.fullmatch(command):
            yield f"{found[0]!r}: no command {command}"


def test_each_printed_command_exists() -> None:
    assert [f"{where}: {fault}" for where, text in printed() for fault in faults(text)] == []


def test_a_command_that_is_gone_is_found() -> None:
    assert list(faults("hint: crucible-batch verify out --fix")) == [
        "'crucible-batch verify out --fix': no command verify"
    ]
    assert list(faults("`crucible-batch report out --repair`"))
    assert list(faults("crucible-batch report out -x"))
    assert list(faults("crucible-batch agent skil"))
    assert any(list(faults(text)) for text in strings(ast.parse("shell_command('clean', at)")))
