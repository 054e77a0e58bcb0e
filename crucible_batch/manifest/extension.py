"""The models of a manifest with the keys that features add."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import Field, create_model

from crucible_batch.features import found
from crucible_batch.manifest.field_types import OrCredits
from crucible_batch.manifest.models import Budget, Header, JobEntry, Part, Provenance

_PartType = TypeVar("_PartType", bound=Part)


def _extended(model: type[_PartType], **fields: Any) -> type[_PartType]:
    added = [
        keys for module in found("manifest_keys") for keys in module.KEYS if issubclass(keys, model)
    ]
    if not added and not fields:
        return model
    return create_model(
        model.__name__, __base__=tuple(added) or model, __doc__=model.__doc__, **fields
    )


@cache
def header_model() -> type[Header]:
    """Return the model of a manifest without its jobs."""
    budget, plain = _extended(Budget), Header.model_fields["budget"]
    described = Field(
        default_factory=budget, description=plain.description, examples=plain.examples
    )
    provenance, of_origin = _extended(Provenance), Header.model_fields["provenance"]
    fields = {
        "budget": (Annotated[budget, OrCredits()], described),
        "provenance": (
            provenance,
            Field(default_factory=provenance, description=of_origin.description),
        ),
    }
    return _extended(Header, **fields)


@cache
def job_entry_model() -> type[JobEntry]:
    """Return the model of an entry of ``jobs``."""
    return _extended(JobEntry)


def manifest_model() -> type[Header]:
    """Return the model of a complete manifest, which its JSON Schema is made from."""
    entries: Any = list[job_entry_model()]  # type: ignore[misc]
    return create_model(
        "ManifestV1",
        __base__=header_model(),
        __doc__="A crucible-batch manifest: prompts and input images "
        "that are run as jobs on a gateway.",
        jobs=(entries, Field(min_length=1, description="The jobs, in order.")),
    )
