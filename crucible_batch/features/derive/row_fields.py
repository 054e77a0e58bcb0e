"""The derived files of outputs in the rows of a report."""

from __future__ import annotations

from collections.abc import Callable

from crucible_batch.core.identity import of_generation
from crucible_batch.features.derive.note import NotedFiles
from crucible_batch.features.derive.rule import DerivedFile
from crucible_batch.journal import Journal
from crucible_batch.report import DerivedRow, JobRow, OutputRow


def of_rows(journal: Journal) -> Callable[[str, JobRow], JobRow]:
    """Return a function that adds the derived files to the row of the job with an identity."""
    noted = NotedFiles(journal)

    def amended(identity: str, row: JobRow) -> JobRow:
        known = {
            number: list(noted.of_job(of_generation(identity, number)).values())
            for number in {output.generation for output in row.outputs}
        }
        if not any(known.values()):
            return row
        outputs = [_with(output, known[output.generation]) for output in row.outputs]
        return row.model_copy(update={"outputs": outputs})

    return amended


def _with(output: OutputRow, files: list[DerivedFile]) -> OutputRow:
    sent = output.sha256 if output.sent is None else output.sent.sha256
    rows = [
        DerivedRow(
            path=file.path,
            format=file.form.format,
            sha256=file.sha256 or None,
            byte_size=file.byte_size,
            width=file.width,
            height=file.height,
            error=file.error or None,
        )
        for file in files
        if (file.index, file.sent) == (output.index, sent)
    ]
    return output.model_copy(update={"derived": rows})
