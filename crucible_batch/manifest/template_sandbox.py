"""The environment that templates run in: only the manifest's values and a list of permitted
operations.

It is Jinja2's immutable sandbox with an allow list. Methods, statements and filters are allowed by
name; every operation that can grow a value is bounded (``template_filters``); there is no loader,
so nothing can be included. An unknown name raises ``UnknownName`` with the name and its owner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jinja2 import StrictUndefined, nodes
from jinja2.exceptions import (
    SecurityError,
    TemplateAssertionError,
    TemplateError,
    TemplateSyntaxError,
    UndefinedError,
)
from jinja2.meta import find_undeclared_variables
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing
from jinja2.visitor import NodeTransformer

from crucible_batch.manifest import template_filters
from crucible_batch.manifest.source_map import kind, nearest, shown
from crucible_batch.manifest.template_filters import (
    LimitError,
    Meter,
    TemplateFault,
    TemplatePart,
    Variables,
    check_items,
    check_operation,
    listed,
    weigh,
)
from crucible_batch.scheduled_time import TIME_VARIABLES

_TEXT_METHODS = (
    "capitalize", "casefold", "count", "endswith", "find", "index", "isalnum", "isalpha", "isdigit",
    "islower", "isnumeric", "isupper", "lower", "lstrip", "partition", "removeprefix",
    "removesuffix", "rpartition", "rsplit", "rstrip", "split", "splitlines", "startswith", "strip",
    "swapcase", "title", "upper",
)  # fmt: skip
_OF_LOOPS = (
    "changed cycle depth depth0 first index index0 last length nextitem previtem revindex revindex0"
)
_METHODS: dict[type, frozenset[str]] = {
    str: frozenset(_TEXT_METHODS),
    dict: frozenset({"get", "items", "keys", "values"}),
    list: frozenset({"count", "index"}),
    LoopContext: frozenset(_OF_LOOPS.split()),
}
_STATEMENTS: tuple[type[nodes.Node], ...] = (nodes.Output, nodes.For, nodes.If, nodes.Assign)


class UnknownName(UndefinedError):  # noqa: N818 - it becomes a Problem
    """An unknown ``name`` in a template: an attribute or key of ``owner``, or a variable if
    ``owner`` is None.
    """

    def __init__(self, message: str, name: object, owner: object) -> None:
        super().__init__(message)
        self.name = name
        self.owner = owner


class _Missing(StrictUndefined):
    """A placeholder for an unknown name. Any use raises, except ``default`` and ``is defined``."""

    __slots__ = ()

    def __init__(
        self, hint: str | None = None, obj: Any = missing, name: str | None = None, exc: Any = None
    ) -> None:
        def fault(message: str) -> UnknownName:
            owner = None if obj is missing else obj
            return UnknownName(message, name, owner)

        super().__init__(hint, obj, name, exc or fault)  # type: ignore[arg-type]


class _Bounding(NodeTransformer):
    """A rewriter of parsed templates that meters loops and bounds ``~`` and the literals of lists,
    tuples and dicts."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        if node.recursive:
            raise TemplateAssertionError("recursive loops are not available", node.lineno)
        node.iter = _filtered(node.iter, "_steps")
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node.nodes[0], "_concat", node.nodes[1:])

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        if node.ctx != "load":
            return node
        return _filtered(node, "_bounded")

    def visit_List(self, node: nodes.List | nodes.Dict) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, "_bounded")

    visit_Dict = visit_List  # noqa: N815

    def visit_NSRef(self, node: nodes.NSRef) -> nodes.Node:  # noqa: N802
        raise TemplateAssertionError("attributes can't be set", node.lineno)

    def generic_visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        if isinstance(node, nodes.Stmt) and not isinstance(node, _STATEMENTS):
            statement = type(node).__name__.lower()
            raise TemplateAssertionError(f"the statement {statement} is not available", node.lineno)
        return super().generic_visit(node, *args, **kwargs)


def _filtered(node: nodes.Node, name: str, args: list[nodes.Expr] | None = None) -> nodes.Filter:
    return nodes.Filter(node, name, args or [], [], None, None, lineno=node.lineno)


_RESULT = "_result"


class Sandbox(ImmutableSandboxedEnvironment):
    """The sandbox of one expansion.

    It can do one rendering at a time, since its meter is shared.
    """

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, meter: Meter) -> None:
        super().__init__(
            undefined=_Missing,
            autoescape=False,
            keep_trailing_newline=True,
            finalize=template_filters.text_of,
        )
        self.meter = meter
        self.filters = template_filters.table(self.meter)
        self.globals = {"range": self._range}

    def part(self, source: str, line: int) -> TemplatePart:
        """Compile a text that begins at line ``line``. Raises ``TemplateFault``."""
        try:
            return self._compiled(source)
        except TemplateSyntaxError as error:
            reason = _first_lower(error.message).rstrip(".")
            raise TemplateFault(f"not a template: {reason}", **_advice(error, line)) from None
        except (RecursionError, MemoryError, SyntaxError, ValueError, OverflowError) as error:
            reason = "it is nested too deeply or has a huge number"
            if isinstance(error, LimitError):
                reason = str(error)
            raise TemplateFault(f"not a template: {reason}") from None

    def _compiled(self, source: str) -> TemplatePart:
        tree = self.parse(source)
        names, expression = frozenset(find_undeclared_variables(tree)), _only_expression(tree)
        column = _inserted_column(expression)
        if expression is not None:
            result = nodes.Assign(nodes.Name(_RESULT, "store", lineno=1), expression, lineno=1)
            tree = nodes.Template([result], lineno=1)
        tree.set_environment(self)
        template = self.from_string(_Bounding().visit(tree))
        # Each rendering copies them: from Jinja2's chain of mappings, that takes a third of it.
        template.globals = dict(template.globals)

        def pieces(variables: Variables) -> Iterator[str]:
            return template.root_render_func(template.new_context(dict(variables)))

        def value(variables: Variables) -> Any:
            context = template.new_context(dict(variables))
            for _ in template.root_render_func(context):
                pass
            return context.vars[_RESULT]

        if expression is None:
            return TemplatePart(names, pieces, None)
        return TemplatePart(
            names, lambda variables: (template_filters.text_of(value(variables)),), value, column
        )

    def _range(self, *limits: int) -> list[int]:
        numbers = range(*limits)
        check_items(len(numbers))
        self.meter.charge(len(numbers))
        return list(numbers)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        check_operation(operator, left, right)
        result = super().call_binop(context, operator, left, right)
        self.meter.charge(weigh(result))
        return result

    # The names are those of Jinja2.
    def call(__self, __context: Context, __obj: Any, *args: Any, **named: Any) -> Any:  # noqa: N805
        __self.meter.charge(10 + sum(weigh(argument) for argument in args))
        result = listed(super().call(__context, __obj, *args, **named))
        __self.meter.charge(weigh(result))
        return result

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return the item of a mapping if there is one, otherwise a permitted attribute.

        For example, ``row.items`` is the column of that name if there is one, otherwise the method.
        """
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        if isinstance(obj, StrictUndefined):
            str(obj)  # raises for the unknown name
        allowed = next(
            (names for kind, names in _METHODS.items() if isinstance(obj, kind)), frozenset[str]()
        )
        if attribute in allowed:
            value: object = getattr(obj, attribute)
            return value
        return self.undefined(obj=obj, name=attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        try:
            item: object = obj[argument]
        except (TypeError, LookupError):
            if isinstance(argument, str):
                return self.getattr(obj, argument)
            return self.undefined(obj=obj, name=argument)
        return item

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return any(isinstance(obj, kind) and attr in names for kind, names in _METHODS.items())

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        return None


def _only_expression(tree: nodes.Template) -> nodes.Expr | None:
    match tree.body:
        case [nodes.Output(nodes=[nodes.TemplateData()])]:
            return None
        case [nodes.Output(nodes=[expression])]:
            return expression
        case _:
            return None


def _inserted_column(expression: nodes.Expr | None) -> str | None:
    """Return the column that an expression inserts, filtered or not.

    ``default`` is there for empty cells: None.
    """
    while isinstance(expression, nodes.Filter) and expression.name not in {"default", "d"}:
        expression = expression.node
    match expression:
        case nodes.Getattr(node=nodes.Name(name="row"), attr=str() as column):
            return column
        case nodes.Getitem(node=nodes.Name(name="row"), arg=nodes.Const(value=str() as column)):
            return column
        case _:
            return None


def _advice(error: TemplateSyntaxError, first: int) -> dict[str, Any]:
    # Despite its types, Jinja2 gives no line if it parses a template but can't generate Python from
    # it.
    message, line = error.message or "", (error.lineno or 1) + first - 1
    if message.startswith("No filter named"):
        return {"nearest": nearest(message.split("'")[1], template_filters.NAMES), "line": line}
    if "unknown tag" in message or "is not available" in message:
        return {
            "hint": "the available statements are {% if %}, {% for %} and {% set %}",
            "line": line,
        }
    return {"line": line}


def explained(error: Exception, variables: Variables) -> TemplateFault:
    match error:
        case TemplateFault():
            return error
        case UnknownName():
            return _unknown(error, variables)
        case SecurityError():
            return TemplateFault("the template uses an operation that is not available")
        case TemplateError():
            return TemplateFault(_first_lower(str(error)))
        case ZeroDivisionError():
            return TemplateFault("the template divides by zero")
        case RecursionError() | MemoryError():
            return TemplateFault("the template is nested too deeply or makes too much text")
        case LimitError():
            return TemplateFault(f"the template exceeds a limit: {error}")
        case _:
            return TemplateFault(
                f"the template can't be rendered: {_first_lower(str(error)[:200])}"
            )


def _unknown(error: UnknownName, variables: Variables) -> TemplateFault:
    name, near, hint = str(error.name), None, None
    if isinstance(error.owner, Mapping):
        known = [key for key in error.owner if isinstance(key, str)]
        owned = (f"`{owner}`" for owner in ("row", "source") if error.owner is variables.get(owner))
        owner = next(owned, "the mapping")
        message, near = f"{owner} has no {name!r}", nearest(name, known)
        if known:
            hint = f"available: {', '.join(shown(key) for key in known[:20])}"
    elif error.owner is not None:
        message = f"{kind(error.owner)} has no {name!r} in templates"
    elif name == "row":
        message, hint = "the variable 'row' is unknown", "`row` needs `foreach` in the same job"
    elif name == "source":
        message, hint = (
            "the variable 'source' is unknown",
            "`source` needs `from` in the same entry",
        )
    else:
        message, near = f"the variable {name!r} is unknown", nearest(name, [*variables, "range"])
        if not near:
            hint = _known(variables)
    return TemplateFault(message, nearest=near, hint=hint, is_unknown_name=True)


def _known(variables: Variables) -> str:
    own = sorted(variables, key=lambda name: name in TIME_VARIABLES)  # the manifest's own first
    names = [shown(name) for name in own]
    if not names:
        return "`vars`, `matrix` and `foreach` define variables"
    if len(names) > 12:
        return f"available: {', '.join(names[:12])} and {len(names) - 12} more"
    return f"available: {', '.join(names)}"


def _first_lower(message: str | None) -> str:
    text = message or "no reason given"
    if text[1:2].islower():
        return text[0].lower() + text[1:]
    return text
