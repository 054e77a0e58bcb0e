"""The parameters that ``prompt:`` and ``image:`` of a manifest, and values that follow from the
identity, fill: they depend on what the workflow lists.

They are part of a job's identity. So if a workflow is listed differently, or its list can't be
read, they must stay as they were in the run directory: jobs that are done would be other jobs, and
bought again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

from crucible_batch.core.parameter_info import IMAGE_FIELDS, PROMPT_FIELDS
from crucible_batch.core.plan import PlannedJob

FilledFields = Mapping[str, Mapping[str, str]]
"""By workflow, the parameter that each of ``prompt``, ``image`` and ``DERIVED`` has filled."""
DERIVED = "derived"
"""What stands for a value that follows from the job's identity."""


def filled_fields(jobs: Iterable[PlannedJob], named: Set[str] = frozenset()) -> FilledFields:
    """Return what was filled in the jobs of an earlier plan.

    ``named`` are the parameters that the manifest names for other images: an image under such a
    name may be one.
    """
    found: dict[str, dict[str, str]] = {}
    for planned in jobs:
        of_workflow = found.setdefault(planned.workflow_id, {})
        for name in PROMPT_FIELDS:
            if planned.prompt is not None and planned.params.get(name) == planned.prompt:
                of_workflow.setdefault("prompt", name)
        for name in IMAGE_FIELDS:
            if name in planned.images and name not in named:
                of_workflow.setdefault("image", name)
        for name in planned.markers:
            of_workflow.setdefault(DERIVED, name)
    return found
