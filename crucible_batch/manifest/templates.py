"""Templates of a manifest: compiled once a source, rendered with the variables of a job, their faults explained.

A text without ``{{``, ``{%`` or ``{#`` is no template and never meets Jinja2. A rendered value is never read as a
template again, so nothing that comes out of a CSV file can become code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from crucible_batch.manifest import template_filters
from crucible_batch.manifest.template_expressions import (
    Expression,
    TemplateContext,
    TemplateFault,
    TemplatePart,
    Variables,
    cut,
)
from crucible_batch.manifest.template_filters import LimitError, Meter, weigh

__all__ = ["Json", "Template", "TemplateFault", "Templates", "Variables", "is_template", "plain"]

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
Key = TypeVar("Key")
Made = TypeVar("Made")

MAX_PROMPT = 32 * 1024
MAX_VALUE = 64 * 1024
_MAX_SOURCE = 64 * 1024
# Compiling takes about a millisecond. More different templates than this in one manifest are compiled again.
_CACHE_SIZE = 4096


def is_template(text: str) -> bool:
    return "{" in text and ("{{" in text or "{%" in text or "{#" in text)


class Template:
    """A compiled template."""

    __slots__ = ("_meter", "_parts", "_single")

    def __init__(self, meter: Meter, parts: Sequence[str | TemplatePart], single: TemplatePart | None) -> None:
        self._meter = meter
        self._parts = parts
        self._single = single

    @property
    def names(self) -> frozenset[str]:
        """The variables that it may ask for."""
        return frozenset(name for part in self._parts if not isinstance(part, str) for name in part.names)

    def text(self, variables: Variables, limit: int = MAX_VALUE) -> str:
        """Render to text of at most ``limit`` bytes of UTF-8. Raises ``TemplateFault``."""
        try:
            return self._text(variables, limit)
        except Exception as error:  # noqa: BLE001 - a template can raise anything that its operations do
            raise _fault(error, variables) from None

    def value(self, variables: Variables) -> Json:
        """Return the value of the template's one expression, else its text. Raises ``TemplateFault``."""
        if self._single is None:
            return self.text(variables)
        try:
            self._meter.start()
            value = plain(self._single.value(variables))
            if isinstance(value, str):
                _check_size(value, MAX_VALUE)
            weigh(value)
        except Exception as error:  # noqa: BLE001 - as above
            raise _fault(error, variables) from None
        return value

    def _text(self, variables: Variables, limit: int) -> str:
        self._meter.start()
        pieces, length = [], 0
        for part in self._parts:
            piece = part if isinstance(part, str) else part.text(variables, limit)
            pieces.append(piece)
            length += len(piece)
            if length > limit:
                break
        text = "".join(pieces)
        _check_size(text, limit)
        return text


def _check_size(text: str, limit: int) -> None:
    if len(text) > limit or (not text.isascii() and len(text.encode("utf-8", "surrogatepass")) > limit):
        raise LimitError(f"more than the {limit // 1024} KiB that may stand here")


class Templates:
    """Compiles the templates of one expansion, and remembers what Jinja2 made of their sources."""

    def __init__(self) -> None:
        self._workbench = TemplateContext()
        self._meter = self._workbench.meter
        self._wholes: dict[tuple[str, bool], tuple[TemplatePart, bool]] = {}
        self._expressions: dict[str, Expression] = {}

    def text(self, source: str) -> Template:
        """Return the template of a text. Raises ``TemplateFault`` where it can't be compiled."""
        return self._compiled(source, native=False)

    def value(self, source: str) -> Template:
        """Return a template that keeps the type of its value where it is one ``{{ expression }}`` and nothing else."""
        return self._compiled(source, native=True)

    def _compiled(self, source: str, *, native: bool) -> Template:
        if len(source) > _MAX_SOURCE:
            raise TemplateFault(f"a template of more than {_MAX_SOURCE // 1024} KiB")
        self._meter.start()
        pieces, line = cut(source), 1
        if pieces is None:
            whole, is_expression = self._whole(source, native=native)
            return Template(self._meter, [whole], whole if is_expression else None)
        parts: list[str | TemplatePart] = []
        for text, expression in pieces:
            if text:
                parts.append(text)
                line += text.count("\n")
            if expression:
                parts.append(self._expressions.get(expression) or self._expression(expression, line))
        single = parts[0] if native and len(parts) == 1 and isinstance(parts[0], Expression) else None
        return Template(self._meter, parts, single)

    def _whole(self, source: str, *, native: bool) -> tuple[TemplatePart, bool]:
        def made() -> tuple[TemplatePart, bool]:
            return self._workbench.compiler.whole(source, native=native)

        return _remembered(self._wholes, (source, native), made)

    def _expression(self, source: str, line: int) -> Expression:
        return _remembered(self._expressions, source, lambda: Expression(self._workbench, source, line))


def _remembered(cache: dict[Key, Made], source: Key, make: Callable[[], Made]) -> Made:
    made = cache.get(source)
    if made is None:
        if len(cache) >= _CACHE_SIZE:
            cache.clear()
        made = cache[source] = make()
    return made


def plain(value: Any) -> Json:
    """Return a template's value as JSON, tuples as lists. Raises ``ValueError`` for what JSON can't say."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, list | tuple | range):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {template_filters.text_of(key): plain(item) for key, item in value.items()}
    if isinstance(value, float):
        raise ValueError("NaN and infinity are no JSON values")  # noqa: TRY004 - the type is right
    str(value)  # an unknown name says so itself
    raise ValueError(f"a value of the kind {type(value).__name__} is no JSON value")


def _fault(error: Exception, variables: Variables) -> TemplateFault:
    from crucible_batch.manifest.template_faults import explained  # noqa: PLC0415 - Jinja2, for templates that need it

    return explained(error, variables)
