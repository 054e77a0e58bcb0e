"""A manifest that makes one job again, in YAML."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from crucible_batch.report.models import JobRow, ManifestRow

_PROMPT_FIELDS = ("prompt.text", "prompt.value", "prompt")
_UNPRINTABLE = re.compile(
    "[^\\t\\n\\r\x20-\x7e\xa0-\u2027\u202f-\u2065\u2070-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
"""What YAML doesn't take as it stands, and what turns the direction of the text around it."""
_TEMPLATE = ("{{", "{%", "{#")


def snippet(row: JobRow, manifest: ManifestRow) -> str:
    """Return a whole manifest with this one job. Its name is another: what it makes is a new purchase."""
    return "\n".join(_lines(row, manifest)) + "\n"


def _lines(row: JobRow, manifest: ManifestRow) -> Iterator[str]:
    yield "version: 1"
    yield f"name: {_scalar(manifest.name + '-again')}"
    yield f"workflow: {_scalar(row.workflow_id)}"
    yield "jobs:"
    yield f"  - name: {_scalar(_untemplated(row.name))}"
    prompt_field = next((name for name in _PROMPT_FIELDS if name in row.params), None)
    if row.prompt is not None and prompt_field is not None and row.params[prompt_field] == row.prompt:
        yield f"    prompt: {_scalar(_literal(row.prompt))}"
    else:
        prompt_field = None
    if row.image_files:
        yield "    images:"
        for param, file in row.image_files.items():
            yield f"      {_scalar(param)}: {_scalar(_untemplated(_beside(manifest.path, file)))}"
    params = {name: value for name, value in row.params.items() if name != prompt_field}
    if params:
        yield "    params:"
        for name, value in params.items():
            yield f"      {_scalar(name)}: {_scalar(_untemplated(value))}"


def _scalar(value: object) -> str:
    """Write a value: JSON is YAML too, but for what is unprintable. A plain word needs no quotes."""
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", value) and value.lower() not in _WORDS:
        return value
    return _UNPRINTABLE.sub(lambda found: _escaped(found[0]), json.dumps(value, ensure_ascii=False))


_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


def _escaped(character: str) -> str:
    return f"\\u{ord(character):04x}"


def _literal(prompt: str) -> object:
    """A prompt that begins with ``@`` would be read from a file."""
    return _untemplated("@" + prompt if prompt.startswith("@") else prompt)


def _untemplated(value: object) -> object:
    """Keep a text, also one within a list, from being taken for a template: what was rendered is not rendered again."""
    match value:
        case str():
            return value.replace("{", '{{ "{" }}') if any(mark in value for mark in _TEMPLATE) else value
        case list():
            return [_untemplated(item) for item in value]
        case dict():
            return {str(key): _untemplated(item) for key, item in value.items()}
        case _:
            return value


def _beside(manifest: str, file: str) -> str:
    """Return a file as seen from the manifest's folder, if it lies in there."""
    folder, path = Path(manifest).absolute().parent, Path(file).absolute()
    return Path(os.path.relpath(path, folder)).as_posix() if path.is_relative_to(folder) else file
