"""Pydantic's errors about a manifest's fields, worded for its author."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from crucible_batch.errors import Problem
from crucible_batch.manifest.source_map import Path as NodePath
from crucible_batch.manifest.source_map import SourceNode, kind, nearest, shown
from crucible_batch.manifest.table_rows import SPREADSHEETS, SUFFIXES

_LONGEST_VALUE = 40
_NAMES_OF_KEYS = {"api_key", "apikey", "key", "token", "moltazine_api_key"}
_TABLES = tuple(
    suffix.removeprefix(".") for suffix in (*SUFFIXES, *sorted(SPREADSHEETS)) if suffix != ".txt"
)

# Messages for pydantic's error types. {got} is the actual value.
_MESSAGES = {
    "string_type": "must be text, got {got}",
    "int_type": "must be an integer, got {got}",
    "bool_type": "must be true or false, got {got}",
    "list_type": "must be a list, got {got}",
    "dict_type": "must be a mapping, got {got}",
    "model_type": "must be a mapping, got {got}",
    "string_too_short": "is empty",
    "string_too_long": "is longer than {max_length} characters",
    "too_short": "is an empty list",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}, got {got}",
}
_PATTERNS = {
    "account": (
        "must consist of letters A-Z, digits, . _ and -, and begin with a letter, a digit or _"
    ),
    "name": "must consist of letters A-Z, digits, . _ and -, and begin with a letter, a digit or _",
    "[key]": (
        "must be a valid template variable: letters A-Z, digits and _, not beginning with a digit"
    ),
}


def shape_problems(
    model: type[BaseModel],
    details: Iterable[ErrorDetails],
    site: SourceNode,
    *,
    other_keys: Collection[str],
) -> Iterator[Problem]:
    """Yield a problem for each of pydantic's errors about ``model`` at ``site``, unknown keys
    first.

    A misspelled key isn't also reported as missing under its correct name. ``other_keys`` are known
    keys in addition to the model's.
    """
    meant: set[tuple[int | str, ...]] = set()
    for detail in sorted(details, key=lambda detail: detail["type"] != "extra_forbidden"):
        location = detail["loc"]
        if detail["type"] == "extra_forbidden":
            problem = _unknown_key(model, location, site, other_keys)
            meant.add((*location[:-1], problem.nearest or ""))
            yield problem
        elif detail["type"] != "missing":
            yield _wrong_value(detail, site)
        elif location not in meant:
            yield site.problem(location, f"`{location[-1]}` is missing")


def _unknown_key(
    model: type[BaseModel], location: NodePath, site: SourceNode, other_keys: Collection[str]
) -> Problem:
    name = str(location[-1])
    known = _known_keys(model, location[:-1])
    if len(location) == 1:
        known.extend(other_keys)
    siblings: Any = site.value
    for step in location[:-1]:
        siblings = siblings[step]
    # Prefer keys that are not present yet, since a misspelling of a present key is unlikely.
    absent = [key for key in known if key not in siblings]
    near = nearest(name, absent) or nearest(name, known)
    if "foreach" in absent and _is_table(name, siblings.get(name)):
        near = "foreach"  # rather than the key with the nearest spelling
    hint = None
    if known and not near:
        hint = f"known keys: {', '.join(sorted(known))}"
    if name.lower() in _NAMES_OF_KEYS:
        near = None
        hint = (
            "a manifest has no API key: set MOLTAZINE_API_KEY, in the environment or in a .env file"
        )
    return site.problem(location, f"unknown key {name[:100]!r}", key=True, nearest=near, hint=hint)


def _is_table(name: str, value: object) -> bool:
    """Whether a key or its value names a kind of table: ``from_csv``, ``products.csv``."""
    return any(isinstance(text, str) and text.lower().endswith(_TABLES) for text in (name, value))


def _wrong_value(detail: ErrorDetails, site: SourceNode) -> Problem:
    location, value = detail["loc"], detail["input"]
    is_key = location[-1:] == ("[key]",)
    message, hint = _message(detail, location, value), _hint(detail["type"], value)
    return site.problem(location[:-1] if is_key else location, message, key=is_key, hint=hint)


def _message(detail: ErrorDetails, location: tuple[int | str, ...], value: object) -> str:
    error_type = detail["type"]
    if error_type == "string_pattern_mismatch":
        rule = _PATTERNS.get(str(location[-1]), "does not have the required form")
        return f"{str(value)[:100]!r} {rule}"
    if value is None:
        return "is empty; set a value or remove the key"
    if error_type == "value_error":  # raised by a function of ``field_types``
        return str(detail["ctx"]["error"])
    template = _MESSAGES.get(error_type, "{message}")
    return template.format(got=_got(value), message=detail["msg"], **_context(detail))


def _got(value: object) -> str:
    """Return a value as YAML has it, text in quotes and shortened; only the kind of a list or a
    mapping."""
    match value:
        case str() if len(value) > _LONGEST_VALUE:
            return f"the text {value[:_LONGEST_VALUE]!r}..."
        case str():
            return f"the text {value!r}"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return shown(str(value))
        case _:
            return kind(value)


def _context(detail: ErrorDetails) -> dict[str, object]:
    return {
        name: value
        for name, value in detail.get("ctx", {}).items()
        if name not in {"got", "message"}
    }


def _hint(error_type: str, value: object) -> str | None:
    if error_type == "string_type" and isinstance(value, bool | int | float):
        return "put it in quotes if it is text"
    if error_type == "string_type" and isinstance(value, Mapping) and len(value) == 1:
        return "a value that begins with {{ must be in quotes"
    if error_type == "list_type" and not isinstance(value, Mapping):
        return "write [one, two], or one item per line after `- `"
    return None


def _known_keys(model: type[BaseModel], path: NodePath) -> list[str]:
    """Return the keys that the mapping at ``path`` within ``model`` may have."""
    current: Any = model
    for step in path:
        if isinstance(current, type) and issubclass(current, BaseModel):
            current = _field(current, str(step)).annotation
        else:
            current = next(_models_in(current), None)
    if isinstance(current, type) and issubclass(current, BaseModel):
        return [field.alias or name for name, field in current.model_fields.items()]
    return []


def _field(model: type[BaseModel], key: str) -> FieldInfo:
    return next(field for name, field in model.model_fields.items() if (field.alias or name) == key)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    for argument in get_args(annotation):
        if isinstance(argument, type) and issubclass(argument, BaseModel):
            yield argument
