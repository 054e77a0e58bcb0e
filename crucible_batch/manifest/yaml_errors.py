"""Errors of the YAML parser, in the words of a manifest's author."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from yaml.reader import ReaderError

from crucible_batch.errors import Place, Problem

# libyaml's phrases (the pure parser's begin alike) and what to say and advise instead. The first that fits counts.
_PHRASES: tuple[tuple[str, str, str | None], ...] = (
    (
        "mapping values are not allowed",
        "a colon stands where it can't",
        "put text that holds `: ` in quotes, and indent keys of one mapping alike",
    ),
    ("found unexpected end of stream", "the quoted text never ends", "close the quote that was opened"),
    ("could not find expected ':'", "a key without a colon", "write `key: value`, with a space after the colon"),
    ("did not find expected ',' or ']'", "the list never ends", "close it with ], and put commas between its items"),
    ("did not find expected ',' or '}'", "the mapping never ends", "close it with }, and put commas between its pairs"),
    ("did not find expected key", "neither a key nor the end of the mapping", "indent keys of one mapping alike"),
    ("did not find expected '-' indicator", "the list goes on with something that is no item", "begin items with `- `"),
    ("found undefined tag handle", "an unknown YAML tag", "put text that begins with ! in quotes"),
    ("found invalid Unicode character escape", "an escape that stands for no character", None),
    ("found unknown escape character", "an unknown escape in quoted text", "use 'single quotes', or double the \\"),
    ("found incompatible YAML document", "a YAML version that isn't supported", "drop the %YAML line"),
    ("found character that cannot start any token", "a character that can't begin a value", None),
)
_CANT_BEGIN = {
    "@": 'put the text in quotes: "@prompts/file.txt"',
    "`": "put the text in quotes",
    "%": "put the text in quotes",
    "\t": "indent with spaces, not with tabs",
}


def explain(error: yaml.YAMLError, text: str, file: Path) -> Problem:
    """Turn an error of the YAML parser about ``text`` into a problem with its place."""
    if isinstance(error, ReaderError):
        code: Any = error.character  # libyaml gives the code, the pure parser the character
        return forbidden(chr(code) if isinstance(code, int) else str(code), text, file)
    phrase = str(getattr(error, "problem", None) or "")
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    place = Place(file) if mark is None else Place(file, mark.line + 1, mark.column + 1)
    for beginning, message, hint in _PHRASES:
        if phrase.startswith(beginning):
            return Problem(place, "", f"not YAML: {message}{_opened(error)}", hint=hint or _character_hint(text, mark))
    return Problem(place, "", f"not YAML: {phrase or 'the parser gave no reason'}{_opened(error)}")


def _opened(error: Any) -> str:
    """Name the place where something unclosed begins: the parser notices it at the end of the file."""
    opened, noticed = getattr(error, "context_mark", None), getattr(error, "problem_mark", None)
    if opened is None or noticed is None or opened.line == noticed.line:
        return ""
    return f" (it began at line {opened.line + 1}, column {opened.column + 1})"


def _character_hint(text: str, mark: Any) -> str | None:
    """Give advice about the character that the parser stopped at, or about a tab in the indentation before it."""
    if mark is None:
        return None
    lines = text.split("\n", mark.line + 1)
    line = lines[mark.line] if mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return _CANT_BEGIN["\t"]
    return _CANT_BEGIN.get(line[mark.column : mark.column + 1])


def forbidden(character: str, text: str, file: Path) -> Problem:
    """Return the problem of a character that YAML forbids, at its first place in ``text``."""
    before = text[: max(text.find(character), 0)]
    place = Place(file, before.count("\n") + 1, len(before) - before.rfind("\n"))
    message = f"not YAML: the character U+{ord(character[0]):04X} is not allowed"
    return Problem(place, "", message, hint='in "double quotes" it can be written as an escape')
