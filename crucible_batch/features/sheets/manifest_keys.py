"""The key ``sheet`` of entries with the rows of a spreadsheet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from pydantic import Field

from crucible_batch.errors import Problem
from crucible_batch.features import load
from crucible_batch.manifest.field_types import OptionalText
from crucible_batch.manifest.models import Header, JobEntry
from crucible_batch.manifest.source_map import SourceNode
from crucible_batch.manifest.templates import is_template

KINDS = (".xlsx", ".ods")


class SheetKeys(JobEntry):
    """An entry whose rows may be those of a spreadsheet."""

    sheet: OptionalText = Field(
        None,
        description="Name of the sheet whose rows `foreach` reads, if the file is a spreadsheet"
        " (.xlsx, .ods); the first visible one by default.",
        examples=["Products"],
    )

    def table_reader(self, suffix: str) -> Any:
        if suffix in KINDS:
            return load("sheets.reading:reader")(self.sheet)
        return super().table_reader(suffix)

    def problems(self, header: Header, site: SourceNode) -> Iterator[Problem]:
        yield from super().problems(header, site)
        if self.sheet is not None and not self._may_have_sheets():
            yield site.problem(
                ("sheet",),
                "`sheet` needs a spreadsheet in `foreach`",
                key=True,
                hint=f"spreadsheets are {' and '.join(KINDS)} files",
            )

    def _may_have_sheets(self) -> bool:
        if self.foreach is None:
            return False
        suffix = PurePosixPath(self.foreach).suffix.lower()
        return suffix in KINDS or is_template(self.foreach)


KEYS = (SheetKeys,)
