"""Rejections that reject no output: of a job that was changed or removed since, or with a typo."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from crucible_batch.core.events import Saved
from crucible_batch.core.identity import content_of, of_generation
from crucible_batch.core.job import Phase
from crucible_batch.core.plan import PlannedJob
from crucible_batch.features.redo.rejections import Rejection, digest_of
from crucible_batch.journal import Journal, PlanFile

_NAMED = 5


def unmatched_note(
    lines: Sequence[Rejection], draft: PlanFile, journal: Journal | None
) -> str | None:
    """Return a note that names the lines without an output; None if there are no such lines.

    Lines of jobs that have not succeeded yet are left out: their outputs may still come.
    """
    if journal is None or not journal.is_created() or not lines:
        return None
    found = list(_unmatched(lines, draft, journal))
    if not found:
        return None
    numbers = [str(line.number) for line in islice(found, _NAMED)]
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    words = "line" if len(found) == 1 else "lines"
    verb = "rejects" if len(found) == 1 else "reject"
    where = f"{found[0].file}: {words} {', '.join(numbers)}{more}"
    return f"{where} {verb} no output of this run: its job was changed or removed since"


def _unmatched(
    lines: Sequence[Rejection], draft: PlanFile, journal: Journal
) -> Iterator[Rejection]:
    names = {line.name for line in lines}
    planned = {each.name: each for each in draft.jobs() if each.name in names}
    lost = [line for line in lines if line.name not in planned]
    for line in lines:
        job = planned.get(line.name)
        if job is not None and _has_no_output(line, job, journal):
            yield line
    if lost:
        known = [event for _, event in journal.events() if isinstance(event, Saved)]
        for line in lost:
            if not any(line.is_of(saved.index, digest_of(saved)) for saved in known):
                yield line


def _has_no_output(line: Rejection, planned: PlannedJob, journal: Journal) -> bool:
    """Whether no generation of a job that has succeeded has made the output of a line."""
    content, number = content_of(planned.identity), 0
    is_done = False
    while True:
        found = journal.known(of_generation(content, number))
        if found is None:
            return is_done
        job = found[1]
        is_done = is_done or job.phase is Phase.SUCCEEDED
        outputs = {**job.missed, **job.outputs}.values()
        if any(line.is_of(saved.index, digest_of(saved)) for saved in outputs):
            return False
        number += 1
