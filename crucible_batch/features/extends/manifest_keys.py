"""The key ``extends`` of manifests."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field

from crucible_batch.features.extends.manifest_document import KEY
from crucible_batch.manifest.field_types import OptionalText
from crucible_batch.manifest.models import Header


def _require_less(schema: dict[str, Any]) -> None:
    """Require the keys of a manifest only if it doesn't extend another file, which may set them."""
    required = schema.pop("required", [])
    schema |= {"if": {"required": [KEY]}, "else": {"required": required}}


class ExtendsKeys(Header):
    """A header that may be completed by that of another file."""

    model_config = ConfigDict(json_schema_extra=_require_less)

    extends: OptionalText = Field(
        None,
        description="Manifest, or a part of one, whose values count where this one sets none."
        " Mappings are merged by key; lists are replaced. Relative to this manifest.",
        examples=["base.yaml"],
    )


KEYS = (ExtendsKeys,)
