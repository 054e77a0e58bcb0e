"""Templates of a manifest: compiled once a source, rendered with the variables of a job, their faults explained.

A text without ``{{``, ``{%`` or ``{#`` is no template and never meets Jinja2. A rendered value is never read as a
template again, so nothing that comes out of a CSV file can become code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar

from jinja2.exceptions import SecurityError, TemplateError, TemplateSyntaxError

from crucible_batch.manifest import filters
from crucible_batch.manifest.bounds import LimitError, weigh
from crucible_batch.manifest.expressions import Expression, Variables, Whole, cut
from crucible_batch.manifest.sandbox import Sandbox, UnknownName
from crucible_batch.manifest.wording import nearest, shown

__all__ = ["Json", "Template", "TemplateFault", "Templates", "Variables", "is_template", "plain"]

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
Key = TypeVar("Key")
Made = TypeVar("Made")

MAX_PROMPT = 32 * 1024
MAX_VALUE = 64 * 1024
_MAX_SOURCE = 64 * 1024
# Compiling takes about a millisecond. More different templates than this in one manifest are compiled again.
_CACHE_SIZE = 4096


class TemplateFault(Exception):  # noqa: N818 - it becomes a Problem
    """A template that can't be compiled or rendered. ``line`` counts within the template, 0 if unknown.

    An unknown name is the fault of the template itself, whatever the row. ``unknown_variable`` is that name where it
    was asked of nothing.
    """

    def __init__(
        self,
        message: str,
        *,
        nearest: str | None = None,
        hint: str | None = None,
        line: int = 0,
        is_unknown_name: bool = False,
        unknown_variable: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.nearest = nearest
        self.hint = hint
        self.line = line
        self.is_unknown_name = is_unknown_name
        self.unknown_variable = unknown_variable


def is_template(text: str) -> bool:
    return "{" in text and ("{{" in text or "{%" in text or "{#" in text)


class Template:
    """A compiled template."""

    __slots__ = ("_parts", "_sandbox", "_single")

    def __init__(
        self, sandbox: Sandbox, parts: Sequence[str | Expression | Whole], single: Expression | Whole | None
    ) -> None:
        self._sandbox = sandbox
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
            raise _explained(error, variables) from None

    def value(self, variables: Variables) -> Json:
        """Return the value of the template's one expression, else its text. Raises ``TemplateFault``."""
        if self._single is None:
            return self.text(variables)
        try:
            self._sandbox.meter.start()
            value = plain(self._single.value(variables))
            if isinstance(value, str):
                _check_size(value, MAX_VALUE)
            weigh(value)
        except Exception as error:  # noqa: BLE001 - as above
            raise _explained(error, variables) from None
        return value

    def _text(self, variables: Variables, limit: int) -> str:
        self._sandbox.meter.start()
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
        self._sandbox = Sandbox()
        self._wholes: dict[tuple[str, bool], Whole] = {}
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
        self._sandbox.meter.start()
        pieces, line = cut(source), 1
        if pieces is None:
            whole = self._whole(source, native=native)
            return Template(self._sandbox, [whole], whole if whole.is_expression else None)
        parts: list[str | Expression] = []
        for text, expression in pieces:
            if text:
                parts.append(text)
                line += text.count("\n")
            if expression:
                parts.append(self._expressions.get(expression) or self._expression(expression, line))
        single = parts[0] if native and len(parts) == 1 and isinstance(parts[0], Expression) else None
        return Template(self._sandbox, parts, single)

    def _whole(self, source: str, *, native: bool) -> Whole:
        def made() -> Whole:
            with _explaining(1):
                return Whole(self._sandbox, source, native=native)

        return _remembered(self._wholes, (source, native), made)

    def _expression(self, source: str, line: int) -> Expression:
        def made() -> Expression:
            with _explaining(line):
                return Expression(self._sandbox, source)

        return _remembered(self._expressions, source, made)


def _remembered(cache: dict[Key, Made], source: Key, make: Callable[[], Made]) -> Made:
    made = cache.get(source)
    if made is None:
        if len(cache) >= _CACHE_SIZE:
            cache.clear()
        made = cache[source] = make()
    return made


@contextmanager
def _explaining(line: int) -> Iterator[None]:
    """Turn what keeps a template from being compiled into a ``TemplateFault``. Its first line is ``line``."""
    try:
        yield
    except TemplateSyntaxError as error:
        raise TemplateFault(f"not a template: {_first_lower(error.message)}", **_advice(error, line)) from None
    except (RecursionError, MemoryError, SyntaxError, ValueError, OverflowError) as error:
        reason = str(error) if isinstance(error, LimitError) else "it is nested too deeply or holds a huge number"
        raise TemplateFault(f"not a template: {reason}") from None


def plain(value: Any) -> Json:
    """Return a template's value as JSON, tuples as lists. Raises ``ValueError`` for what JSON can't say."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, list | tuple | range):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {filters.text_of(key): plain(item) for key, item in value.items()}
    if isinstance(value, float):
        raise ValueError("NaN and infinity are no JSON values")  # noqa: TRY004 - the type is right
    str(value)  # an unknown name says so itself
    raise ValueError(f"a value of the kind {type(value).__name__} is no JSON value")


def _advice(error: TemplateSyntaxError, first: int) -> dict[str, Any]:
    # Jinja2 gives no line, whatever its types say, where it can't make Python of what it understood.
    message, line = error.message or "", (error.lineno or 1) + first - 1
    if message.startswith("No filter named"):
        return {"nearest": nearest(message.split("'")[1], filters.NAMES), "line": line}
    if "unknown tag" in message or "is not available" in message:
        return {"hint": "templates have {% if %}, {% for %} and {% set %}", "line": line}
    return {"line": line}


def _explained(error: Exception, variables: Variables) -> TemplateFault:
    match error:
        case TemplateFault():
            return error
        case UnknownName():
            return _unknown(error, variables)
        case SecurityError():
            return TemplateFault("the template asks for something that it may not have")
        case TemplateError():
            return TemplateFault(_first_lower(str(error)))
        case ZeroDivisionError():
            return TemplateFault("the template divides by zero")
        case RecursionError() | MemoryError():
            return TemplateFault("the template is nested too deeply or makes too much")
        case LimitError():
            return TemplateFault(f"the template asks for too much: {error}")
        case _:
            return TemplateFault(f"the template can't be rendered: {_first_lower(str(error)[:200])}")


def _unknown(error: UnknownName, variables: Variables) -> TemplateFault:
    name, near, hint = str(error.name), None, None
    if isinstance(error.owner, Mapping):
        known = [key for key in error.owner if isinstance(key, str)]
        owner = "`row`" if error.owner is variables.get("row") else "the mapping"
        message, near = f"{owner} has no {name!r}", nearest(name, known)
        hint = f"it has {', '.join(shown(key) for key in known[:20])}" if known else None
    elif error.owner is not None:
        message = f"{filters.described(error.owner)} has no {name!r} in templates"
    elif name == "row":
        message, hint = "the variable 'row' is unknown", "`row` needs `foreach` in the same job"
    else:
        message, near = f"the variable {name!r} is unknown", nearest(name, [*variables, "range"])
        hint = None if near else _known(variables)
    variable = name if error.owner is None else None
    return TemplateFault(message, nearest=near, hint=hint, is_unknown_name=True, unknown_variable=variable)


def _known(variables: Variables) -> str:
    names = [shown(name) for name in variables]
    rest = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return f"known here: {', '.join(names[:12])}{rest}" if names else "`vars`, `matrix` and `foreach` give variables"


def _first_lower(message: str | None) -> str:
    text = message or "no reason given"
    return text[0].lower() + text[1:] if text[1:2].islower() else text
