"""The key ``tags`` of manifests."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from crucible_batch.core.redaction import clean
from crucible_batch.manifest.models import Header

MOST_TAGS = 20
_LONGEST = 50
_SCHEMA = {
    "type": "array",
    "items": {"type": "string", "minLength": 1, "maxLength": _LONGEST},
    "maxItems": MOST_TAGS,
    "uniqueItems": True,
}


def _tags(value: object) -> tuple[str, ...]:
    tags = value if isinstance(value, list) else [None]
    if all(map(_is_tag, tags)) and len(tags) == len(set(tags)) <= MOST_TAGS:
        return tuple(tags)
    raise ValueError(
        f"must be a list of at most {MOST_TAGS} different texts on one line, each of 1 to"
        f" {_LONGEST} characters, such as [client-a, spring]"
    )


def _is_tag(tag: object) -> bool:
    # What ``clean`` changes would not be shown as it was written.
    return isinstance(tag, str) and 1 <= len(tag) <= _LONGEST and clean(tag) == tag


class TagKeys(Header):
    """A header that may have tags."""

    tags: Annotated[Any, BeforeValidator(_tags), WithJsonSchema(_SCHEMA)] = Field(
        (),
        description="By which `spend --by tag` sums up what runs have spent. They change no job.",
        examples=[["client-a", "spring"]],
    )


KEYS = (TagKeys,)


def tags_of(header: Header) -> tuple[str, ...]:
    assert isinstance(header, TagKeys)
    tags: tuple[str, ...] = header.tags
    return tags
