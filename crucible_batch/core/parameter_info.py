"""What a workflow's metadata has of a parameter: its type, range, allowed values and default.

The metadata is free-form and comes from outside. A fact is read under the names that are usual in
JSON Schema and in workflow editors; what is absent, of another form or contradictory is ignored,
and then nothing is checked by it:

    facts                                     ignored
    a bound that is not a finite number       the bound
    a minimum above the maximum               both
    a default outside the range               the range
    a default that is not among the values    the values
    values that are not a list of scalars     the values
    a range or values of a text or an image   the range
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from crucible_batch.core.redaction import clean_message

Scalar = str | int | float | bool | Decimal

PROMPT_FIELDS = ("prompt.text", "prompt.value", "prompt")
IMAGE_FIELDS = ("image.image", "image.value", "image")
"""The parameters that ``prompt`` and ``image`` of a manifest fill: the first of them that the
workflow lists.
"""

_KINDS = {
    "int": "integer",
    "integer": "integer",
    "float": "number",
    "double": "number",
    "decimal": "number",
    "number": "number",
    "bool": "boolean",
    "boolean": "boolean",
    "str": "text",
    "string": "text",
    "text": "text",
}
_NUMERIC = ("", "integer", "number")
_MINIMUM = ("minimum", "min")
_MAXIMUM = ("maximum", "max")
_VALUES = ("enum", "choices", "options", "allowed_values")
_MOST_VALUES = 200
_MOST_DIGITS = 30
"""A number with a larger exponent, or more digits, would be pages long when printed."""
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class ParameterInfo:
    """The facts of one parameter.

    ``kind`` is cleaned and may be any word; empty or None where a fact is not known.
    """

    kind: str = ""
    minimum: Decimal | None = None
    maximum: Decimal | None = None
    values: tuple[Scalar, ...] = ()
    default: Scalar | None = None

    def fault(self, value: object) -> str | None:
        """Return why a value is not allowed, as in ``must be at most 50, got 80``; None if nothing
        is known against it.

        A number that is written as text is not checked: the gateway may accept it.
        """
        if value is None:
            return None
        if self.values:
            if _is_among(value, self.values):
                return None
            return f"must be one of {self.shown_values()}, {_got(value)}"
        if self._is_other_kind(value):
            return f"must be {_a(self.kind)}, {_got(value)}"
        number = _number(value)
        if number is None:
            return None
        if self.kind == "integer" and number != number.to_integral_value():
            return f"must be an integer, {_got(value)}"
        if self.minimum is not None and number < self.minimum:
            return f"must be at least {self.minimum:f}, {_got(value)}"
        if self.maximum is not None and number > self.maximum:
            return f"must be at most {self.maximum:f}, {_got(value)}"
        return None

    def _is_other_kind(self, value: object) -> bool:
        if isinstance(value, list | dict):
            return self.kind in _KINDS.values()
        return isinstance(value, bool) and self.kind in {"integer", "number"}

    def shown_values(self) -> str:
        """Return the allowed values as text, the first ones if there are many."""
        shown = ", ".join(shown_value(value) for value in self.values[:12])
        if len(self.values) > 12:
            shown += f", ... ({len(self.values)})"
        return shown


def read_parameter(details: Mapping[str, object]) -> ParameterInfo:
    """Return the facts in a parameter's metadata.

    Whatever the metadata holds, nothing is raised.
    """
    named = details.get("type")
    word = ""
    if isinstance(named, str):
        word = clean_message(named, _SHOWN)
    kind = _KINDS.get(word.lower(), word)
    default = _scalar(details.get("default"))
    minimum = maximum = None
    if kind in _NUMERIC:
        minimum, maximum = _bounds(details)
    number = _number(default)
    if number is not None and not (
        (minimum is None or number >= minimum) and (maximum is None or number <= maximum)
    ):
        minimum = maximum = None
    values = _values(details)
    if default is not None and not _is_among(default, values):
        values = ()
    return ParameterInfo(kind, minimum, maximum, values, default)


def _bounds(details: Mapping[str, object]) -> tuple[Decimal | None, Decimal | None]:
    minimum, maximum = _number(_first(details, _MINIMUM)), _number(_first(details, _MAXIMUM))
    if minimum is not None and maximum is not None and minimum > maximum:
        return None, None
    return minimum, maximum


def _values(details: Mapping[str, object]) -> tuple[Scalar, ...]:
    listed = _first(details, _VALUES)
    if not isinstance(listed, list) or not 0 < len(listed) <= _MOST_VALUES:
        return ()
    scalars = [_scalar(each) for each in listed]
    values = tuple(value for value in scalars if value is not None)
    if len(values) < len(listed):
        return ()
    return values


def _first(details: Mapping[str, object], names: tuple[str, ...]) -> object:
    return next((details[name] for name in names if details.get(name) is not None), None)


def _scalar(value: object) -> Scalar | None:
    if isinstance(value, str):
        return clean_message(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float | Decimal) and _number(value) is not None:
        return value
    return None


def _number(value: object) -> Decimal | None:
    """Return a finite number of a sensible size; None for anything else, also for booleans."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    if isinstance(value, int) and abs(value) >= 10**_MOST_DIGITS:
        return None
    number = Decimal(str(value))
    if not number.is_finite() or len(str(number.normalize())) > 2 * _MOST_DIGITS:
        return None
    if abs(number.adjusted()) > _MOST_DIGITS:
        return None
    return number


def _is_among(value: object, values: tuple[Scalar, ...]) -> bool:
    """Whether a value is one of those allowed.

    Values are compared as they are written; no values allow any.
    """
    return not values or shown_value(value) in {shown_value(each) for each in values}


def shown_value(value: object) -> str:
    """Return a value as text, numbers without an exponent."""
    if isinstance(value, bool):
        return str(value).lower()
    number = _number(value)
    if number is None:
        return clean_message(str(value), _SHOWN)
    return f"{number.normalize():f}"


def _got(value: object) -> str:
    if isinstance(value, list):
        return "got a list"
    if isinstance(value, dict):
        return "got a mapping"
    return f"got {shown_value(value)}"


def _a(kind: str) -> str:
    return {"integer": "an integer", "text": "text"}.get(kind, f"a {kind}")
