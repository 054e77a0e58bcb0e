"""The key ``seeds`` of manifests and their entries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from crucible_batch.features import load
from crucible_batch.manifest.models import Header, JobEntry
from crucible_batch.manifest.source_map import SourceNode


@dataclass(frozen=True, slots=True)
class SeedRule:
    """Which parameter the seed fills: None: the only seed that the workflow lists.

    ``is_off``: none is filled.
    """

    parameter: str | None = None
    is_off: bool = False


_WORDS = {"derived": SeedRule(), "none": SeedRule(is_off=True)}


def _seeds(value: object) -> SeedRule:
    if isinstance(value, str) and value in _WORDS:
        return _WORDS[value]
    if isinstance(value, dict) and value.keys() == {"field"}:
        name = value["field"]
        if isinstance(name, str) and name:
            return SeedRule(name)
    raise ValueError(
        "must be derived, none, or the parameter that it fills, as in {field: sampler.seed}"
    )


_SCHEMA = {
    "anyOf": [
        {"enum": list(_WORDS)},
        {
            "type": "object",
            "properties": {"field": {"type": "string", "minLength": 1}},
            "required": ["field"],
            "additionalProperties": False,
        },
    ]
}
Seeds = Annotated[Any, BeforeValidator(_seeds), WithJsonSchema(_SCHEMA)]


class SeedKeys(Header):
    """A header that may derive the seeds of all jobs."""

    seeds: Seeds = Field(
        None,
        description="`derived`: the seed of each job follows from its content, and is sent and"
        " reported. {field: NAME} names the parameter, where the workflow doesn't list exactly one"
        " seed. With or without it, jobs are different ones.",
        examples=["derived", {"field": "sampler.seed"}],
    )

    def filler(self, site: SourceNode, entries: Sequence[Any]) -> Any:
        if self.seeds is None and not any(own_seeds(each.job) for each in entries):
            return super().filler(site, entries)
        return load("seeds.filler:SeedFiller")(self.seeds, site, entries)


class SeedKeysOfEntry(JobEntry):
    """An entry that may have seeds of its own."""

    seeds: Seeds = Field(
        None,
        description="Overrides the top-level `seeds` for these jobs; `none` fills no seed.",
        examples=["none"],
    )


KEYS = (SeedKeys, SeedKeysOfEntry)


def own_seeds(job: JobEntry) -> SeedRule | None:
    """Return the rule of an entry; None: that of the manifest applies."""
    if not isinstance(job, SeedKeysOfEntry):
        return None
    rule: SeedRule | None = job.seeds
    return rule
