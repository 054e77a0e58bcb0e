"""YAML text to plain values, with the place of each key and value, built from the parser's events.

PyYAML's loaders keep the last of two equal keys in silence, follow YAML 1.1, build an object a node and recurse
without bound. This builder takes the events of libyaml (of the pure parser where that is missing) and makes dict,
list, str, int, float, bool and None, nothing else. Every rule that it holds comes back as a Problem.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

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

from crucible_batch.errors import Place, Problem
from crucible_batch.manifest import scalars, syntax
from crucible_batch.manifest.collector import Collector
from crucible_batch.manifest.marks import Marks
from crucible_batch.manifest.marks import Path as NodePath

_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MAX_DEPTH = 40
MAX_WARNINGS = 100
# 64 MiB of `[],` would make 20 million lists and fill the memory; 100,000 jobs have about 1.5 million values.
MAX_NODES = 4_000_000
# What all aliases of a document together may expand to: nine lines of nine aliases each make a billion nodes.
MAX_ALIASED_NODES = 100_000


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed document: its root value, the marks of its nodes, and what its author may have meant otherwise."""

    file: Path
    value: Any
    marks: Marks
    warnings: tuple[Problem, ...]

    def place(self, path: NodePath, *, key: bool = False) -> Place:
        """Return the place of what stands at ``path``, or of the nearest thing around it."""
        return self.place_within(self.value, 0, path, key=key)

    def place_within(self, value: Any, node: int, path: NodePath, *, key: bool = False) -> Place:
        """Return the place of what stands at ``path`` within ``value``, whose node is ``node``."""
        return Place(self.file, *self.marks.line_column(self.marks.find(value, node, path, key=key)))


def parse(text: str, file: Path) -> Document:
    """Parse one YAML document. Raises ``ManifestError`` with every problem of its form; never anything else."""
    builder = _Builder(file)
    try:
        value = builder.document(_LOADER(text))
    except _StopReading:
        pass
    except yaml.YAMLError as error:
        builder.problems.add(syntax.explain(error, text, file))
    except UnicodeEncodeError as error:
        builder.problems.add(syntax.forbidden(text[error.start], text, file))
    except (RecursionError, MemoryError, ValueError) as error:
        builder.problems.add(Problem(Place(file), "", f"the YAML can't be read: {type(error).__name__}"))
    else:
        builder.problems.raise_if_any()
        return Document(file, value, builder.marks, tuple(builder.warnings))
    raise builder.problems.error()


class _StopReading(Exception):  # noqa: N818
    """A problem after which going on makes no sense; it has been collected already."""


@dataclass(slots=True)
class _Anchor:
    node: int
    value: Any
    weight: int
    height: int


@dataclass(slots=True)
class _Builder:
    """Builds one document. ``nodes`` counts what the values hold, an alias counting all that it stands for; ``peak``
    is the deepest level seen since the innermost anchor was opened."""

    file: Path
    problems: Collector = field(default_factory=Collector)
    warnings: list[Problem] = field(default_factory=list)
    marks: Marks = field(default_factory=Marks)
    anchors: dict[str, _Anchor | None] = field(default_factory=dict)
    nodes: int = 0
    aliased: int = 0
    plain_keys: set[str] = field(default_factory=set)
    peak: int = 0
    loader: Any = None

    def document(self, loader: Any) -> Any:
        self.loader = loader
        try:
            loader.get_event()  # the start of the stream
            if isinstance(event := loader.get_event(), StreamEndEvent):
                self._stop(event, "the file holds nothing")
            value = self._node(loader.get_event(), 1)
            loader.get_event()  # the end of the document
            if isinstance(event := loader.get_event(), DocumentStartEvent):
                self._stop(event, "a manifest is one YAML document; here a second one begins")
        finally:
            loader.dispose()
        return value

    def _node(self, event: Any, depth: int) -> Any:
        mark = event.start_mark
        node = self.marks.add(mark.line, mark.column)
        self.nodes += 1
        if self.nodes > MAX_NODES:
            self._stop(event, f"the manifest holds more than {MAX_NODES:,} values")
        kind = type(event)
        if kind is ScalarEvent and event.anchor is None:
            return self._scalar(event)
        if kind is AliasEvent:
            return self._alias(event, node, depth)
        if event.anchor is None:
            return self._container(event, kind, node, depth)
        before, outer_peak = self.nodes - 1, self.peak
        self.anchors[event.anchor] = None
        self.peak = depth
        value = self._scalar(event) if kind is ScalarEvent else self._container(event, kind, node, depth)
        self.anchors[event.anchor] = _Anchor(node, value, self.nodes - before, self.peak - depth)
        self.peak = max(self.peak, outer_peak)
        return value

    def _scalar(self, event: Any) -> scalars.Scalar:
        text: str = event.value
        if event.tag is not None:
            self._refuse_tag(event)
            return text
        if not event.implicit[0] or (text and text[0] not in scalars.MAYBE_TYPED):
            return text
        try:
            value = scalars.resolve(text)
        except ValueError as error:
            self._complain(event, str(error))
            return text
        if (doubt := scalars.misreading(text)) and len(self.warnings) < MAX_WARNINGS:
            self.warnings.append(Problem(self._place(event), "", doubt))
        return value

    def _container(self, event: Any, kind: type, node: int, depth: int) -> Any:
        if event.tag is not None:
            self._refuse_tag(event)
        if depth > MAX_DEPTH:
            self._stop(event, f"lists and mappings are nested more than {MAX_DEPTH} deep")
        self.peak = max(self.peak, depth)
        value: Any = self._mapping(node, depth) if kind is MappingStartEvent else self._sequence(depth)
        self.marks.close(node)
        return value

    def _sequence(self, depth: int) -> list[Any]:
        items = []
        get_event = self.loader.get_event
        while type(event := get_event()) is not SequenceEndEvent:
            items.append(self._node(event, depth + 1))
        return items

    def _mapping(self, node: int, depth: int) -> dict[str, Any]:
        members: dict[str, Any] = {}
        get_event = self.loader.get_event
        while type(event := get_event()) is not MappingEndEvent:
            start = len(self.marks.span)
            key = self._key(event, members, node)
            value = self._node(get_event(), depth + 1)
            if key is None:  # refused already; forgetting its marks keeps members and marks in step
                del self.marks.position[start:], self.marks.span[start:]
            else:
                members[key] = value
        return members

    def _key(self, event: Any, members: Mapping[str, Any], node: int) -> str | None:
        """Return a usable key, or None where a problem was collected instead."""
        if type(event) is not ScalarEvent:
            self._stop(event, "a key must be plain text")
        mark: Any = event.start_mark
        key: str = event.value
        if key in members:
            line, column = self.marks.line_column(self.marks.find(members, node, (key,), key=True))
            self._complain(event, f"the key {key!r} stands twice", f"it stands already at line {line}, column {column}")
            return None
        self.marks.add(mark.line, mark.column)
        self.nodes += 1
        if event.anchor is not None or event.tag is not None:
            self._complain(event, f"the key {key!r} has an anchor or a tag; only values may have an anchor")
        if key in self.plain_keys or not event.implicit[0]:
            return key
        return self._plain_key(event, key)

    def _plain_key(self, event: Any, key: str) -> str | None:
        if key == "<<":
            self._complain(
                event,
                "the merge key << belongs to YAML 1.1",
                "put what jobs share into `params`, `workflows` or `vars`, or use an alias for a whole value",
            )
            return None
        try:
            is_text = isinstance(scalars.resolve(key), str)
        except ValueError:
            is_text = False
        if not is_text:
            self._complain(event, f"the key {key or 'nothing'!s} is not text", f'put it in quotes: "{key}"')
            return None
        self.plain_keys.add(key)
        return key

    def _alias(self, event: Any, node: int, depth: int) -> Any:
        name = event.anchor
        if name not in self.anchors:
            self._stop(event, f"the alias *{name} has no anchor &{name} before it")
        anchor = self.anchors[name]
        if anchor is None:
            self._stop(event, f"the alias *{name} stands within its own anchor")
        self.aliased += anchor.weight
        self.nodes += anchor.weight - 1
        if self.aliased > MAX_ALIASED_NODES:
            self._stop(event, f"the aliases expand to more than {MAX_ALIASED_NODES:,} values")
        if depth + anchor.height > MAX_DEPTH:
            self._stop(event, f"lists and mappings are nested more than {MAX_DEPTH} deep")
        self.peak = max(self.peak, depth + anchor.height)
        self.marks.aliases[node] = self.marks.aliases.get(anchor.node, anchor.node)
        return anchor.value

    def _refuse_tag(self, event: Any) -> None:
        self._complain(event, f"the tag {event.tag} has no meaning here", "a manifest has no YAML tags: drop it")

    def _place(self, event: Any) -> Place:
        return Place(self.file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _complain(self, event: Any, message: str, hint: str | None = None) -> None:
        self.problems.add(Problem(self._place(event), "", message, hint=hint))

    def _stop(self, event: Any, message: str) -> NoReturn:
        self._complain(event, message)
        raise _StopReading(message)
