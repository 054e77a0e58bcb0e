"""Entries of ``jobs`` that have a name, a prompt, a workflow and parameters and nothing else, checked without pydantic.

They are almost all of a large manifest. pydantic takes 7 to 11 µs for one, and each is made twice: for the check of the
form, and for its jobs. Here that is 1 µs. Whatever isn't plain, or isn't sound, is left to pydantic to say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from crucible_batch.manifest.models import Axes, Fields

_KEYS = frozenset({"name", "prompt", "workflow", "params"})
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class PlainJob:
    """What ``models.Job`` is of such an entry: the same attributes, with the same values."""

    name: str
    prompt: str | None
    workflow: str | None
    params: Mapping[str, Any]
    image: ClassVar[None] = None
    images: ClassVar[Mapping[str, str]] = _NOTHING
    matrix: ClassVar[Axes | None] = None
    zip: ClassVar[Mapping[str, list[Any]]] = _NOTHING
    foreach: ClassVar[None] = None
    repeat: ClassVar[int] = 1
    fields: ClassVar[Fields] = Fields()


def plain_job(value: Any) -> PlainJob | None:
    """Return the job of a plain entry that is sound; None for any other. The keys of its mappings are text."""
    if type(value) is not dict or not _KEYS.issuperset(value) or "name" not in value:
        return None
    params = value.get("params", _NOTHING)
    if (params is not _NOTHING and type(params) is not dict) or "" in params:
        return None
    for key, text in value.items():
        if key != "params" and not (type(text) is str and text and (text.isascii() or _is_text(text))):
            return None
    if not "".join(params).isascii() and not all(map(_is_text, params)):
        return None
    return PlainJob(value["name"], value.get("prompt"), value.get("workflow"), params)


def _is_text(text: str) -> bool:
    """Whether there is no half of a surrogate pair in it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
