"""pydantic's complaints about a manifest, as Problems: with a place, a field path and words of the manifest's own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from crucible_batch.errors import Problem
from crucible_batch.manifest.source_map import Path, SourceNode, kind, nearest

# pydantic's types of error, and what the manifest's author is told. {kind} is what stands there instead.
_MESSAGES = {
    "string_type": "must be text, not {kind}",
    "int_type": "must be a whole number, not {kind}",
    "bool_type": "must be true or false, not {kind}",
    "list_type": "must be a list, not {kind}",
    "dict_type": "must be a mapping, not {kind}",
    "model_type": "must be a mapping, not {kind}",
    "string_too_short": "is empty",
    "string_too_long": "is longer than {max_length} characters",
    "too_short": "is an empty list",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "credits": "{message}",
    "empty": "{message}",
}
_PATTERNS = {
    "name": "must be made of letters A-Z, digits and . _ - and begin with a letter, a digit or _",
    "[key]": "must be a name that templates can use: letters A-Z, digits and _, no digit first",
}


def shape_problems(
    model: type[BaseModel], details: Iterable[ErrorDetails], site: SourceNode, *, other_keys: Collection[str] = ()
) -> Iterator[Problem]:
    """Yield a problem for each of pydantic's complaints about ``model`` at ``site``, unknown keys first.

    A mistyped key is not reported as missing under its right name as well. ``other_keys`` are known beside those of
    the model.
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


def _unknown_key(model: type[BaseModel], location: Path, site: SourceNode, other_keys: Collection[str]) -> Problem:
    name = str(location[-1])
    known = [*_known_keys(model, location[:-1]), *(other_keys if len(location) == 1 else ())]
    siblings: Any = site.value
    for step in location[:-1]:
        siblings = siblings[step]
    # A key that is there already was hardly meant a second time.
    near = nearest(name, [key for key in known if key not in siblings]) or nearest(name, known)
    return site.problem(location, f"unknown key {name[:100]!r}", key=True, nearest=near)


def _wrong_value(detail: ErrorDetails, site: SourceNode) -> Problem:
    location, value = detail["loc"], detail["input"]
    is_key = location[-1:] == ("[key]",)
    message, hint = _message(detail, location, value), _hint(detail["type"], value)
    return site.problem(location[:-1] if is_key else location, message, key=is_key, hint=hint)


def _message(detail: ErrorDetails, location: tuple[int | str, ...], value: object) -> str:
    error_type = detail["type"]
    if error_type == "string_pattern_mismatch":
        return f"{str(value)[:100]!r} {_PATTERNS.get(str(location[-1]), 'has a form that does not fit')}"
    if value is None:
        return "is empty; give it a value or drop the key"
    template = _MESSAGES.get(error_type, "{message}")
    return template.format(kind=kind(value), message=detail["msg"], **_context(detail))


def _context(detail: ErrorDetails) -> dict[str, object]:
    return {name: value for name, value in detail.get("ctx", {}).items() if name not in {"kind", "message"}}


def _hint(error_type: str, value: object) -> str | None:
    if error_type == "string_type" and isinstance(value, bool | int | float):
        return "put it in quotes if text is meant"
    if error_type == "string_type" and isinstance(value, Mapping) and len(value) == 1:
        return "a value that begins with {{ must be in quotes"
    if error_type == "list_type" and not isinstance(value, Mapping):
        return "write [one, two], or one item a line behind `- `"
    return None


def _known_keys(model: type[BaseModel], path: Path) -> list[str]:
    """Return the keys that the mapping at ``path`` within ``model`` may have."""
    current: Any = model
    for step in path:
        if isinstance(current, type) and issubclass(current, BaseModel):
            current = current.model_fields[str(step)].annotation
        else:
            current = next(_models_in(current), None)
    return list(current.model_fields) if isinstance(current, type) and issubclass(current, BaseModel) else []


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    for argument in get_args(annotation):
        if isinstance(argument, type) and issubclass(argument, BaseModel):
            yield argument
