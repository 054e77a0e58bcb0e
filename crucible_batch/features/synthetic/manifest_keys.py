"""The key ``mark`` of ``provenance``."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from crucible_batch.features.synthetic.output_properties import NAME
from crucible_batch.manifest.models import Provenance


class MarkKeys(Provenance):
    """Where the origin of an output (job, prompt, parameters) is recorded."""

    mark: bool = Field(
        False,
        description="Mark each output as made by a model: IPTC DigitalSourceType, in the XMP of"
        " PNG, JPEG and WebP, and of what is derived from them. Pixels are not changed.",
    )

    def properties(self) -> Iterator[str]:
        yield from super().properties()
        if self.mark:
            yield NAME


KEYS = (MarkKeys,)
