"""The keys ``rejects`` and ``redo`` of manifests."""

from __future__ import annotations

from pydantic import Field

from crucible_batch.manifest.field_types import OptionalText
from crucible_batch.manifest.models import Header, Part


class Redo(Part):
    """How often rejected outputs are bought again."""

    max: int = Field(
        3,
        ge=0,
        le=100,
        description="Maximum number of times that a job is bought again since its output was"
        " rejected; then it ends as rejected.",
    )


class RedoKeys(Header):
    """A header that may name a file of rejections."""

    rejects: OptionalText = Field(
        None,
        description="File with rejected outputs, which `reject` writes and `run` buys again."
        " Relative to the manifest. By default, `rejects.txt` in the run directory.",
        examples=["rejects.txt"],
    )
    redo: Redo = Field(default_factory=Redo, description="How rejected outputs are bought again.")


KEYS = (RedoKeys,)


def redo_keys(header: Header) -> RedoKeys:
    """Return the header of a manifest with its keys for rejections."""
    assert isinstance(header, RedoKeys)
    return header
