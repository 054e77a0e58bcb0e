"""Jinja2 at work: expressions and whole templates compiled in the sandbox."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jinja2 import nodes
from jinja2.environment import Template as Compiled
from jinja2.meta import find_undeclared_variables

from crucible_batch.manifest.template_expressions import Evaluate, Variables
from crucible_batch.manifest.template_faults import explaining
from crucible_batch.manifest.template_filters import Meter
from crucible_batch.manifest.template_sandbox import Sandbox

_RESULT = "_result"


class JinjaCompiler:
    """Compiles for one expansion, with one sandbox."""

    def __init__(self, meter: Meter) -> None:
        self._sandbox = Sandbox(meter)

    def expression(self, source: str, line: int) -> tuple[Evaluate, frozenset[str]]:
        with explaining(line):
            tree = self._sandbox.parse("{{" + source + "}}")
            compiled, names = _compiled(self._sandbox, tree, _only_expression(tree))
        return lambda variables: _evaluated(self._sandbox, compiled, variables), names

    def whole(self, source: str, *, native: bool) -> tuple[WholeTemplate, bool]:
        with explaining(1):
            whole = WholeTemplate(self._sandbox, source, native=native)
        return whole, whole.is_expression

    def simple_filter(self, name: str) -> Callable[[Any], Any] | None:
        return self._sandbox.filters[name] if self._sandbox.is_simple_filter(name) else None


def _evaluated(sandbox: Sandbox, compiled: Compiled, variables: Variables) -> Any:
    context = sandbox.scope(variables)
    for _ in compiled.root_render_func(context):
        pass
    return context.vars[_RESULT]


class WholeTemplate:
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
        return _evaluated(self._sandbox, self._compiled, variables)

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
