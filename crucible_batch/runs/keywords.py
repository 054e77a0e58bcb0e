"""Functions whose arguments are the fields of a dataclass: its options are declared once, and are typed."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import Any, ParamSpec, TypeVar, get_type_hints

P = ParamSpec("P")
A = TypeVar("A")
R = TypeVar("R")


def taking(arguments: Callable[P, A]) -> Callable[[Callable[[A], R]], Callable[P, R]]:
    """Return a decorator of a function of one value: the function then takes what makes the value.

    Raises ``TypeError`` for other arguments, as Python does for an explicit signature.
    """

    def decorate(function: Callable[[A], R]) -> Callable[P, R]:
        @wraps(function)
        def called(*given: P.args, **named: P.kwargs) -> R:
            try:
                value = arguments(*given, **named)
            except TypeError as error:
                raise TypeError(f"{function.__name__}() {str(error).partition('() ')[2]}") from None
            return function(value)

        own, hints = inspect.signature(arguments), get_type_hints(arguments)
        vars(called)["__signature__"] = own.replace(
            parameters=[each.replace(annotation=hints[name]) for name, each in own.parameters.items()],
            return_annotation=inspect.signature(function).return_annotation,
        )
        return called

    return decorate


def values_of(value: object, options: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that a value has as well."""
    return {field.name: getattr(value, field.name) for field in fields(options)}
