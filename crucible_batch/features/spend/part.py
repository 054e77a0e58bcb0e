"""The tags of a run, noted in its journal."""

from __future__ import annotations

from crucible_batch.features.spend.manifest_keys import tags_of
from crucible_batch.features.spend.note import note_tags
from crucible_batch.runs.parts import OpenedRun, RunPart


class TagsPart(RunPart):
    """Notes the tags of the manifest."""

    def opened(self, run: OpenedRun) -> None:
        note_tags(run.journal, tags_of(run.context.manifest.header))
