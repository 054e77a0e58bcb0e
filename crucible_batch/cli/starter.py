"""The ``init`` command: a starter folder, or a manifest with one job for each image of a folder."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path

from rich.text import Text

from crucible_batch.api.image_folder import ImageFolder, ListedImage, first_problem, list_images
from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.terminal import fact, say, say_indented, working
from crucible_batch.cli.units import grouped
from crucible_batch.domain.redaction import clean
from crucible_batch.errors import UserError
from crucible_batch.manifest import manifest_schema
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
DEFAULT_WORKFLOW = "qwen-edit"
_MANIFEST, _TABLE = "manifest.yaml", "images.csv"
_MOST_SKIPPED = 5
# Characters that JSON leaves as they are and YAML takes for line breaks, or refuses.
_ESCAPED_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_TEXT = """\
# yaml-language-server: $schema=manifest.schema.json
#
# One job for each row of {table}. See what it would cost:  crucible-batch plan {manifest}{options}
version: 1
name: {name}
workflow: {workflow}   # must take an image; to list all: crucible-batch workflows
budget:
  max_credits_per_job: 4       # a higher price ends the run; run asks for a budget, or takes --budget N
  max_credits_per_upload: 1
duplicates: once               # files with the same content are one job
jobs:
  - name: "{{{{ row.name }}}}"
    foreach: {table}
    prompt: {prompt}
    image: "{{{{ row.image }}}}"
"""


def write_starter(output: CommandOutput, directory: Path) -> None:
    """Write the starter folder. Raises ``UserError`` before writing anything if one of its files exists."""
    contents = {target: _packaged(packaged) for packaged, target in _STARTER.items()} | _schema_file()
    # Two starter folders with one name would share a run directory and its budget.
    named = f"\nname: {_quoted(_batch_name(directory))}\n".encode()
    contents[_MANIFEST] = contents[_MANIFEST].replace(b"\nname: my-batch\n", named)
    _write_files(directory, contents)
    _show_written(output, directory, "starter folder created", contents)
    _show_next(output, directory, shell_command("plan", _MANIFEST))
    fact(output.out, "no key?", ("crucible-batch sandbox", "command"))
    fact(output.out, "", "in another terminal: a local gateway")


def _packaged(name: str) -> bytes:
    return (files("crucible_batch.cli") / "templates" / name).read_bytes()


def _schema_file() -> dict[str, bytes]:
    return {_SCHEMA: (json.dumps(manifest_schema(), indent=2) + "\n").encode()}


def _optional_files(directory: Path) -> dict[str, bytes]:
    """Return the names and contents of the files that are useful, and needn't be written if they exist."""
    names = {_STARTER[packaged]: packaged for packaged in ("env.example", "gitignore")}
    return {name: _packaged(packaged) for name, packaged in names.items() if not (directory / name).exists()}


def _write_files(directory: Path, contents: Mapping[str, bytes]) -> list[Path]:
    """Write files into a folder, and return their paths. Raises ``UserError`` before writing if one of them exists."""
    for target in contents:
        if (directory / target).exists() or (directory / target).is_symlink():
            raise UserError(
                f"{directory / target} already exists", hint="choose another folder: crucible-batch init DIR"
            )
        if (folder := (directory / target).parent) != directory and folder.is_symlink():
            raise UserError(f"{folder} is a link", hint="choose another folder: crucible-batch init DIR")
    try:
        for target, content in contents.items():
            path = directory / target
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                file.write(content)
        return [directory / target for target in contents]
    except OSError as error:
        raise UserError(f"{error.filename or directory}: {error.strerror}", hint="choose another folder") from error
    except RecursionError:  # pathlib creates parent folders recursively
        raise UserError("the folder has too many folders above it", hint="choose another folder") from None


def _show_written(output: CommandOutput, directory: Path, what: str, written: Iterable[str]) -> None:
    where = "here" if directory == Path() else clean(str(directory), 4000)
    say(output.out, ("✓ ", "good"), f"{what}: ", (where, "strong"))
    say_indented(output.out, Text("  "), ("  ".join(sorted(written)), "quiet"))


def _show_next(output: CommandOutput, directory: Path, command: str) -> None:
    """Show the command as the next one, in the folder: results, ``.env`` and later commands belong there."""
    if directory == Path():
        fact(output.out, "next", (command, "command"))
        return
    folder = clean(str(directory), 4000)
    fact(output.out, "next", (shlex.join(["cd", f"./{folder}" if folder.startswith("-") else folder]), "command"))
    fact(output.out, "", (command, "command"))


def write_image_manifest(
    output: CommandOutput, directory: Path, folder: Path, prompt: str, workflow: str | None
) -> None:
    """Write a manifest and a table for the images of ``folder``, and check that they are valid.

    If the images are not in ``directory``, the files are written into ``folder``: a run reads no files outside of the
    folder of its manifest. Only images that are links to elsewhere need ``--allow-outside`` then.

    Raises ``UserError``, and leaves no file behind, if there are no images, a file exists, or the prompt is invalid.
    """
    if not prompt.strip():
        raise UserError("the prompt is empty", hint='write what to do with each image: --prompt "on white marble"')
    with working(output.err, "reading the images"):
        found = list_images(folder, directory)
        is_elsewhere = found.leads_out
        name = _batch_name(folder if is_elsewhere and directory == Path() else directory)
        if is_elsewhere:
            directory = folder
            found = list_images(folder, directory)
    options = " --allow-outside" if found.leads_out else ""
    text = _TEXT.format(
        table=_TABLE,
        manifest=_MANIFEST,
        options=options,
        name=_quoted(name),
        workflow=_quoted(workflow or DEFAULT_WORKFLOW),
        prompt=_quoted(f"@{prompt}" if prompt.startswith("@") else prompt),
    )
    contents = {_MANIFEST: _encoded(text), _TABLE: _table(found.images), **_schema_file(), **_optional_files(directory)}
    written = _write_files(directory, contents)
    problem = first_problem(directory / _MANIFEST, allow_outside=found.leads_out)
    if problem is not None:
        for path in written:
            path.unlink(missing_ok=True)
        option = "--workflow" if "workflow" in problem.field else "--prompt"
        raise UserError(f"{option}: {problem.message}", hint=problem.hint or "correct it; nothing was written")
    _show_image_manifest(output, directory, found, contents, options)
    if is_elsewhere:
        say_indented(output.out, Text("  "), "It is beside the images: a run reads no files outside of its folder.")


def _show_image_manifest(
    output: CommandOutput, directory: Path, found: ImageFolder, contents: Iterable[str], options: str
) -> None:
    _show_written(output, directory, f"a manifest for {grouped(len(found.images), 'image')}", contents)
    for name, why in found.skipped[:_MOST_SKIPPED]:
        fact(output.out, "skipped", clean(f"{name}: {why}"))
    if (more := len(found.skipped) - _MOST_SKIPPED) > 0:
        fact(output.out, "skipped", f"{more:,} more")
    _show_next(output, directory, f"{shell_command('plan', _MANIFEST)}{options}")
    if options:
        say_indented(output.out, Text("  "), "Some images are links to other folders; --allow-outside permits that.")


def _batch_name(directory: Path) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", directory.resolve().name).lstrip(".-")
    return name[:100] or "my-batch"


def _quoted(text: str) -> str:
    """Return a text as a double-quoted YAML scalar on one line."""
    return _ESCAPED_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise UserError("the prompt or the workflow is not UTF-8", hint="type it in a UTF-8 terminal") from None


def _table(images: Iterable[ListedImage]) -> bytes:
    buffer = io.StringIO()
    rows = csv.writer(buffer, lineterminator="\n")
    rows.writerow(["name", "image"])
    rows.writerows((image.name, image.path) for image in images)
    return buffer.getvalue().encode()
