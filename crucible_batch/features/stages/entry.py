"""An entry of ``jobs`` with ``from``: the outputs that it takes, and the jobs that it makes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from crucible_batch.errors import Problem
from crucible_batch.features.stages.manifest_keys import stage_keys
from crucible_batch.features.stages.picks import Picks, pick_text, read_picks, unknown_pick
from crucible_batch.features.stages.sources import SourceJobs, expected_output, is_source
from crucible_batch.features.stages.template import DerivedTemplate
from crucible_batch.manifest.files import FileFault
from crucible_batch.manifest.job_spec import JobProblems, JobSpec
from crucible_batch.manifest.job_template import ExpansionContext, MadeJob
from crucible_batch.manifest.manifest import ManifestEntry
from crucible_batch.manifest.sources import Source, SourceJob
from crucible_batch.manifest.template_filters import TemplateFault
from crucible_batch.manifest.text_field import TextField
from crucible_batch.shell_command import shell_command

_MOST_UNKNOWN_PICKS = 20


class DerivingEntry:
    """One entry with ``from``, by the jobs above it at the time of the expansion.

    ``above`` are such entries above it. ``problems`` are those that all of its jobs share.
    ``pattern`` and ``picks_file`` are rendered, the latter None if the entry has no ``pick``.
    ``is_waiting``: nothing is picked yet.
    """

    def __init__(
        self,
        context: ExpansionContext,
        entry: ManifestEntry,
        sources: SourceJobs,
        above: Sequence[DerivingEntry],
    ) -> None:
        self.entry = entry
        self._template = DerivedTemplate(context, entry)
        self._combinations = self._template.combinations()
        faults = JobProblems()
        keys = stage_keys(entry.job)
        self.pattern = self._rendered(context, "from", keys.source or "", faults)
        self.picks_file: str | None = None
        if keys.pick:
            self.picks_file = self._rendered(context, "pick", keys.pick, faults)
        self.sources: Sequence[SourceJob] = list(sources.matching(self.pattern, entry.index))
        self._picks: Picks | None = None
        if self.picks_file:
            try:
                self._picks = read_picks(self.picks_file, context.files)
            except FileFault as fault:
                faults.file(entry.site, ("pick",), fault)
        self.problems = [*self._template.faults.problems, *faults.problems]
        is_picked_above = any(stage.picks_file for stage in above)
        if self.pattern and not self.sources and entry.index and not is_picked_above:
            near = sources.nearest(self.pattern, entry.index)
            message = f"no job of the entries above is named {self.pattern!r}"
            self.problems.append(entry.site.problem(("from",), message, nearest=near))
        self._check_picks()

    @property
    def is_waiting(self) -> bool:
        return self.picks_file is not None and self._picks is None

    @property
    def has_picks(self) -> bool:
        return self._picks is not None

    def takes(self, source: SourceJob, index: int) -> bool:
        """Whether the entry makes jobs from this output of a job, if there is such an output."""
        if self.is_waiting or not is_source(source, self.pattern, self.entry.index):
            return False
        return self._picks is None or self._picks.takes(source.name, index)

    def picked(self, name: str, index: int, rejecting: str, run_dir: Path) -> Iterator[Problem]:
        """Yield a problem if the picks have an output that is rejected, and not replaced yet.

        ``run_dir`` is the run directory with the output, as the user knows it.
        """
        if self._picks is None or not self._picks.takes(name, index):
            return
        lines = self._picks.lines
        line = lines.get((name, index)) or lines.get((name, None))
        output = pick_text(name, index)
        command = shell_command("pick", run_dir, output, "--remove")
        yield self.entry.site.problem(
            ("pick",),
            f"{self.picks_file}, line {line}: {output} is picked, and {rejecting} rejects it",
            hint=f"take the pick back: {command}; the new output can be picked then",
        )

    def expected(self, source: SourceJob) -> Sequence[int]:
        """Return the outputs that are expected of a job that has not run.

        One, unless the picks name others.
        """
        if self._picks is None:
            return [0]
        return self._picks.indexes(source.name)

    def expected_jobs(self, source: SourceJob, index: int) -> Iterator[JobSpec]:
        """Yield the jobs that an output would lead to, if it were there."""
        for job, _ in self.make(Source(source, expected_output(source.name, index))):
            if job is not None:
                yield job

    def make(self, source: Source) -> Iterator[MadeJob]:
        """Yield the jobs of one output, one for each combination and repeat.

        Each is a job, or None and its problems.
        """
        copy = 0
        for combination in self._combinations:
            for repeat in range(1, self.entry.job.repeat + 1):
                yield self._template.make_from(source, combination, repeat, copy)
                copy += 1

    def _rendered(
        self, context: ExpansionContext, field: str, text: str, faults: JobProblems
    ) -> str:
        try:
            return TextField(text, (field,), context.templates).render(context.variables)
        except TemplateFault as fault:
            faults.template(self.entry.site, (field,), fault)
            return ""

    def _check_picks(self) -> None:
        """Add a problem for each pick that names no source.

        A typo would otherwise be a picture that is missing.
        """
        if self._picks is None:
            return
        names = [source.name for source in self.sources]
        for count, (text, line) in enumerate(self._picks.unknown(names)):
            if count == _MOST_UNKNOWN_PICKS:
                break
            message, near = unknown_pick(text, line, names)
            problem = self.entry.site.problem(
                ("pick",), f"{self.picks_file}, {message}", nearest=near
            )
            self.problems.append(problem)
