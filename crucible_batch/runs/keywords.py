"""Functions whose arguments are the fields of a dataclass: its options are declared once, and are
typed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from typing import Any, ParamSpec, TypeVar, get_type_hints

from crucible_batch.features import exists

P = ParamSpec("P")
A = TypeVar("A")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class OfFeature:
    """Marks a field as an argument that exists only with a feature."""

    name: str


def taking(arguments: Callable[P, A]) -> Callable[[Callable[[A], R]], Callable[P, R]]:
    """Return a decorator of a function of one value: the function then takes what makes the value.

    Raises ``TypeError`` for other arguments, as Python does for an explicit signature.
    """

    missing = _missing(arguments)

    def decorate(function: Callable[[A], R]) -> Callable[P, R]:
        @wraps(function)
        def called(*given: P.args, **named: P.kwargs) -> R:
            unknown = missing.intersection(named)
            if unknown:
                raise TypeError(
                    f"{function.__name__}() got an unexpected keyword argument {min(unknown)!r}"
                )
            try:
                value = arguments(*given, **named)
            except TypeError as error:
                raise TypeError(f"{function.__name__}() {str(error).partition('() ')[2]}") from None
            return function(value)

        own, hints = inspect.signature(arguments), get_type_hints(arguments)
        vars(called)["__signature__"] = own.replace(
            parameters=[
                each.replace(annotation=hints[name])
                for name, each in own.parameters.items()
                if name not in missing
            ],
            return_annotation=inspect.signature(function).return_annotation,
        )
        return called

    return decorate


def _missing(arguments: object) -> frozenset[str]:
    """Return the arguments of features that were deleted."""
    hints = get_type_hints(arguments, include_extras=True)
    features = {
        name: mark.name
        for name, hint in hints.items()
        for mark in getattr(hint, "__metadata__", ())
        if isinstance(mark, OfFeature)
    }
    return frozenset(name for name, feature in features.items() if not exists(feature))


def values_of(value: object, options: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that a value has as well."""
    names = [field.name for field in fields(options) if hasattr(value, field.name)]
    return {name: getattr(value, name) for name in names}
