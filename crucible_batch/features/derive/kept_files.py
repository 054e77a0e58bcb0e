"""The derived files of a run directory, as ``check`` and ``prune`` see them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.errors import NOT_DERIVED
from crucible_batch.features.derive.note import NotedFiles
from crucible_batch.features.derive.rule import DerivedFile, sent_digest
from crucible_batch.journal import Journal
from crucible_batch.outputs import OutputStore
from crucible_batch.runs.kept_files import KeptFile, MadeAgain


def kept(journal: Journal) -> Iterator[KeptFile]:
    """Yield the derived files that a journal has notes of."""
    for identity, file in NotedFiles(journal).all():
        known = journal.known(identity)
        if file.may_be_ours and known is not None:
            yield KeptFile(
                known[0].name,
                known[2],
                file.index,
                file.path,
                file.sha256,
                file.byte_size,
                partial(_make_again, identity, file),
            )


async def _make_again(
    identity: str, file: DerivedFile, journal: Journal, store: OutputStore
) -> MadeAgain:
    # It imports Pillow.
    from crucible_batch.features.derive.maker import FileMaker  # noqa: PLC0415

    known = journal.known(identity)
    assert known is not None  # it has a note
    planned, job, _ = known
    saved = job.outputs.get(file.index)
    if saved is None or sent_digest(saved) != file.sent:
        reason = "its output has been replaced"
    else:
        maker = FileMaker(NotedFiles(journal), store)
        made, aside = await maker.make_again(planned, saved, file)
        reason = made.error
        if not reason:
            return aside, None
    return None, ErrorInfo(NOT_DERIVED, reason, "fix the cause, and run the manifest again")
