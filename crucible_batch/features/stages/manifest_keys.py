"""The keys ``from`` and ``pick`` of entries whose jobs are made from outputs of other jobs.

What makes these jobs is imported when a manifest has such an entry.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import Field

from crucible_batch.errors import Problem
from crucible_batch.features import load
from crucible_batch.manifest.field_types import OptionalText
from crucible_batch.manifest.models import Header, JobEntry
from crucible_batch.manifest.source_map import SourceNode

SOURCE = "source"
"""The name of the template variable that has the source."""


class StageKeys(JobEntry):
    """An entry whose jobs may be made from outputs of the jobs of entries above it."""

    source: OptionalText = Field(
        None,
        alias="from",
        description="Pattern of the names of jobs of entries above: one job for each of their"
        " outputs, as `source` in templates, with the output as its `image` unless that is set. A"
        " template of `vars` and dates.",
        examples=["draft*"],
    )
    pick: OptionalText = Field(
        None,
        description="File with the names of the sources to take, one a line: NAME, or NAME/INDEX"
        " for one output. Relative to the manifest. Without the file the entry makes no jobs."
        " Requires `from`.",
        examples=["picks.txt"],
    )

    @property
    def is_derived(self) -> bool:
        return self.source is not None

    def expander(self) -> Any:
        return load("stages.expander:StageExpander")()

    def later_jobs(self, *plan: Any) -> Any:
        return load("stages.derived_jobs:derived_jobs")(*plan)

    def problems(self, header: Header, site: SourceNode) -> Iterator[Problem]:
        yield from super().problems(header, site)
        if self.source is None:
            if self.pick is not None:
                yield site.problem(("pick",), "`pick` needs `from` in the same entry", key=True)
            return
        if self.foreach is not None:
            yield site.problem(
                ("foreach",), "an entry can't have both `from` and `foreach`", key=True
            )
        if site.path[-1] == 0:
            yield site.problem(
                ("from",),
                "there is no entry above this one",
                hint="`from` names jobs of entries above",
            )
        for where, variables in (
            ("vars", header.vars),
            ("matrix", self.matrix or {}),
            ("zip", self.zip),
        ):
            if SOURCE in variables:
                message = (
                    f"`{where}` has the name {SOURCE!r}, which is reserved in entries with `from`"
                )
                yield site.problem(("from",), message, key=True)


KEYS = (StageKeys,)


def stage_keys(job: JobEntry) -> StageKeys:
    """Return an entry of a manifest with its keys for stages."""
    assert isinstance(job, StageKeys)
    return job
