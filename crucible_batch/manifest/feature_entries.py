"""Entries of ``jobs`` whose jobs a feature makes, since they depend on more than the manifest and its files."""

from __future__ import annotations

from functools import cache
from typing import Any

from crucible_batch.features import found
from crucible_batch.manifest.models import JobEntry


@cache
def entries_of_feature() -> Any:
    """Return the module ``job_entries`` of the one feature that has it; None if there is none."""
    return next(found("job_entries"), None)


def is_of_feature(job: JobEntry) -> bool:
    """Whether a feature makes the jobs of an entry. A run may then add jobs to its plan."""
    feature = entries_of_feature()
    return feature is not None and bool(feature.takes(job))
