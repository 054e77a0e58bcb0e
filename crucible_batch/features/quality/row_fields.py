"""The marks of checks in the rows of a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

from crucible_batch.core.identity import of_generation
from crucible_batch.features.quality.note import NotedJudgements, noted_totals
from crucible_batch.features.quality.rule import Judgement
from crucible_batch.journal import Journal
from crucible_batch.report import CheckRow, JobRow, OutputRow


def of_rows(journal: Journal) -> Callable[[str, JobRow], JobRow]:
    """Return a function that adds the marks to the row of the job with an identity."""
    noted = NotedJudgements(journal)

    @cache
    def is_checked() -> bool:
        """Whether the run has checks, asked when its first row is made: they are noted by then."""
        return noted_totals(journal) is not None

    def amended(identity: str, row: JobRow) -> JobRow:
        every = [*row.outputs, *row.takes]
        if not every or not is_checked():
            return row
        known = dict[tuple[int, str], Judgement]()
        for number in {output.generation for output in every}:
            known |= noted.of_job(of_generation(identity, number))
        if not any(judgement.marks for judgement in known.values()):
            return row
        outputs, takes = (
            [_marked(output, known) for output in found] for found in (row.outputs, row.takes)
        )
        return row.model_copy(update={"outputs": outputs, "takes": takes})

    return amended


def _sent(output: OutputRow) -> str:
    return output.sha256 if output.sent is None else output.sent.sha256


def _marked(output: OutputRow, known: Mapping[tuple[int, str], Judgement]) -> OutputRow:
    judgement = known.get((output.index, _sent(output)), Judgement())
    rows = [CheckRow.model_validate(mark) for mark in judgement.marks]
    return output.model_copy(update={"checks": rows})
