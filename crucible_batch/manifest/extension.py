"""The models of a manifest with the keys that features add."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import Field, create_model

from crucible_batch.features import found
from crucible_batch.manifest.models import Header, JobEntry


@cache
def job_entry_model() -> type[JobEntry]:
    """Return the model of an entry of ``jobs``."""
    added = [keys for module in found("manifest_keys") for keys in module.KEYS if issubclass(keys, JobEntry)]
    if not added:
        return JobEntry
    return create_model(JobEntry.__name__, __base__=tuple(added), __doc__=JobEntry.__doc__)


def manifest_model() -> type[Header]:
    """Return the model of a complete manifest, which its JSON Schema is made from."""
    entries: Any = list[job_entry_model()]  # type: ignore[misc]
    return create_model(
        "ManifestV1",
        __base__=Header,
        __doc__="A crucible-batch manifest: prompts and input images that are run as jobs on a gateway.",
        jobs=(entries, Field(min_length=1, description="The jobs, in order.")),
    )
