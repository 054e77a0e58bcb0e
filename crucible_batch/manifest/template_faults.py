"""What kept a template from being compiled or rendered, in words for its author: a ``TemplateFault``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from jinja2.exceptions import SecurityError, TemplateError, TemplateSyntaxError

from crucible_batch.manifest import template_filters
from crucible_batch.manifest.source_map import nearest, shown
from crucible_batch.manifest.template_expressions import TemplateFault, Variables
from crucible_batch.manifest.template_filters import LimitError
from crucible_batch.manifest.template_sandbox import UnknownName


@contextmanager
def explaining(line: int) -> Iterator[None]:
    """Turn what keeps a template from being compiled into a ``TemplateFault``. Its first line is ``line``."""
    try:
        yield
    except TemplateSyntaxError as error:
        raise TemplateFault(f"not a template: {_first_lower(error.message)}", **_advice(error, line)) from None
    except (RecursionError, MemoryError, SyntaxError, ValueError, OverflowError) as error:
        reason = str(error) if isinstance(error, LimitError) else "it is nested too deeply or holds a huge number"
        raise TemplateFault(f"not a template: {reason}") from None


def _advice(error: TemplateSyntaxError, first: int) -> dict[str, Any]:
    # Jinja2 gives no line, whatever its types say, where it can't make Python of what it understood.
    message, line = error.message or "", (error.lineno or 1) + first - 1
    if message.startswith("No filter named"):
        return {"nearest": nearest(message.split("'")[1], template_filters.NAMES), "line": line}
    if "unknown tag" in message or "is not available" in message:
        return {"hint": "templates have {% if %}, {% for %} and {% set %}", "line": line}
    return {"line": line}


def explained(error: Exception, variables: Variables) -> TemplateFault:
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
        message = f"{template_filters.described(error.owner)} has no {name!r} in templates"
    elif name == "row":
        message, hint = "the variable 'row' is unknown", "`row` needs `foreach` in the same job"
    else:
        message, near = f"the variable {name!r} is unknown", nearest(name, [*variables, "range"])
        hint = None if near else _known(variables)
    return TemplateFault(message, nearest=near, hint=hint, is_unknown_name=True)


def _known(variables: Variables) -> str:
    names = [shown(name) for name in variables]
    rest = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return f"known here: {', '.join(names[:12])}{rest}" if names else "`vars`, `matrix` and `foreach` give variables"


def _first_lower(message: str | None) -> str:
    text = message or "no reason given"
    return text[0].lower() + text[1:] if text[1:2].islower() else text
