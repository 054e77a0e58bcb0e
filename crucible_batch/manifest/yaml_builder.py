"""Plain values from the events of a YAML parser, with the marks of their nodes, and a Problem for each rule broken.

PyYAML's own constructors keep the last of two equal keys in silence, follow YAML 1.1, build an object a node and
recurse without bound; hence this one, which takes the events of libyaml (of the pure parser where that is missing).

A manifest has some twenty nodes a job, so that what is done for each decides how long it takes: for a plain scalar
little is called here but what packs its place, and a number that recurs is understood once. What is left is half the
parser's events. The garbage collector has no part in it, since nothing is kept: without it, it takes as long.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from crucible_batch.errors import Place, Problem
from crucible_batch.manifest import yaml_scalars
from crucible_batch.manifest.problems import ProblemCollector
from crucible_batch.manifest.source_map import (
    COLUMN_BITS,
    LENGTH_BITS,
    MAX_COLUMN,
    MAX_LENGTH,
    Node,
    SourceMap,
    StreamedList,
)

MAX_DEPTH = 40
MAX_WARNINGS = 100
# 64 MiB of `[],` would make 20 million lists; 100,000 jobs have about 1.5 million values.
MAX_NODES = 4_000_000
# What is in memory at a time: one job, or all that is not a job. As lists, dicts and marks it takes some 100 MB.
MAX_NODES_TOGETHER = 500_000
# What all aliases of a document together may expand to: nine lines of nine aliases each make a billion nodes.
MAX_ALIASED_NODES = 100_000
# An anchor keeps its value and its place as long as the document is read.
MAX_ANCHORS = 100_000
# Texts that are understood once: booleans, sizes and step counts recur in each job.
_MAX_KNOWN_SCALARS = 10_000


class StopReading(Exception):  # noqa: N818
    """A problem after which going on makes no sense; it has been collected already."""


@dataclass(slots=True)
class _Anchor:
    """``at`` is how many values there were before it; one with ``at`` -1 stood where no anchor may."""

    at: int
    node: Node
    value: Any
    weight: int
    height: int


class YamlBuilder:
    """Builds one document. With ``apart``, the items of the list at ``key`` of its root are handed over one by one.

    ``_beside`` is how many values there are that ``marks`` don't count: those of other trees, those that aliases stand
    for, those that were refused. ``_peak`` is the deepest level seen since the innermost anchor was opened.
    ``_left_out`` are the stretches of values that were refused with their key. While ``_muted``, what is read is
    refused already.
    """

    def __init__(self, file: Path, key: str | None = None, apart: StreamedList | None = None) -> None:
        self.file = file
        self.problems = ProblemCollector()
        self.warnings: list[Problem] = []
        self.marks = SourceMap()
        self._apart_key = key
        self._apart = apart
        self._loader: Any = None
        self._beside = 0
        self._aliased = 0
        self._anchors: dict[str, _Anchor | None] = {}
        self._left_out: list[tuple[int, int]] = []
        self._muted = False
        self._peak = 0
        self._plain_keys: dict[str, str] = {}
        self._known: dict[str, yaml_scalars.Scalar] = {}

    def document(self, loader: Any) -> Any:
        """Build the one document that ``loader`` gives the events of. Raises ``StopReading``, and what that raises."""
        self._loader = loader
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

    def _count(self) -> int:
        """Return how many values there have been, an alias counting all that it stands for."""
        return self._beside + len(self.marks.span)

    def _node(self, event: Any, depth: int) -> Any:
        kind = type(event)
        if kind is ScalarEvent and event.anchor is None:
            return self._scalar(event)
        if kind is AliasEvent:
            return self._alias(event, depth)
        if event.anchor is None:
            return self._container(event, depth)
        before, outer_peak, node = self._count(), self._peak, len(self.marks.span)
        if len(self._anchors) >= MAX_ANCHORS:
            self._stop(event, f"there are more than {MAX_ANCHORS:,} anchors")
        self._anchors[event.anchor] = None
        self._peak = depth
        value = self._scalar(event) if kind is ScalarEvent else self._container(event, depth)
        weight, height = self._count() - before, self._peak - depth
        self._anchors[event.anchor] = _Anchor(before, Node(self.marks, node), value, weight, height)
        self._peak = max(self._peak, outer_peak)
        return value

    def _scalar(self, event: Any) -> yaml_scalars.Scalar:
        marks = self.marks
        marks.position.append(_packed(event))
        marks.span.append(1)
        text: str = event.value
        if event.tag is not None:
            self._refuse_tag(event)
            return text
        if not event.implicit[0] or (text and text[0] not in yaml_scalars.MAYBE_TYPED):
            return text
        if text in self._known:
            return self._known[text]
        return self._resolved(event, text)

    def _resolved(self, event: Any, text: str) -> yaml_scalars.Scalar:
        try:
            value = yaml_scalars.resolve(text)
        except ValueError as error:
            self._complain(event, str(error))
            self.marks.unsound.append(len(self.marks.span) - 1)
            return text
        doubt = yaml_scalars.misreading(text)
        if doubt and len(self.warnings) < MAX_WARNINGS:
            self.warnings.append(Problem(self._place(event), "", doubt))
        if not doubt and len(self._known) < _MAX_KNOWN_SCALARS:
            self._known[text] = value
        return value

    def _container(self, event: Any, depth: int) -> Any:
        if event.tag is not None:
            self._refuse_tag(event)
        if depth > MAX_DEPTH:
            self._stop(event, f"lists and mappings are nested more than {MAX_DEPTH} deep")
        self._peak = max(self._peak, depth)
        marks, node = self.marks, len(self.marks.span)
        marks.position.append(_packed_start(event))
        marks.span.append(1)
        value: Any = self._mapping(node, depth) if type(event) is MappingStartEvent else self._sequence(depth)
        marks.span[node] = len(marks.span) - node
        self._check_size(event)
        return value

    def _check_size(self, event: Any) -> None:
        if len(self.marks.span) > MAX_NODES_TOGETHER:
            self._stop(event, f"one job, or what is no job, holds more than {MAX_NODES_TOGETHER:,} values")
        if self._count() > MAX_NODES:
            self._stop(event, f"the manifest holds more than {MAX_NODES:,} values")

    def _sequence(self, depth: int) -> list[Any]:
        items: list[Any] = []
        get_event = self._loader.get_event
        while type(event := get_event()) is not SequenceEndEvent:
            items.append(self._node(event, depth + 1))
            if not len(items) & 0xFFF:
                self._check_size(event)
        return items

    def _items_apart(self, event: Any) -> StreamedList:
        """Hand over the items of a list one by one: each is a tree of its own."""
        assert self._apart is not None
        apart = self._apart
        outer, get_event = self.marks, self._loader.get_event
        outer.position.append(_packed_start(event))
        outer.span.append(1)
        while type(event := get_event()) is not SequenceEndEvent:
            self._change(SourceMap())
            value = self._node(event, 3)
            self._check_size(event)
            apart.add(value, self.marks)
            self._change(outer)
        return apart

    def _change(self, marks: SourceMap) -> None:
        """Go on with other marks; the count of all values stays."""
        count = self._count()
        self.marks = marks
        self._beside = count - len(marks.span)

    def _mapping(self, node: int, depth: int) -> dict[str, Any]:
        members: dict[str, Any] = {}
        get_event, span, position = self._loader.get_event, self.marks.span, self.marks.position
        while type(event := get_event()) is not MappingEndEvent:
            start, beside = len(span), self._beside
            key = self._plain_keys.get(event.value) if type(event) is ScalarEvent and event.implicit[0] else None
            if key is not None and key not in members and event.anchor is None:
                position.append(_packed(event))
                span.append(1)
            else:
                key = self._key(event, members, node, depth)
            event = get_event()
            value: Any
            if depth == 1 and self._is_apart(key, event):
                value = self._items_apart(event)
            elif type(event) is ScalarEvent and event.anchor is None:
                value = self._scalar(event)
            else:
                value = self._node(event, depth + 1)
            if key is None:
                self._leave_out(start, beside)
            else:
                members[key] = value
            if not len(members) & 0xFFF:
                self._check_size(event)
        return members

    def _is_apart(self, key: str | None, event: Any) -> bool:
        is_plain_list = type(event) is SequenceStartEvent and event.anchor is event.tag is None
        return self._apart is not None and key == self._apart_key and is_plain_list

    def _leave_out(self, start: int, beside: int) -> None:
        """Forget the marks of a refused key and its value: members and marks stay in step."""
        before, after = beside + start, self._count()
        self.marks.cut(start)
        self._beside = after - start
        while self._left_out and self._left_out[-1][0] >= before:
            self._left_out.pop()
        self._left_out.append((before, after))

    def _lacks_members(self, node: int) -> None:
        """Note that a mapping lacks what its author gave it in a form that is refused."""
        unsound = self.marks.unsound
        if not unsound or unsound[-1] < node:
            unsound.append(node)
        elif unsound[(at := bisect_left(unsound, node))] != node:
            unsound.insert(at, node)

    def _key(self, event: Any, members: Mapping[str, Any], node: int, depth: int) -> str | None:
        """Return a usable key, or None where a problem was collected instead."""
        if type(event) is not ScalarEvent:
            self._complex_key(event, node, depth)
            return None
        key: str = event.value
        if key in members:
            self._stands_twice(event, key, members, node)
            return None
        self.marks.position.append(_packed(event))
        self.marks.span.append(1)
        if event.anchor is not None or event.tag is not None:
            self._complain(event, f"the key {key!r} has an anchor or a tag; only values may have an anchor")
            if event.anchor is not None:
                self._anchors[event.anchor] = _Anchor(-1, Node(self.marks, 0), None, 1, 0)
        if not event.implicit[0]:
            return key
        return self._plain_keys.get(key) or self._plain_key(event, key, node)

    def _complex_key(self, event: Any, node: int, depth: int) -> None:
        self._complain(event, "a key must be plain text", "a value that begins with {{ must be in quotes")
        outer, self._muted = self._muted, True
        self._node(event, depth + 1)
        self._muted = outer
        self._lacks_members(node)

    def _stands_twice(self, event: Any, key: str, members: Mapping[str, Any], node: int) -> None:
        hint = None
        if not self.problems.full:  # a walk through all members, too long where each of 100,000 stands twice
            line, column = self.marks.line_column(self.marks.find(members, node, (key,), key=True).number)
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
            is_text = isinstance(yaml_scalars.resolve(key), str)
        except ValueError:
            is_text = False
        if not is_text:
            self._complain(event, f"the key {key or 'nothing'!s} is not text", f'put it in quotes: "{key}"')
            return None
        if len(self._plain_keys) < _MAX_KNOWN_SCALARS:
            self._plain_keys[key] = key
        return key

    def _alias(self, event: Any, depth: int) -> Any:
        node = len(self.marks.span)
        self.marks.position.append(_packed(event))
        self.marks.span.append(1)
        name = event.anchor
        if name not in self._anchors:
            self._complain(event, f"the alias *{name} has no anchor &{name} before it")
            self.marks.unsound.append(node)
            return None
        anchor = self._anchors[name]
        if anchor is None:
            self._stop(event, f"the alias *{name} stands within its own anchor")
        if self._is_left_out(anchor):
            self.marks.unsound.append(node)
            return None
        self._aliased += anchor.weight
        self._beside += anchor.weight - 1
        if self._aliased > MAX_ALIASED_NODES:
            self._stop(event, f"the aliases expand to more than {MAX_ALIASED_NODES:,} values")
        if depth + anchor.height > MAX_DEPTH:
            self._stop(event, f"lists and mappings are nested more than {MAX_DEPTH} deep")
        self._peak = max(self._peak, depth + anchor.height)
        self.marks.aliases[node] = anchor.node.marks.target(anchor.node.number)
        return anchor.value

    def _is_left_out(self, anchor: _Anchor) -> bool:
        """Tell whether an anchor stands where something was refused, so that its marks are gone."""
        after = bisect_right(self._left_out, (anchor.at, MAX_NODES + MAX_ALIASED_NODES))
        return anchor.at < 0 or (after > 0 and anchor.at < self._left_out[after - 1][1])

    def _refuse_tag(self, event: Any) -> None:
        self._complain(event, f"the tag {event.tag} has no meaning here", "a manifest has no YAML tags: drop it")

    def _place(self, event: Any) -> Place:
        column, length = event.start_mark.column + 1, _length(event)
        return Place(self.file, event.start_mark.line + 1, column, column + length if length else 0)

    def _complain(self, event: Any, message: str, hint: str | None = None) -> None:
        if not self._muted:
            self.problems.add(Problem(self._place(event), "", message, hint=hint))

    def _stop(self, event: Any, message: str) -> NoReturn:
        self._muted = False
        self._complain(event, message)
        raise StopReading(message)


def _packed(event: Any) -> int:
    """Return where a scalar or an alias stands, as ``SourceMap`` hold it."""
    start, end = event.start_mark, event.end_mark
    line, column = start.line, start.column
    length = end.column - column if end.line == line else 0
    if column > MAX_COLUMN or length > MAX_LENGTH:
        column, length = min(column, MAX_COLUMN), min(length, MAX_LENGTH)
    packed: int = (line << COLUMN_BITS | column) << LENGTH_BITS | length
    return packed


def _packed_start(event: Any) -> int:
    """Return where a list or a mapping begins; how far it goes doesn't matter."""
    packed: int = (event.start_mark.line << COLUMN_BITS | min(event.start_mark.column, MAX_COLUMN)) << LENGTH_BITS
    return packed


def _length(event: Any) -> int:
    """Return how far a scalar or an alias goes on the line on which it begins; 0 where it goes beyond."""
    if type(event) is not ScalarEvent and type(event) is not AliasEvent:
        return 0
    return _packed(event) & MAX_LENGTH
