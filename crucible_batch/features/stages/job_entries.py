"""The entries of ``jobs`` with ``from``, whose jobs are made from the outputs of other jobs."""

from __future__ import annotations

from collections.abc import Iterator

from crucible_batch.errors import Problem
from crucible_batch.features.stages.expander import StageExpander
from crucible_batch.features.stages.template import SOURCE
from crucible_batch.manifest.models import Header, JobEntry
from crucible_batch.manifest.source_map import SourceNode


def takes(job: JobEntry) -> bool:
    return job.source is not None


def expander() -> StageExpander:
    """Return an expander that expects one output of each job."""
    return StageExpander()


def problems(job: JobEntry, header: Header, site: SourceNode) -> Iterator[Problem]:
    """Yield the problems of one entry of ``jobs`` that its model can't detect."""
    if job.source is None:
        if job.pick is not None:
            yield site.problem(("pick",), "`pick` needs `from` in the same entry", key=True)
        return
    if job.foreach is not None:
        yield site.problem(("foreach",), "an entry can't have both `from` and `foreach`", key=True)
    if site.path[-1] == 0:
        yield site.problem(("from",), "there is no entry above this one", hint="`from` names jobs of entries above")
    for where, variables in (("vars", header.vars), ("matrix", job.matrix or {}), ("zip", job.zip)):
        if SOURCE in variables:
            message = f"`{where}` has the name {SOURCE!r}, which is reserved in entries with `from`"
            yield site.problem(("from",), message, key=True)
