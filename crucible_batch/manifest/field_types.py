"""Types of a manifest's fields: their conversions, their messages and their JSON Schemas."""

from __future__ import annotations

import re
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import core_schema

from crucible_batch.option_values import (
    AUTO,
    LONGEST_S,
    MOST_AT_ONCE,
    parse_concurrency,
    parse_duration,
)
from crucible_batch.scheduled_time import check_cron, read_timezone

# A double keeps this many decimal digits; more in the YAML would be rounded silently.
_EXACT_DIGITS = 15
_NOT_CREDITS = 'must be a number of credits, such as 250 or "12.5"'
_MAX_CREDITS = Decimal(10**12)
_MAX_PLACES = 18
"""The decimal places of ``core.credits``: an amount with more can't be read from the journal again.
"""


def _credits(value: object) -> Decimal:
    """Read credits exactly, from a YAML number or from decimal text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(_NOT_CREDITS)  # noqa: TRY004 - for pydantic
    amount = _decimal(str(value))
    if not amount.is_finite():
        raise ValueError(_NOT_CREDITS)
    if not 0 < amount <= _MAX_CREDITS:
        raise ValueError("must be greater than 0 and at most 10^12 credits")
    exponent = amount.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -_MAX_PLACES:
        raise ValueError(f"must have at most {_MAX_PLACES} decimal places")
    digits = amount.normalize().as_tuple().digits
    if isinstance(value, float) and len(digits) > _EXACT_DIGITS:
        raise ValueError("has more digits than a YAML number keeps; put it in quotes")
    return amount


def _decimal(text: str) -> Decimal:
    """Return the number in ``text``, or NaN if there is none.

    ``Decimal`` would also accept underscores and the digits of other scripts.
    """
    if not text.isascii() or "_" in text:
        return Decimal("NaN")
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("NaN")


class OrCredits:
    """An annotation of ``Budget``: a number or decimal text in its place is its ``credits``."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(_as_budget, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [*_CREDITS_SCHEMA["anyOf"], handler(schema)]}


def _as_budget(value: object) -> object:
    if isinstance(value, bool | int | float | str):
        return {"credits": value}
    return value


class OrList:
    """An annotation of a part: a list in its place is the field with this name."""

    def __init__(self, field: str, schema: dict[str, Any]) -> None:
        self._field = field
        self._schema = schema

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(self._filled, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [self._schema, handler(schema)]}

    def _filled(self, value: object) -> object:
        return {self._field: value} if isinstance(value, list) else value


def given(value: object) -> object:
    """Refuse a key without a value: a key that is left out has a default, an empty one is a
    mistake.
    """
    if value is None:
        raise ValueError("is empty; set a value or remove the key")
    return value


def version_number(value: object) -> object:
    """Refuse ``true``, which equals 1 in Python."""
    if isinstance(value, bool):
        raise ValueError("must be 1")  # noqa: TRY004 - for pydantic
    return value


def _concurrency(value: object) -> object:
    with suppress(ValueError):
        if parse_concurrency(str(value)) == value:  # a number in quotes is a text
            return value
    raise ValueError(f"must be auto or an integer from 1 to {MOST_AT_ONCE}")


def _duration(value: object) -> float:
    with suppress(ValueError):
        return parse_duration(str(value))
    raise ValueError("must be a duration of at most 365 days, such as 90s, 5m, 6h or 1h30m")


def _timezone(value: object) -> object:
    if isinstance(value, str):
        read_timezone(value)
    return value


def _cron(value: object) -> object:
    if isinstance(value, str):
        check_cron(value)
    return value


def _secret_source(value: object) -> object:
    """Refuse an address or a secret itself. The message doesn't repeat it."""
    if isinstance(value, str) and re.match(_SOURCE, value) is None:
        raise ValueError(
            "must be env:NAME or file:PATH, "
            "since addresses and secrets are not written in a manifest"
        )
    return value


_SOURCE = r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:[^\x00]+)$"
_IDENTIFIER = r"^[A-Za-z_][A-Za-z0-9_]*$"
_CREDITS_SCHEMA: dict[str, list[Any]] = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0},
        {"type": "string", "pattern": r"^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?$"},
    ]
}

_CONCURRENCY_SCHEMA = {
    "anyOf": [{"type": "integer", "minimum": 1, "maximum": MOST_AT_ONCE}, {"const": AUTO}],
}
_DURATION_SCHEMA = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0, "maximum": LONGEST_S},
        {
            "type": "string",
            "pattern": (
                r"^([0-9]+(\.[0-9]+)?"
                r"|(?=[0-9])([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+(\.[0-9]+)?s)?)$"
            ),
        },
    ]
}

PROGRAM_SCHEMA = {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1}
"""The schema of a program and its arguments."""

Credits = Annotated[Decimal, BeforeValidator(_credits), WithJsonSchema(_CREDITS_SCHEMA)]
Text = Annotated[str, StringConstraints(min_length=1)]
Identifier = Annotated[str, StringConstraints(pattern=_IDENTIFIER, max_length=100)]
AxisValue = Annotated[Any, WithJsonSchema({"type": ["string", "number", "boolean"]})]
Axes = dict[Identifier, Annotated[list[AxisValue], Field(min_length=1)]]
Parameters = dict[Text, Any]
Concurrency = Annotated[
    int | Literal["auto"] | None,
    BeforeValidator(_concurrency),
    BeforeValidator(given),
    WithJsonSchema(_CONCURRENCY_SCHEMA),
]
Duration = Annotated[
    float | None,
    BeforeValidator(_duration),
    BeforeValidator(given),
    WithJsonSchema(_DURATION_SCHEMA),
]
OptionalCommand = Annotated[
    Annotated[list[Text], Field(min_length=1)] | None, BeforeValidator(given)
]
OptionalText = Annotated[Text | None, BeforeValidator(given)]
SecretSource = Annotated[
    str | None,
    BeforeValidator(_secret_source),
    BeforeValidator(given),
    WithJsonSchema({"type": "string", "pattern": _SOURCE}),
]
Timezone = Annotated[Text | None, BeforeValidator(_timezone), BeforeValidator(given)]
Cron = Annotated[Text, BeforeValidator(_cron)]
AccountName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$", max_length=100)
]
OptionalCredits = Annotated[Credits | None, BeforeValidator(given)]
OptionalAxes = Annotated[Axes | None, BeforeValidator(given)]
