"""What a template is made of: its expressions, each compiled once, and whole templates that have more to them.

A text with nothing but expressions in it is cut into pieces, and each expression compiled by itself: of 100,000 prompts
that differ in their words, each with ``{{ brand }}`` in it, one expression is compiled, where as many templates would
take 70 s. An expression that is a variable, or a member of one, with a filter behind it or none, is looked up without
Jinja2, in a tenth of the time; what isn't found there is left to Jinja2 to explain. Most manifests have no others, so
that Jinja2 is loaded (27 ms, 5 to 8 MB) when one needs it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Protocol, TypeAlias

from crucible_batch.manifest import template_filters
from crucible_batch.manifest.template_filters import Meter, text_of

Variables: TypeAlias = Mapping[str, Any]
Evaluate: TypeAlias = Callable[[Variables], Any]

# No brace in it can hide its end, not in a text either, no break its line, and no sign eats the white space around it.
_EXPRESSION = re.compile(r"""\{\{(?![-+])((?:[^{}\n'"]++|'[^'{}\n\\]*'|"[^"{}\n\\]*")++)(?<![-+])\}\}""")
_LOOKUP = re.compile(r" *([A-Za-z_][A-Za-z0-9_]*)(?:\.([A-Za-z_][A-Za-z0-9_]*))? *(?:\| *([a-z]+) *)?")
# Names that are no variables to Jinja2, or not always.
_WORDS = frozenset(
    "true false none True False None not and or if else is in self loop super caller varargs kwargs range".split()  # noqa: SIM905
)


def cut(source: str) -> list[tuple[str, str]] | None:
    """Cut a template into pieces: a text, and the expression behind it; the last expression is empty.

    None where it has more to it than expressions.
    """
    if "{%" in source or "{#" in source or "\r" in source:
        return None
    pieces: list[tuple[str, str]] = []
    at = 0
    while (start := source.find("{{", at)) >= 0:
        found = _EXPRESSION.match(source, start)
        if found is None or (expression := found[1]).isspace():
            return None
        pieces.append((source[at:start], expression))
        at = found.end()
    pieces.append((source[at:], ""))
    return pieces


class TemplateFault(Exception):  # noqa: N818 - it becomes a Problem
    """A template that can't be compiled or rendered. ``line`` counts within the template, 0 if unknown.

    An unknown name is the fault of the template itself, whatever the row.
    """

    def __init__(
        self,
        message: str,
        *,
        nearest: str | None = None,
        hint: str | None = None,
        line: int = 0,
        is_unknown_name: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.nearest = nearest
        self.hint = hint
        self.line = line
        self.is_unknown_name = is_unknown_name


class TemplatePart(Protocol):
    """A piece of a template. ``names`` are the variables that it may ask for."""

    @property
    def names(self) -> frozenset[str]: ...

    def value(self, variables: Variables, /) -> Any:
        """Return the value of a piece that is an expression only. Raises whatever its operations do."""
        ...

    def text(self, variables: Variables, limit: int, /) -> str:
        """Render it, to hardly more than ``limit`` characters. Raises as ``value`` does."""
        ...


class Compiler(Protocol):
    """Makes pieces with Jinja2. Raises ``TemplateFault`` for what is no template, its first line being ``line``."""

    def expression(self, source: str, line: int) -> tuple[Evaluate, frozenset[str]]:
        """Return what evaluates an expression, and the variables that it may ask for."""
        ...

    def whole(self, source: str, *, native: bool) -> tuple[TemplatePart, bool]:
        """Return a whole template as one piece; with ``native`` also whether it is an expression only."""
        ...

    def simple_filter(self, name: str) -> Callable[[Any], Any] | None:
        """Return a filter that takes a value and nothing of the rendering; None where there is none such."""
        ...


class TemplateContext:
    """What all pieces of one expansion share: the meter, and Jinja2 where it is needed."""

    def __init__(self) -> None:
        self.meter = Meter()
        self._own_filters = template_filters.own(self.meter)

    @cached_property
    def compiler(self) -> Compiler:
        from crucible_batch.manifest.template_compiler import JinjaCompiler  # noqa: PLC0415 - Jinja2

        return JinjaCompiler(self.meter)

    def simple_filter(self, name: str) -> Callable[[Any], Any] | None:
        return self._own_filters.get(name) or self.compiler.simple_filter(name)


class Expression:
    """One expression. Raises ``TemplateFault`` where it is none."""

    __slots__ = ("_attribute", "_evaluate", "_filter", "_line", "_name", "_source", "_workbench", "names")

    def __init__(self, workbench: TemplateContext, source: str, line: int) -> None:
        self._workbench = workbench
        self._source = source
        self._line = line
        self._evaluate: Evaluate | None = None
        self._filter: Callable[[Any], Any] | None = None
        lookup = _LOOKUP.fullmatch(source)
        if lookup is not None and lookup[1] not in _WORDS:
            self._filter = workbench.simple_filter(lookup[3]) if lookup[3] else None
            if self._filter is not None or not lookup[3]:
                self._name, self._attribute = lookup[1], lookup[2]
                self.names = frozenset({self._name})
                return
        self._name, self._attribute = "", None
        self._evaluate, self.names = workbench.compiler.expression(source, line)

    def value(self, variables: Variables) -> Any:
        """Return its value. Raises whatever its operations do."""
        if self._name in variables:
            value, attribute = variables[self._name], self._attribute
            if attribute is None:
                return value if self._filter is None else self._filter(value)
            if isinstance(value, dict) and attribute in value:
                return value[attribute] if self._filter is None else self._filter(value[attribute])
        if self._evaluate is None:
            self._evaluate, _ = self._workbench.compiler.expression(self._source, self._line)
        return self._evaluate(variables)

    def text(self, variables: Variables, _limit: int) -> str:
        value = self.value(variables)
        return value if type(value) is str else text_of(value)
