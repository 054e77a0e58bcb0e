"""What the YAML parser complains about, said in the words of somebody who writes a manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import yaml
from yaml.reader import ReaderError

from crucible_batch.errors import Place, Problem
from crucible_batch.manifest.problems import ProblemCollector
from crucible_batch.manifest.source_map import Node, SourceMap, StreamedList
from crucible_batch.manifest.source_map import Path as NodePath
from crucible_batch.manifest.yaml_builder import MAX_DEPTH, MAX_WARNINGS, StopReading, YamlBuilder

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


class Lines(Protocol):
    """The text that the parser complains about, as far as one has to look at it again."""

    def line(self, number: int) -> str:
        """Return a line, counted from 0; an empty one where there is none."""

    def find(self, character: str) -> tuple[int, int]:
        """Return line and column, from 1, of the first such character; of the beginning where there is none."""


class ParserInput:
    """Lines of a text in memory."""

    def __init__(self, text: str) -> None:
        self._text = text

    def line(self, number: int) -> str:
        lines = self._text.split("\n", number + 1)
        return lines[number] if number < len(lines) else ""

    def find(self, character: str) -> tuple[int, int]:
        before = self._text[: max(self._text.find(character), 0)]
        return before.count("\n") + 1, len(before) - before.rfind("\n")


def explain(error: yaml.YAMLError, lines: Lines, file: Path) -> Problem:
    """Turn an error of the YAML parser about a text into a problem with its place."""
    if isinstance(error, ReaderError):
        return _control_character(error, lines, file)
    phrase = str(getattr(error, "problem", None) or "")
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    place = Place(file) if mark is None else Place(file, mark.line + 1, mark.column + 1)
    for beginning, message, hint in _PHRASES:
        if phrase.startswith(beginning):
            return Problem(place, "", f"not YAML: {message}{_opened(error)}", hint=hint or _character_hint(lines, mark))
    return Problem(place, "", f"not YAML: {phrase or 'the parser gave no reason'}{_opened(error)}")


def _opened(error: Any) -> str:
    """Say where that began which never ends: the parser notices at the end of the file."""
    opened, noticed = getattr(error, "context_mark", None), getattr(error, "problem_mark", None)
    if opened is None or noticed is None or opened.line == noticed.line:
        return ""
    return f" (it began at line {opened.line + 1}, column {opened.column + 1})"


def _character_hint(lines: Lines, mark: Any) -> str | None:
    """Advise on the character that the parser stopped at; a tab stands somewhere in the indentation."""
    if mark is None:
        return None
    line = lines.line(mark.line)
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return _CANT_BEGIN["\t"]
    return _CANT_BEGIN.get(line[mark.column : mark.column + 1])


def _control_character(error: ReaderError, lines: Lines, file: Path) -> Problem:
    """Explain a character that YAML forbids: libyaml gives its code, the pure parser the character itself."""
    code: Any = error.character
    return forbidden(chr(code) if isinstance(code, int) else str(code), lines, file)


def forbidden(character: str, lines: Lines, file: Path) -> Problem:
    message = f"not YAML: the character U+{ord(character[0]):04X} is not allowed"
    place = Place(file, *lines.find(character))
    return Problem(place, "", message, hint='in "double quotes" it can be written as an escape')


__all__ = ["MAX_DEPTH", "MAX_WARNINGS", "Document", "parse", "read"]

_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed document: its root value, the marks of its nodes, and what its author may have meant otherwise.

    ``problems`` holds what is wrong with its form.
    """

    file: Path
    value: Any
    marks: SourceMap
    warnings: tuple[Problem, ...]
    problems: ProblemCollector

    def is_sound(self, node: Node, *, within: bool = True) -> bool:
        """Tell whether a node's value is what its author wrote: all ``within`` it, or the node itself alone."""
        return node.marks.is_sound(node.number, within=within)

    def place(self, path: NodePath, *, key: bool = False) -> Place:
        """Return the place of what stands at ``path``, or of the nearest thing around it."""
        marks, number = self.marks.find(self.value, 0, path, key=key)
        return Place(self.file, *marks.line_column(number), marks.end_column(number))


class Stream(Lines, Protocol):
    """Bytes of UTF-8 that are read once, and lines of them again where one has to be shown."""

    def read(self, size: int, /) -> bytes: ...


def parse(text: str, file: Path) -> Document:
    """Parse one YAML document, and return it with the problems of its form.

    Raises ``ManifestError`` with all of them where it can't be read to its end, and nothing else.
    """
    return _document(text, ParserInput(text), YamlBuilder(file))


def read(stream: Stream, file: Path, key: str, apart: StreamedList) -> Document:
    """Parse one YAML document from a stream as ``parse`` does, with the items of the list at ``key`` apart.

    They go to ``apart`` one by one, which takes their place in the document's value: so much is in memory at a time as
    one item holds. What the stream raises goes on up.
    """
    return _document(stream, stream, YamlBuilder(file, key, apart))


def _document(source: Any, lines: Lines, builder: YamlBuilder) -> Document:
    try:
        value = builder.document(_LOADER(source))
    except StopReading:
        pass
    except yaml.YAMLError as error:
        builder.problems.add(explain(error, lines, builder.file))
    except UnicodeEncodeError as error:
        builder.problems.add(forbidden(error.object[error.start], lines, builder.file))
    except (RecursionError, MemoryError, ValueError) as error:
        builder.problems.add(Problem(Place(builder.file), "", f"the YAML can't be read: {type(error).__name__}"))
    else:
        return Document(builder.file, value, builder.marks, tuple(builder.warnings), builder.problems)
    raise builder.problems.error()
