"""``init --images``: a manifest with one job for each image of a folder."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from crucible_batch.api import ImageFolder, ListedImage, clean, first_problem, list_images
from crucible_batch.cli.answer import CommandOutput
from crucible_batch.cli.starter import optional_files, schema_file, write_files
from crucible_batch.cli.terminal import fact, say, working
from crucible_batch.errors import UserError
from crucible_batch.shell_command import shell_command

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


def write_image_manifest(
    answer: CommandOutput, directory: Path, folder: Path, prompt: str, workflow: str | None
) -> None:
    """Write a manifest and a table for the images of ``folder``, and check that they are valid.

    Raises ``UserError``, and leaves no file behind, if there are no images, a file exists, or the prompt is invalid.
    """
    if not prompt.strip():
        raise UserError("the prompt is empty", hint='write what to do with each image: --prompt "on white marble"')
    with working(answer.err, "reading the images"):
        found = list_images(folder, directory)
    options = " --allow-outside" if found.leads_out else ""
    text = _TEXT.format(
        table=_TABLE,
        manifest=_MANIFEST,
        options=options,
        name=_quoted(_batch_name(directory)),
        workflow=_quoted(workflow or DEFAULT_WORKFLOW),
        prompt=_quoted(f"@{prompt}" if prompt.startswith("@") else prompt),
    )
    contents = {_MANIFEST: _encoded(text), _TABLE: _table(found.images), **schema_file(), **optional_files(directory)}
    written = write_files(directory, contents)
    problem = first_problem(directory / _MANIFEST, allow_outside=found.leads_out)
    if problem is not None:
        for path in written:
            path.unlink(missing_ok=True)
        option = "--workflow" if "workflow" in problem.field else "--prompt"
        raise UserError(f"{option}: {problem.message}", hint=problem.hint or "correct it; nothing was written")
    _report(answer, directory, found, contents, options)


def _report(
    answer: CommandOutput, directory: Path, found: ImageFolder, contents: Mapping[str, bytes], options: str
) -> None:
    where = clean(str(directory), 4000)
    count = len(found.images)
    images = "1 image" if count == 1 else f"{count:,} images"
    say(answer.out, ("✓ ", "good"), f"a manifest for {images}: ", (where if where != "." else "here", "strong"))
    say(answer.out, ("  " + "  ".join(sorted(contents)), "quiet"))
    for name, why in found.skipped[:_MOST_SKIPPED]:
        fact(answer.out, "skipped", clean(f"{name}: {why}"))
    if (more := len(found.skipped) - _MOST_SKIPPED) > 0:
        fact(answer.out, "skipped", f"{more:,} more")
    fact(answer.out, "next", (f"{shell_command('plan', Path(where, _MANIFEST))}{options}", "command"))
    if options:
        say(answer.out, "  The images are not in the manifest's folder; --allow-outside permits that.")


def _batch_name(directory: Path) -> str:
    """Return a name for the batch, from that of its folder."""
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
