"""What a template is made of: its expressions, each compiled once, and whole templates that have more to them.

A text with nothing but expressions in it is cut into pieces, and each expression compiled by itself: of 100,000 prompts
that differ in their words, each with ``{{ brand }}`` in it, one expression is compiled, where as many templates would
take 70 s. An expression that is a variable, or a member of one, with a filter behind it or none, is looked up without
Jinja2, in a tenth of the time; what isn't found there is left to Jinja2 to explain.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from jinja2 import nodes
from jinja2.environment import Template as Compiled
from jinja2.meta import find_undeclared_variables

from crucible_batch.manifest.filters import text_of
from crucible_batch.manifest.sandbox import Sandbox

Variables: TypeAlias = Mapping[str, Any]

_RESULT = "_result"
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


class Expression:
    """One expression. ``names`` are the variables that it may ask for. Raises what Jinja2 does where it is none."""

    __slots__ = ("_attribute", "_compiled", "_filter", "_name", "_sandbox", "_source", "names")

    def __init__(self, sandbox: Sandbox, source: str) -> None:
        self._sandbox = sandbox
        self._source = source
        self._compiled: Compiled | None = None
        self._filter: Callable[[Any], Any] | None = None
        lookup = _LOOKUP.fullmatch(source)
        if lookup is not None and lookup[1] not in _WORDS and sandbox.is_simple_filter(lookup[3]):
            self._name, self._attribute = lookup[1], lookup[2]
            self._filter = sandbox.filters[lookup[3]] if lookup[3] else None
            self.names = frozenset({self._name})
        else:
            self._name, self._attribute = "", None
            self._compiled, self.names = self._compile()

    def value(self, variables: Variables) -> Any:
        """Return its value. Raises whatever its operations do."""
        if self._name in variables:
            value, attribute = variables[self._name], self._attribute
            if attribute is None:
                return value if self._filter is None else self._filter(value)
            if isinstance(value, dict) and attribute in value:
                return value[attribute] if self._filter is None else self._filter(value[attribute])
        if self._compiled is None:
            self._compiled, _ = self._compile()
        context = self._sandbox.scope(variables)
        for _ in self._compiled.root_render_func(context):
            pass
        return context.vars[_RESULT]

    def text(self, variables: Variables, _limit: int) -> str:
        value = self.value(variables)
        return value if type(value) is str else text_of(value)

    def _compile(self) -> tuple[Compiled, frozenset[str]]:
        tree = self._sandbox.parse("{{" + self._source + "}}")
        return _compiled(self._sandbox, tree, _only_expression(tree))


class Whole:
    """A template as one piece. ``names`` are the variables that it may ask for. Raises as ``Expression`` does."""

    __slots__ = ("_compiled", "_sandbox", "is_expression", "names")

    def __init__(self, sandbox: Sandbox, source: str, *, native: bool) -> None:
        self._sandbox = sandbox
        tree = sandbox.parse(source)
        expression = _only_expression(tree) if native else None
        self.is_expression = expression is not None
        self._compiled, self.names = _compiled(sandbox, tree, expression)

    def value(self, variables: Variables) -> Any:
        """Return the value of what is an expression only. Raises whatever its operations do."""
        context = self._sandbox.scope(variables)
        for _ in self._compiled.root_render_func(context):
            pass
        return context.vars[_RESULT]

    def text(self, variables: Variables, limit: int) -> str:
        """Render it, to hardly more than ``limit`` characters."""
        pieces, length = [], 0
        for piece in self._compiled.root_render_func(self._sandbox.scope(variables)):
            pieces.append(piece)
            length += len(piece)
            if length > limit:
                break
        return "".join(pieces)


def _compiled(sandbox: Sandbox, tree: nodes.Template, expression: nodes.Expr | None) -> tuple[Compiled, frozenset[str]]:
    names = frozenset(find_undeclared_variables(tree))
    if expression is not None:
        result = nodes.Assign(nodes.Name(_RESULT, "store", lineno=1), expression, lineno=1)
        tree = nodes.Template([result], lineno=1)
    tree.set_environment(sandbox)
    return sandbox.from_string(sandbox.bounded(tree)), names


def _only_expression(tree: nodes.Template) -> nodes.Expr | None:
    match tree.body:
        case [nodes.Output(nodes=[nodes.TemplateData()])]:
            return None
        case [nodes.Output(nodes=[expression])]:
            return expression
        case _:
            return None
