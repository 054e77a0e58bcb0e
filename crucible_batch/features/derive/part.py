"""The derived files of a run, as a part of it: made in threads beside the jobs.

Nothing of it delays a purchase or a download, and what can't be made is a note about its output.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from crucible_batch.core.events import Saved
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.progress import JobAdvanced, Message
from crucible_batch.errors import UserError
from crucible_batch.features.derive.manifest_keys import Derive, forms_of
from crucible_batch.features.derive.note import NotedFiles
from crucible_batch.manifest import Manifest
from crucible_batch.object_url import ObjectUrl
from crucible_batch.runs.context import RunContext
from crucible_batch.runs.parts import OpenedRun, ReadyRun, RunPart
from crucible_batch.runs.plan_parts import PlanPart, ReadPlan

logger = logging.getLogger(__name__)


class DerivePart(RunPart, PlanPart):
    """Derives files from each output, as soon as it is saved.

    At the end of the run it waits for the rest. Outputs of shards are left to the first run of the
    manifest after they are merged.
    """

    def __init__(self) -> None:
        self._forms: list[Derive] = []
        self._work: Any = None
        """``DerivingWork``, whose module imports Pillow; None if nothing was or is derived."""

    def check(self, run: RunContext) -> None:
        self._forms = forms_of(run.manifest.header)
        _refuse(run.manifest, is_in_store=run.store.url is not None)

    def refuse(self, plan: ReadPlan) -> None:
        out_dir = plan.request.out_dir
        is_in_store = out_dir is not None and ObjectUrl.parse(out_dir) is not None
        _refuse(plan.basis.source, is_in_store=is_in_store)

    def opened(self, run: OpenedRun) -> None:
        if run.context.store.url is not None:
            return
        noted = NotedFiles(run.journal)
        if self._forms:
            noted.begin()
        if not noted.is_begun():
            return
        from crucible_batch.features.derive.work import DerivingWork  # noqa: PLC0415 - Pillow

        self._work = DerivingWork(
            run.journal, noted, run.context.store, run.context.terms, self._forms
        )
        run.context.observers.add(self)

    def beside(self, run: ReadyRun) -> AbstractAsyncContextManager[object]:
        return nullcontext() if self._work is None else self._work.working()

    def notify(self, message: Message) -> None:
        """Derive from an output that was saved."""
        if isinstance(message, JobAdvanced) and isinstance(message.event, Saved):
            assert self._work is not None
            self._work.offer(message.identity, message.event.index)

    async def judged(self, leaving: asyncio.Event) -> Mapping[str, ErrorInfo]:
        if self._work is not None:
            try:
                await self._work.conclude(leaving)
            except Exception as error:  # noqa: BLE001 - the run ends by its jobs
                logger.warning("derived files are left to the next run: %s", error)
        return {}

    async def freed(self, path: str) -> bool:
        return self._work is not None and await self._work.freed(path)


def _refuse(manifest: Manifest, *, is_in_store: bool) -> None:
    forms = forms_of(manifest.header)
    if not forms:
        return
    if is_in_store:
        raise UserError(
            f"{manifest.place('derive')}: files can't be derived in an object store",
            hint="leave out `derive`, or use a local --out-dir and copy it",
        )
    from crucible_batch.features.derive.encoder import can_encode  # noqa: PLC0415 - Pillow

    for number, form in enumerate(forms):
        if not can_encode(form.format):
            raise UserError(
                f"{manifest.place(f'derive[{number}].format')}: Pillow can't write {form.format}"
                " on this machine",
                hint="install a release of Pillow with it (pip install --upgrade pillow), or"
                " choose another format",
            )
