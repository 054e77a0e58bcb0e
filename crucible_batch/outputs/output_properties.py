"""The properties that features embed in outputs, such as the mark of synthetic media.

A run's terms have the names of those that it embeds. Which ones a file has that was saved before is
not recorded: its digest shows it, since they follow from the job.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache
from itertools import combinations
from typing import Any

from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.provenance import Metadata, XmpProperty
from crucible_batch.features import found


def properties_of(planned: PlannedJob, names: Collection[str]) -> tuple[XmpProperty, ...]:
    """Return the properties of a job's outputs with these names, without those of features that
    were deleted.
    """
    return tuple(each.property_of(planned) for each in _modules() if names and each.NAME in names)


def every_property(planned: PlannedJob) -> tuple[XmpProperty, ...]:
    """Return all properties that outputs of a job may have."""
    return tuple(each.property_of(planned) for each in _modules())


def possible_metadata(
    text: str, planned: PlannedJob, wanted: Metadata | None = None
) -> Sequence[Metadata]:
    """Return all that may have been embedded in an output of a job, ``wanted`` first."""
    properties = every_property(planned)
    chosen = [
        subset for count in range(len(properties) + 1) for subset in combinations(properties, count)
    ]
    possible = [Metadata(each, subset) for each in (text, None) for subset in chosen]
    rest = [each for each in possible if each not in {wanted, Metadata()}]
    return rest if wanted is None else [wanted, *rest]


@cache
def _modules() -> Sequence[Any]:
    return tuple(found("output_properties"))
