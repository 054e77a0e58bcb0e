"""YAML to plain values, with the place of each key and value: whole (``parse``), or a list's items apart (``read``).

The values are dict, list, str, int, float, bool and None, nothing else. Every rule that is broken comes back as a
Problem. What breaks one is left out (of two equal keys the first counts) or stands for itself, and reading goes on, so
that an author hears of all.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import yaml

from crucible_batch.errors import Place, Problem
from crucible_batch.manifest import syntax
from crucible_batch.manifest.builder import MAX_DEPTH, MAX_WARNINGS, Builder, StopReading
from crucible_batch.manifest.collector import Collector
from crucible_batch.manifest.marks import Apart, Marks, Node
from crucible_batch.manifest.marks import Path as NodePath
from crucible_batch.manifest.syntax import Lines, Text

__all__ = ["MAX_DEPTH", "MAX_WARNINGS", "Document", "parse", "read"]

_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed document: its root value, the marks of its nodes, and what its author may have meant otherwise.

    ``problems`` holds what is wrong with its form.
    """

    file: Path
    value: Any
    marks: Marks
    warnings: tuple[Problem, ...]
    problems: Collector

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
    return _document(text, Text(text), Builder(file))


def read(stream: Stream, file: Path, key: str, apart: Apart) -> Document:
    """Parse one YAML document from a stream as ``parse`` does, with the items of the list at ``key`` apart.

    They go to ``apart`` one by one, which takes their place in the document's value: so much is in memory at a time as
    one item holds. What the stream raises goes on up.
    """
    return _document(stream, stream, Builder(file, key, apart))


def _document(source: Any, lines: Lines, builder: Builder) -> Document:
    try:
        value = builder.document(_LOADER(source))
    except StopReading:
        pass
    except yaml.YAMLError as error:
        builder.problems.add(syntax.explain(error, lines, builder.file))
    except UnicodeEncodeError as error:
        builder.problems.add(syntax.forbidden(error.object[error.start], lines, builder.file))
    except (RecursionError, MemoryError, ValueError) as error:
        builder.problems.add(Problem(Place(builder.file), "", f"the YAML can't be read: {type(error).__name__}"))
    else:
        return Document(builder.file, value, builder.marks, tuple(builder.warnings), builder.problems)
    raise builder.problems.error()
