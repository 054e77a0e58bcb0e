"""YAML text to plain values, with the place of each key and value, built from the parser's events.

PyYAML's loaders keep the last of two equal keys in silence, follow YAML 1.1, build an object a node and recurse
without bound. This builder takes the events of libyaml (of the pure parser where that is missing) and makes dict,
list, str, int, float, bool and None, nothing else. Every rule that it holds comes back as a Problem. What breaks one is
left out (of two equal keys the first counts) or stands for itself, and reading goes on, so that an author hears of all.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
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
    """A parsed document: its root value, the marks of its nodes, and what its author may have meant otherwise.

    ``problems`` holds what is wrong with its form. ``unsound`` are the nodes, in order, whose values are not what
    their author wrote, since a problem says that already: to judge these values would only be its echo.
    """

    file: Path
    value: Any
    marks: Marks
    warnings: tuple[Problem, ...]
    problems: Collector
    unsound: Sequence[int]

    def is_sound(self, node: int, *, within: bool = True) -> bool:
        """Tell whether a node's value is what its author wrote: all ``within`` it, or the node itself alone."""
        node = self.marks.aliases.get(node, node)
        end = node + (self.marks.span[node] if within else 1)
        first = bisect_left(self.unsound, node)
        return first == len(self.unsound) or self.unsound[first] >= end

    def place(self, path: NodePath, *, key: bool = False) -> Place:
        """Return the place of what stands at ``path``, or of the nearest thing around it."""
        return self.place_within(self.value, 0, path, key=key)

    def place_within(self, value: Any, node: int, path: NodePath, *, key: bool = False) -> Place:
        """Return the place of what stands at ``path`` within ``value``, whose node is ``node``."""
        found = self.marks.find(value, node, path, key=key)
        return Place(self.file, *self.marks.line_column(found), self.marks.end_column(found))


def parse(text: str, file: Path) -> Document:
    """Parse one YAML document, and return it with the problems of its form.

    Raises ``ManifestError`` with all of them where it can't be read to its end, and nothing else.
    """
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
        return Document(file, value, builder.marks, tuple(builder.warnings), builder.problems, builder.unsound)
    raise builder.problems.error()


def _length(event: Any) -> int:
    """Return how far a scalar or an alias goes on the line on which it begins; 0 where it goes beyond."""
    start, end = event.start_mark, event.end_mark
    if type(event) is not ScalarEvent and type(event) is not AliasEvent:
        return 0
    length: int = end.column - start.column
    return length if end.line == start.line else 0


class _StopReading(Exception):  # noqa: N818
    """A problem after which going on makes no sense; it has been collected already."""


@dataclass(slots=True)
class _Anchor:
    """``at`` is how many values there were before it; one with ``at`` -1 stood where no anchor may."""

    at: int
    node: int
    value: Any
    weight: int
    height: int


@dataclass(slots=True)
class _Builder:
    """Builds one document. ``nodes`` counts what the values hold, an alias counting all that it stands for; ``peak``
    is the deepest level seen since the innermost anchor was opened. ``left_out`` are the stretches of ``nodes`` that
    were refused with their key. While ``muted``, what is read is refused already."""

    file: Path
    problems: Collector = field(default_factory=Collector)
    warnings: list[Problem] = field(default_factory=list)
    marks: Marks = field(default_factory=Marks)
    anchors: dict[str, _Anchor | None] = field(default_factory=dict)
    nodes: int = 0
    aliased: int = 0
    unsound: list[int] = field(default_factory=list)
    left_out: list[tuple[int, int]] = field(default_factory=list)
    muted: bool = False
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
                self._complain(event, "a manifest is one YAML document; here a second one begins")
        finally:
            loader.dispose()
        return value

    def _node(self, event: Any, depth: int) -> Any:
        mark = event.start_mark
        node = self.marks.add(mark.line, mark.column, _length(event))
        self.nodes += 1
        if self.nodes > MAX_NODES:
            self._stop(event, f"the manifest holds more than {MAX_NODES:,} values")
        kind = type(event)
        if kind is ScalarEvent and event.anchor is None:
            return self._scalar(event, node)
        if kind is AliasEvent:
            return self._alias(event, node, depth)
        if event.anchor is None:
            return self._container(event, kind, node, depth)
        before, outer_peak = self.nodes - 1, self.peak
        self.anchors[event.anchor] = None
        self.peak = depth
        value = self._scalar(event, node) if kind is ScalarEvent else self._container(event, kind, node, depth)
        self.anchors[event.anchor] = _Anchor(before, node, value, self.nodes - before, self.peak - depth)
        self.peak = max(self.peak, outer_peak)
        return value

    def _scalar(self, event: Any, node: int) -> scalars.Scalar:
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
            self.unsound.append(node)
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
            start, nodes = len(self.marks.span), self.nodes
            key = self._key(event, members, node, depth)
            value = self._node(get_event(), depth + 1)
            if key is None:
                self._leave_out(start, nodes)
            else:
                members[key] = value
        return members

    def _leave_out(self, start: int, nodes: int) -> None:
        """Forget the marks of a refused key and its value: members and marks stay in step."""
        self.marks.cut(start)
        while self.unsound and self.unsound[-1] >= start:
            self.unsound.pop()
        while self.left_out and self.left_out[-1][0] >= nodes:
            self.left_out.pop()
        self.left_out.append((nodes, self.nodes))

    def _lacks_members(self, node: int) -> None:
        """Note that a mapping lacks what its author gave it in a form that is refused."""
        if not self.unsound or self.unsound[-1] < node:
            self.unsound.append(node)
        elif self.unsound[(at := bisect_left(self.unsound, node))] != node:
            self.unsound.insert(at, node)

    def _complex_key(self, event: Any, node: int, depth: int) -> None:
        self._complain(event, "a key must be plain text", "a value that begins with {{ must be in quotes")
        outer, self.muted = self.muted, True
        self._node(event, depth + 1)
        self.muted = outer
        self._lacks_members(node)

    def _key(self, event: Any, members: Mapping[str, Any], node: int, depth: int) -> str | None:
        """Return a usable key, or None where a problem was collected instead."""
        if type(event) is not ScalarEvent:
            self._complex_key(event, node, depth)
            return None
        mark: Any = event.start_mark
        key: str = event.value
        if key in members:
            self._stands_twice(event, key, members, node)
            return None
        self.marks.add(mark.line, mark.column, _length(event))
        self.nodes += 1
        if event.anchor is not None or event.tag is not None:
            self._complain(event, f"the key {key!r} has an anchor or a tag; only values may have an anchor")
            if event.anchor is not None:
                self.anchors[event.anchor] = _Anchor(-1, 0, None, 1, 0)
        if key in self.plain_keys or not event.implicit[0]:
            return key
        return self._plain_key(event, key, node)

    def _stands_twice(self, event: Any, key: str, members: Mapping[str, Any], node: int) -> None:
        hint = None
        if not self.problems.full:  # a walk through all members, too long where each of 100,000 stands twice
            line, column = self.marks.line_column(self.marks.find(members, node, (key,), key=True))
            hint = f"it stands already at line {line}, column {column}"
        self._complain(event, f"the key {key!r} stands twice", hint)

    def _plain_key(self, event: Any, key: str, node: int) -> str | None:
        if key == "<<":
            self._lacks_members(node)
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
            self._complain(event, f"the alias *{name} has no anchor &{name} before it")
            self.unsound.append(node)
            return None
        anchor = self.anchors[name]
        if anchor is None:
            self._stop(event, f"the alias *{name} stands within its own anchor")
        if self._is_left_out(anchor):
            self.unsound.append(node)
            return None
        self.aliased += anchor.weight
        self.nodes += anchor.weight - 1
        if self.aliased > MAX_ALIASED_NODES:
            self._stop(event, f"the aliases expand to more than {MAX_ALIASED_NODES:,} values")
        if depth + anchor.height > MAX_DEPTH:
            self._stop(event, f"lists and mappings are nested more than {MAX_DEPTH} deep")
        self.peak = max(self.peak, depth + anchor.height)
        self.marks.aliases[node] = self.marks.aliases.get(anchor.node, anchor.node)
        return anchor.value

    def _is_left_out(self, anchor: _Anchor) -> bool:
        """Tell whether an anchor stands where something was refused, so that its marks are gone."""
        after = bisect_right(self.left_out, (anchor.at, MAX_NODES + MAX_ALIASED_NODES))
        return anchor.at < 0 or (after > 0 and anchor.at < self.left_out[after - 1][1])

    def _refuse_tag(self, event: Any) -> None:
        self._complain(event, f"the tag {event.tag} has no meaning here", "a manifest has no YAML tags: drop it")

    def _place(self, event: Any) -> Place:
        column, length = event.start_mark.column + 1, _length(event)
        return Place(self.file, event.start_mark.line + 1, column, column + length if length else 0)

    def _complain(self, event: Any, message: str, hint: str | None = None) -> None:
        if not self.muted:
            self.problems.add(Problem(self._place(event), "", message, hint=hint))

    def _stop(self, event: Any, message: str) -> NoReturn:
        self.muted = False
        self._complain(event, message)
        raise _StopReading(message)
