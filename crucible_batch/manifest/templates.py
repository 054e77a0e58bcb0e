"""Templates of a manifest: compiled by Jinja2 once per source, rendered with the variables of a
job.

A text without ``{{``, ``{%`` or ``{#`` isn't a template; Jinja2 is imported for the first one. A
rendered value is never parsed as a template again, so text from a CSV file can't become code.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeAlias

from crucible_batch.manifest import template_filters
from crucible_batch.manifest.template_filters import (
    LimitError,
    Meter,
    TemplateFault,
    TemplatePart,
    Variables,
    weigh,
)

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"

MAX_PROMPT = 32 * 1024
MAX_VALUE = 64 * 1024
_MAX_SOURCE = 64 * 1024
# Compiling takes about 1 ms. With more distinct parts than this, the cache is cleared and parts are
# compiled again.
_CACHE_SIZE = 4096

# An expression without braces or line breaks inside it and without whitespace control (``{{-``,
# ``-}}``).
_EXPRESSION = re.compile(
    r"""(?<!\{)\{\{(?![-+])((?:[^{}\n'"]++|'[^'{}\n\\]*'|"[^"{}\n\\]*")++)(?<![-+])\}\}"""
)


def is_template(text: str) -> bool:
    return "{" in text and ("{{" in text or "{%" in text or "{#" in text)


def split_expressions(source: str) -> list[str] | None:
    """Split a template into text, expression, text, ..., text. Returns None if it has more than
    simple expressions.

    This way each expression is compiled once: 100,000 different prompts that contain ``{{ brand
    }}`` need one compilation.
    """
    pieces = _EXPRESSION.split(source)
    if "\r" in source or any(map(is_template, pieces[::2])) or any(map(str.isspace, pieces[1::2])):
        return None
    return pieces


class Template:
    """A compiled template, in parts. ``names`` are the variables that it may use.

    A rendering adds the columns of empty cells that it inserts to ``blank``.
    """

    __slots__ = ("_blank", "_meter", "_parts", "names")

    def __init__(self, meter: Meter, parts: Sequence[str | TemplatePart], blank: set[str]) -> None:
        self._meter = meter
        self._parts = parts
        self._blank = blank
        self.names = frozenset(
            name for part in parts if not isinstance(part, str) for name in part.names
        )

    def text(self, variables: Variables, limit: int = MAX_VALUE) -> str:
        """Render to text of at most ``limit`` bytes of UTF-8. Raises ``TemplateFault``."""
        try:
            return self._text(variables, limit)
        # A template can raise anything that its operations do.
        except Exception as error:  # noqa: BLE001
            raise _fault(error, variables) from None

    def value(self, variables: Variables) -> Json:
        """Return the typed value if the template is a single expression, otherwise its text.

        Raises ``TemplateFault``.
        """
        single = self._parts[0] if len(self._parts) == 1 else ""
        if isinstance(single, str) or single.value is None:
            return self.text(variables)
        try:
            self._meter.start()
            self._note_blank(single, variables)
            value = plain(single.value(variables))
            if isinstance(value, str):
                _check_size(value, MAX_VALUE)
            weigh(value)
        except Exception as error:  # noqa: BLE001 - as above
            raise _fault(error, variables) from None
        return value

    def _text(self, variables: Variables, limit: int) -> str:
        self._meter.start()
        pieces, length = list[str](), 0
        for piece in self._pieces(variables):
            pieces.append(piece)
            length += len(piece)
            if length > limit:
                break
        text = "".join(pieces)
        _check_size(text, limit)
        return text

    def _pieces(self, variables: Variables) -> Iterator[str]:
        for part in self._parts:
            if isinstance(part, str):
                yield part
            else:
                self._note_blank(part, variables)
                yield from part.pieces(variables)

    def _note_blank(self, part: TemplatePart, variables: Variables) -> None:
        if part.column is None or "row" not in variables:
            return
        cell = variables["row"].get(part.column)
        if isinstance(cell, str) and not cell.strip():
            self._blank.add(part.column)


def _check_size(text: str, limit: int) -> None:
    if len(text) > limit or (
        not text.isascii() and len(text.encode("utf-8", "surrogatepass")) > limit
    ):
        raise LimitError(f"longer than {limit // 1024} KiB, the limit for this field")


class Templates:
    """The compiler of the templates of one expansion, with a cache of compiled parts by source.

    ``names`` are the variables that the templates compiled so far may use, ``blank`` the columns of
    empty cells that renderings have inserted since it was cleared.
    """

    def __init__(self) -> None:
        self._meter = Meter()
        self._parts: dict[str, TemplatePart] = {}
        self.names: set[str] = set()
        self.blank: set[str] = set()

    def compile(self, source: str) -> Template:
        """Return the template of a text. Raises ``TemplateFault`` if it can't be compiled."""
        if len(source) > _MAX_SOURCE:
            raise TemplateFault(f"the template is longer than {_MAX_SOURCE // 1024} KiB")
        self._meter.start()
        pieces = split_expressions(source)
        if pieces is None:
            return Template(self._meter, [self._part(source, 1)], self.blank)
        parts: list[str | TemplatePart] = []
        line = 1
        for index, piece in enumerate(pieces):
            if index % 2:
                parts.append(self._part("{{" + piece + "}}", line))
            elif piece:
                parts.append(piece)
                line += piece.count("\n")
        return Template(self._meter, parts, self.blank)

    def _part(self, source: str, line: int) -> TemplatePart:
        part = self._parts.get(source)
        if part is None:
            if len(self._parts) >= _CACHE_SIZE:
                self._parts.clear()
            part = self._parts[source] = self._compile_part(source, line)
            self.names |= part.names
        return part

    @cached_property
    def _compile_part(self) -> Callable[[str, int], TemplatePart]:
        from crucible_batch.manifest.template_sandbox import Sandbox  # noqa: PLC0415 - Jinja2

        return Sandbox(self._meter).part


def plain(value: Any) -> Json:
    """Return a template's value as JSON, with tuples as lists.

    Raises ``ValueError`` if JSON has no such value.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {template_filters.text_of(key): plain(item) for key, item in value.items()}
    if isinstance(value, float):
        raise ValueError("JSON cannot represent NaN and infinity")  # noqa: TRY004 - a right type
    str(value)  # raises for an unknown name
    raise ValueError(f"JSON cannot represent a value of the type {type(value).__name__}")


def _fault(error: Exception, variables: Variables) -> TemplateFault:
    from crucible_batch.manifest.template_sandbox import explained  # noqa: PLC0415 - Jinja2

    return explained(error, variables)
