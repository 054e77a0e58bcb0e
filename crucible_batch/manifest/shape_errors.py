"""pydantic's complaints about a manifest, as Problems: with a place, a field path and words of the manifest's own."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from crucible_batch.errors import Problem
from crucible_batch.manifest.problems import ProblemCollector
from crucible_batch.manifest.source_map import Path, SourceNode, kind, nearest

Model = TypeVar("Model", bound=BaseModel)

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


class SchemaErrors:
    """All that pydantic complains about at ``site``; worded only as far as the author gets to see it."""

    def __init__(
        self, model: type[BaseModel], details: list[ErrorDetails], site: SourceNode, others: tuple[str, ...]
    ) -> None:
        self._model = model
        self._details = details
        self._site = site
        self._others = others

    @property
    def keys(self) -> set[str]:
        """The keys at ``site`` that something is wrong at or below."""
        return {str(detail["loc"][0]) for detail in self._details if detail["loc"]}

    def members(self, key: str) -> set[str]:
        """The members of the mapping at ``key`` that something is wrong at or below; "" stands for itself."""
        return {str(loc[1]) if loc[1:] else "" for detail in self._details if (loc := detail["loc"])[:1] == (key,)}

    def report(self, problems: ProblemCollector) -> list[Problem]:
        """Add the problems to ``problems``, and return those that were not too many.

        What is only the echo of another is left out: a mistyped key is not missing under its right name as well, and
        ``<<: *base`` may well have held it.
        """
        reported: list[Problem] = []
        meant: set[tuple[int | str, ...]] = set()
        for detail in sorted(self._details, key=lambda detail: detail["type"] != "extra_forbidden"):
            if problems.full:
                problems.omitted += 1
            elif not (detail["type"] == "missing" and detail["loc"] in meant) and not self._is_echo(detail):
                reported.append(self._problem(detail))
                problems.add(reported[-1])
                meant.add((*detail["loc"][:-1], reported[-1].nearest or ""))
        return reported

    def _is_echo(self, detail: ErrorDetails) -> bool:
        location = detail["loc"]
        if detail["type"] == "extra_forbidden" or location[-1:] == ("[key]",):
            return False
        judged = location[:-1] if detail["type"] == "missing" else location
        return not self._site.is_sound(judged, within=False)

    def _problem(self, detail: ErrorDetails) -> Problem:
        site, location = self._site, detail["loc"]
        bad_key = location[-1:] == ("[key]",)
        within = location[:-1] if bad_key else location
        error_type, value = detail["type"], detail["input"]
        if error_type == "extra_forbidden":
            name = str(within[-1])
            known = [*_known(self._model, within[:-1]), *(self._others if len(within) == 1 else ())]
            beside = self._beside(within)  # what stands there was hardly meant a second time
            near = nearest(name, [key for key in known if key not in beside]) or nearest(name, known)
            return site.problem(within, f"unknown key {name[:100]!r}", key=True, nearest=near)
        if error_type == "missing":
            return site.problem(within, f"`{within[-1]}` is missing")
        return site.problem(within, _message(detail, location, value), key=bad_key, hint=_hint(error_type, value))

    def _beside(self, location: Path) -> Mapping[str, Any]:
        """Return the mapping that holds the key at ``location``."""
        value: Any = self._site.value
        for step in location[:-1]:
            value = value[step]
        members: Mapping[str, Any] = value
        return members


def validate(model: type[Model], site: SourceNode, *, without: tuple[str, ...] = ()) -> Model | SchemaErrors:
    """Check what stands at ``site``, all but the keys ``without``. Return the model, or all that is wrong with it."""
    value = site.value
    if without:
        value = {key: item for key, item in value.items() if key not in without}
    try:
        return model.model_validate(value)
    except ValidationError as error:
        return SchemaErrors(model, error.errors(include_url=False), site, without)


def salvaged(model: type[Model], value: Mapping[str, Any], bad: Collection[str], **stand_ins: object) -> Model:
    """Make a model of the keys of ``value`` that are not ``bad``; ``stand_ins`` are for those that it can't lack."""
    sound = {key: item for key, item in value.items() if key in model.model_fields and key not in bad}
    return model.model_validate(stand_ins | sound)


def doubtful(model: type[BaseModel], site: SourceNode) -> set[str]:
    """Return the keys at ``site`` that problems of form leave in doubt: there, or lost with a refused ``<<``."""
    if site.is_sound(()):
        return set()
    keys = {key for key in site.value if not site.is_sound((key,))}
    return keys if site.is_sound((), within=False) else keys | (model.model_fields.keys() - site.value.keys())


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


def _known(model: type[BaseModel], path: Path) -> list[str]:
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
