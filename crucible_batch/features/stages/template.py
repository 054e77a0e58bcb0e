"""The template of the jobs of an entry with ``from``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from crucible_batch.errors import Problem
from crucible_batch.features.stages.manifest_keys import SOURCE
from crucible_batch.manifest import Source, SourceFile
from crucible_batch.manifest.combinations import Combination
from crucible_batch.manifest.job_spec import JobProblems, claim_of, take_again
from crucible_batch.manifest.job_template import ExpansionContext, JobTemplate, MadeJob
from crucible_batch.manifest.manifest import ManifestEntry
from crucible_batch.manifest.names import folded
from crucible_batch.manifest.text_field import TextField


class DerivedTemplate(JobTemplate):
    """One compiled entry with ``from``.

    By default, a job's image is the output that it is made from.
    """

    default_image = "{{ source.path }}"

    def __init__(self, context: ExpansionContext, entry: ManifestEntry) -> None:
        super().__init__(context, entry)
        self._output_now: SourceFile | None = None
        """The output from which the current job is made."""

    def make_from(
        self, source: Source, combination: Combination, repeat: int, copy: int
    ) -> MadeJob:
        """Return one job that is made from an output; or None, and its problems."""
        faults = JobProblems()
        variables = {
            **self._context.variables,
            **combination.values,
            "repeat": repeat,
            SOURCE: _variables(source),
        }
        suffix = self._source_suffix(source) + combination.suffix
        name = self._full_name(None, replace(combination, suffix=suffix), repeat, variables, faults)
        collision = None
        if name:
            collision = self._taken_from(name, source, copy)
        if collision is not None and source.is_expected:
            faults.problems.append(collision)
        self._output_now = source.output
        job = self._made(name, combination, repeat, variables, faults)
        if job is None:
            return None, faults.problems
        job.source, job.copy, job.collision = source, copy, collision
        job.axes = {**source.job.axes, **job.axes}
        return job, ()

    def _source_suffix(self, source: Source) -> str:
        """Return what is appended to the name: of the source what the template doesn't use.

        That is its name, and from the second output on, the output's number.
        """
        if self._name is None:
            return ""
        suffix = ""
        if SOURCE not in self._name.names:
            suffix = f"-{source.job.name}"
        is_numbered = "source.index" in self._name.literal or "source.path" in self._name.literal
        if source.output.index == 0 or is_numbered:
            return suffix
        return f"{suffix}.{source.output.index}"

    def _found(self, text: TextField, rendered: str, faults: JobProblems) -> Path | None:
        if self._output_now is not None and rendered == self._output_now.path:
            return self._output_now.file
        return super()._found(text, rendered, faults)

    def _taken_from(self, name: str, source: Source, copy: int) -> Problem | None:
        """Claim the name for a job; return the problem if another job has it."""
        entry, site, context = self._entry.index, self._entry.site, self._context
        claim = take_again(context.claims, folded(name), claim_of(name, entry, source, copy))
        if claim is None:
            return None
        message = (
            f"the job that is made from {source.job.name!r} would be named {name!r}, as is another"
            " job"
        )
        if claim.entry != entry:
            place = context.manifest.site.place(("jobs", claim.entry, "name"))
            message += f" ({place})"
        hint = (
            "use {{ source.name }} and the axes in `name`; names must differ in more than upper and"
            " lower case"
        )
        return site.problem(("name",), message, hint=hint)


def _variables(source: Source) -> dict[str, Any]:
    return {
        "name": source.job.name,
        "prompt": source.job.prompt or "",
        "index": source.output.index,
        "path": source.output.path,
        "axes": source.job.axes,
    }
