"""Parser of YAML text to plain values with a source map. Every error becomes a ``Problem`` with its
place.

The tree is built from parser events (libyaml's if PyYAML has them). PyYAML's own constructors keep
the last of two equal keys, follow YAML 1.1 and recurse without a limit; ``yaml.compose`` loses the
places of aliases and stops at the first undefined one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)
from yaml.reader import ReaderError

from crucible_batch.errors import Place, Problem
from crucible_batch.manifest import yaml_scalars
from crucible_batch.manifest.problems import ProblemCollector
from crucible_batch.manifest.source_map import SourceMap, SourceNode, Span, span_of, unpacked

MAX_DEPTH = 40
MAX_WARNINGS = 100
MAX_VALUES = 500_000
"""Keys and values in one document: about 25,000 jobs. Each takes about 250 bytes of memory."""
MAX_ALIASED_VALUES = 100_000
"""Keys and values that all aliases of a document may expand to: nine lines of nine aliases make a
billion values.
"""
MAX_ANCHORS = 100_000
USE_A_TABLE = (
    "keep rows in a .csv or .jsonl file and use `foreach`, "
    "or raise the limit with --max-manifest-size"
)

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed document, with its YAML problems and warnings about values that may be misread.

    ``bases`` are other files that its values are from.
    """

    root: SourceNode
    warnings: tuple[Problem, ...]
    problems: ProblemCollector
    bases: tuple[Path, ...] = ()


def parse(
    text: str, file: Path, *, max_values: int = MAX_VALUES, watch: Callable[[], None] = lambda: None
) -> Document:
    """Parse one YAML document and return it with the problems that didn't stop the parser.

    Raises ``ManifestError`` with all problems if the document can't be read to its end. ``watch``
    is called for each list and mapping and may raise to abort.
    """
    builder = _TreeBuilder(file, max_values, watch)
    try:
        value, source_map = builder.document(_LOADER(text))
    except _Stop:
        pass
    except yaml.YAMLError as error:
        builder.problems.add(_explained(error, text, file))
    except UnicodeEncodeError as error:
        builder.problems.add(_forbidden(error.object[error.start], text, file))
    except (RecursionError, MemoryError, ValueError) as error:
        builder.problems.add(
            Problem(Place(file), "", f"the YAML can't be read: {type(error).__name__}")
        )
    else:
        return Document(
            SourceNode(file, value, source_map), tuple(builder.warnings), builder.problems
        )
    raise builder.problems.error()


class _Stop(Exception):  # noqa: N818
    """A signal to stop parsing; the problem has been collected."""


class _TreeBuilder:
    """A builder of values and source maps from the events of one document.

    ``_anchors`` maps a name to its value and source map, or to None while the value is being built.
    """

    def __init__(self, file: Path, max_values: int, watch: Callable[[], None]) -> None:
        self.problems = ProblemCollector()
        self.warnings: list[Problem] = []
        self._file = file
        self._max_values = max_values
        self._watch = watch
        self._values = 0
        self._aliased = 0
        self._anchors: dict[str, tuple[Any, SourceMap] | None] = {}
        self._plain_keys: dict[str, str] = {}
        self._is_muted = False

    def document(self, loader: Any) -> tuple[Any, SourceMap]:
        """Build the only document of ``loader`` and dispose of the loader.

        Raises ``_Stop`` and the loader's errors.
        """
        self._next = loader.get_event
        try:
            self._next()  # the start of the stream
            start = self._next()
            if isinstance(start, StreamEndEvent):
                self._stop(start, "the file is empty")
            root = self._node(self._next(), 1)
            self._next()  # the end of the document
            after = self._next()
            if isinstance(after, DocumentStartEvent):
                self._complain(
                    after, "a manifest is one YAML document, but a second one begins here"
                )
        finally:
            loader.dispose()
        return root

    def _node(self, event: Any, depth: int) -> tuple[Any, SourceMap]:
        if type(event) is AliasEvent:
            return self._alias(event, depth)
        self._count(event)
        if event.tag is not None:
            self._complain(event, f"the YAML tag {event.tag} is not supported", "remove it")
        node = SourceMap(_span(event))
        if event.anchor is None:
            return self._value(event, node, depth), node
        if len(self._anchors) >= MAX_ANCHORS:
            self._stop(event, f"there are more than {MAX_ANCHORS:,} anchors")
        self._anchors[event.anchor] = None
        value = self._value(event, node, depth)
        self._anchors[event.anchor] = value, node
        return value, node

    def _value(self, event: Any, node: SourceMap, depth: int) -> Any:
        if type(event) is ScalarEvent:
            return self._scalar(event)
        if depth > MAX_DEPTH:
            self._stop(event, f"lists and mappings are nested more than {MAX_DEPTH} deep")
        self._watch()
        if type(event) is MappingStartEvent:
            return self._mapping(node, depth)
        return self._sequence(node, depth)

    def _scalar(self, event: Any) -> yaml_scalars.Scalar:
        text: str = event.value
        if event.tag is not None or not event.implicit[0]:
            return text
        try:
            value = yaml_scalars.resolve(text)
        except ValueError as error:
            self._complain(event, str(error))
            return text
        doubt = yaml_scalars.misreading(text)
        if doubt and len(self.warnings) < MAX_WARNINGS:
            self.warnings.append(Problem(self._place(event), "", doubt))
        return value

    def _sequence(self, node: SourceMap, depth: int) -> list[Any]:
        values: list[Any] = []
        children: list[SourceMap] = []
        node.children = children
        event = self._next()
        while type(event) is not SequenceEndEvent:
            value, child = self._node(event, depth + 1)
            values.append(value)
            children.append(child)
            event = self._next()
        return values

    def _mapping(self, node: SourceMap, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        children: dict[str, SourceMap] = {}
        node.children = children
        event = self._next()
        while type(event) is not MappingEndEvent:
            key = self._key(event, children, depth)
            value, child = self._node(self._next(), depth + 1)
            if key is not None:
                child.key = _span(event)
                values[key], children[key] = value, child
            event = self._next()
        return values

    def _key(self, event: Any, siblings: dict[str, SourceMap], depth: int) -> str | None:
        """Return a usable key, or None if the key, and therefore its value, is rejected."""
        if type(event) is not ScalarEvent:
            self._skip_complex_key(event, depth)
            return None
        self._count(event)
        key: str = event.value
        if key in siblings:
            first = siblings[key]
            line, column, _ = unpacked(first.key or first.span)
            self._complain(
                event, f"duplicate key {key!r}", f"it is already at line {line}, column {column}"
            )
            return None
        if event.anchor is not None or event.tag is not None:
            self._complain(
                event, f"the key {key!r} has an anchor or a tag; only values may have an anchor"
            )
            if event.anchor is not None:
                self._anchors[event.anchor] = key, SourceMap(_span(event))
        if not event.implicit[0]:
            return key
        return self._plain_keys.get(key) or self._plain_key(event, key)

    def _plain_key(self, event: Any, key: str) -> str | None:
        if key == "<<":
            self._complain(
                event,
                "the merge key << is not supported (it is YAML 1.1)",
                "put shared values into `params`, `workflows` or `vars`, "
                "or use an alias for a complete value",
            )
            return None
        try:
            is_text = isinstance(yaml_scalars.resolve(key), str)
        except ValueError:
            is_text = False
        if not is_text:
            hint = f'put it in quotes: "{key}"'
            if key.isdecimal():  # as in `12,5: ...` in braces
                hint += "; decimals are written with a point, such as 12.5"
            self._complain(event, f"the key {key or 'nothing'} is not text", hint)
            return None
        self._plain_keys[key] = key  # jobs repeat their keys, so they share one string
        return key

    def _skip_complex_key(self, event: Any, depth: int) -> None:
        self._complain(
            event, "a key must be plain text", "a value that begins with {{ must be in quotes"
        )
        outer, self._is_muted = self._is_muted, True
        self._node(event, depth + 1)
        self._is_muted = outer

    def _alias(self, event: Any, depth: int) -> tuple[Any, SourceMap]:
        name, node = event.anchor, SourceMap(_span(event))
        if name not in self._anchors:
            self._complain(event, f"the alias *{name} has no anchor &{name} before it")
            return None, node
        anchor = self._anchors[name]
        if anchor is None:
            self._stop(event, f"the alias *{name} is within its own anchor")
        value, target = anchor
        values, levels = _extent(value)
        self._count(event, values)
        self._aliased += values
        if self._aliased > MAX_ALIASED_VALUES:
            self._stop(event, f"the aliases expand to more than {MAX_ALIASED_VALUES:,} values")
        if depth - 1 + levels > MAX_DEPTH:
            self._stop(event, f"lists and mappings are nested more than {MAX_DEPTH} deep")
        node.children = target.children
        return value, node

    def _count(self, event: Any, values: int = 1) -> None:
        self._values += values
        if self._values > self._max_values:
            self._stop(
                event, f"the manifest has more than {self._max_values:,} values", USE_A_TABLE
            )

    def _place(self, event: Any) -> Place:
        return Place(self._file, *unpacked(_span(event)))

    def _complain(self, event: Any, message: str, hint: str | None = None) -> None:
        if not self._is_muted:
            self.problems.add(Problem(self._place(event), "", message, hint=hint))

    def _stop(self, event: Any, message: str, hint: str | None = None) -> NoReturn:
        self._is_muted = False
        self._complain(event, message, hint)
        raise _Stop


def _span(event: Any) -> Span:
    """Return the line and column of an event, and the end column of a scalar or alias on one line,
    otherwise 0."""
    start, end = event.start_mark, event.end_mark
    is_text = type(event) is ScalarEvent or type(event) is AliasEvent
    if is_text and start.line == end.line:
        return span_of(start.line + 1, start.column + 1, end.column + 1)
    return span_of(start.line + 1, start.column + 1, 0)


def _extent(value: Any) -> tuple[int, int]:
    """Return the number of keys and values within a value, itself included, and its levels of lists
    and mappings."""
    if isinstance(value, dict):
        within = [_extent(member) for member in value.values()]
        keys = len(value)
    elif isinstance(value, list):
        within = [_extent(member) for member in value]
        keys = 0
    else:
        return 1, 0
    values = sum(values for values, _ in within)
    levels = max((levels for _, levels in within), default=0)
    return 1 + keys + values, 1 + levels


_TAB = "found a tab character that violates"
# Beginnings of libyaml's error messages (the pure parser's are the same), each with our message and
# hint. The first match is used.
_PHRASES: tuple[tuple[str, str, str | None], ...] = (
    (
        "mapping values are not allowed",
        "a colon is not allowed here",
        "put text that contains `: ` in quotes, and indent all keys of a mapping equally",
    ),
    ("found unexpected end of stream", "the closing quotation mark is missing", "add it"),
    (
        "could not find expected ':'",
        "a key without a colon",
        "write `key: value`, with a space after the colon",
    ),
    (
        "did not find expected ',' or ']'",
        "the list is not closed",
        "close it with ], and put commas between items",
    ),
    (
        "did not find expected ',' or '}'",
        "the mapping is not closed",
        "close it with }, and put commas between pairs",
    ),
    (
        "did not find expected key",
        "expected a key or the end of the mapping",
        "indent all keys of a mapping equally",
    ),
    (
        "did not find expected '-' indicator",
        "expected a list item",
        "begin each item with `- `, equally indented",
    ),
    (
        "did not find expected node content",
        "expected a value",
        "close each [ with ] and each { with }",
    ),
    ("found undefined tag handle", "an unknown YAML tag", "put text that begins with ! in quotes"),
    ("found invalid Unicode character escape", "an escape that is not a character", None),
    (
        "found unknown escape character",
        "an unknown escape in quoted text",
        "use 'single quotes', or double the \\",
    ),
    (_TAB, "a tab in the indentation", "indent with spaces, not with tabs"),
    (
        "found incompatible YAML document",
        "a YAML version that isn't supported",
        "remove the %YAML line",
    ),
    ("found character that cannot start any token", "a character that can't begin a value", None),
)
_CANT_BEGIN = {
    "@": 'put the text in quotes: "@prompts/file.txt"',
    "`": "put the text in quotes",
    "%": "put the text in quotes",
    "\t": "indent with spaces, not with tabs",
}


def _explained(error: yaml.YAMLError, text: str, file: Path) -> Problem:
    """Return an error of the YAML parser about ``text`` as a problem with its place."""
    if isinstance(error, ReaderError):
        character: Any = error.character
        if isinstance(character, int):  # from libyaml; the pure parser has it as text
            character = chr(character)
        return _forbidden(character, text, file)
    phrase = str(getattr(error, "problem", None) or "")
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    place = Place(file)
    if mark is not None:
        place = Place(file, mark.line + 1, mark.column + 1)
    for beginning, reason, hint in _PHRASES:
        if phrase.startswith(beginning):
            message = f"not YAML: {reason}"
            if beginning != _TAB:
                message += _opened(error)
            return Problem(place, "", message, hint=hint or _character_hint(text, mark))
    return Problem(place, "", f"not YAML: {phrase or 'the parser gave no reason'}{_opened(error)}")


def _opened(error: Any) -> str:
    """Return the place where an unclosed item begins, for a message; the parser reports it only at
    the end."""
    opened, noticed = getattr(error, "context_mark", None), getattr(error, "problem_mark", None)
    if opened is None or noticed is None or opened.line == noticed.line:
        return ""
    return f" (it began at line {opened.line + 1}, column {opened.column + 1})"


def _character_hint(text: str, mark: Any) -> str | None:
    """Return a hint for the character at which the parser stopped, or for a tab in the indentation
    before it."""
    if mark is None:
        return None
    lines = text.split("\n", mark.line + 1)
    if mark.line >= len(lines):
        return None
    line = lines[mark.line]
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return _CANT_BEGIN["\t"]
    return _CANT_BEGIN.get(line[mark.column : mark.column + 1])


def _forbidden(character: str, text: str, file: Path) -> Problem:
    """Return the problem for a character that YAML forbids, at its first occurrence in ``text``."""
    before = text[: max(text.find(character), 0)]
    place = Place(file, before.count("\n") + 1, len(before) - before.rfind("\n"))
    message = f"not YAML: the character U+{ord(character[0]):04X} is not allowed"
    return Problem(place, "", message, hint='in "double quotes" it can be written as an escape')
