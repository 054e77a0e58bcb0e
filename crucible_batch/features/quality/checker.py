"""Makes the checks of a run beside its jobs: measurements in threads, the program in processes.

Nothing of it delays a purchase or a download. What a check can't do is a mark, and not an error of
the run.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar

from PIL import Image

from crucible_batch.core.events import Saved
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Job, Phase
from crucible_batch.core.outcome import CHECK_FAILED
from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.redaction import clean
from crucible_batch.core.retry_rule import RetryRule
from crucible_batch.errors import UserError
from crucible_batch.features.quality.duplicates import Measured, copies
from crucible_batch.features.quality.judge import Judge
from crucible_batch.features.quality.measurements import Fingerprint, are_copies, is_blank
from crucible_batch.features.quality.note import NotedJudgements, sent_digest
from crucible_batch.features.quality.rule import (
    BLANK,
    COMMAND,
    DUPLICATE,
    SIZE,
    Check,
    CheckResult,
    Judgement,
    Totals,
    marks_of,
    size_finding,
    to_make,
)
from crucible_batch.features.quality.thumbnail import UnmeasurableError, thumbnail_of
from crucible_batch.features.redo.rejecting import add_rejection
from crucible_batch.features.redo.rejections import rejection_by_check
from crucible_batch.journal import Journal
from crucible_batch.outputs import OutputStore
from crucible_batch.runs.output_programs import reason_of_file
from crucible_batch.runs.output_queue import OutputQueue

logger = logging.getLogger(__name__)

WORKERS = 4
"""Outputs that are checked at the same time, so also programs."""
_THREADS = 2
"""Threads for decoding, which takes a processor: the run needs one as well."""
_MOST_SHOWN = 10
"""Warnings about checks that could not be made. The report has all of them."""
_BLANK_REASON = "one colour"
_MEASURING = frozenset({BLANK, DUPLICATE})
"""The checks that need a thumbnail."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CheckedOutput:
    """A saved output of a job of the plan."""

    planned: PlannedJob
    saved: Saved

    @property
    def name(self) -> str:
        return f"{self.planned.name}/{self.saved.index}"


class OutputChecks:
    """The checks of one run. ``checks_of`` returns those of an entry of the manifest.

    To be used from the event loop of the run.
    """

    def __init__(
        self,
        journal: Journal,
        store: OutputStore,
        rule: RetryRule,
        checks_of: Callable[[int], Sequence[Check]],
        judge: Judge,
        *,
        rejects_file: Path,
        compares: bool,
    ) -> None:
        """``rejects_file`` gets the lines of rejected outputs. ``compares``: some entry has the
        check ``duplicate``, so all outputs are measured.
        """
        self._rejects_file = rejects_file
        self._journal = journal
        self._noted = NotedJudgements(journal)
        self._store = store
        self._rule = rule
        self._checks_of = checks_of
        self._judge = judge
        self._compares = compares
        self._queue = OutputQueue(self._check, workers=WORKERS, subject="a check")
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="checks")
        self._shown = 0
        self.written = 0
        """How many outputs were rejected by this run."""

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Make checks during the block. What is not made by its end is made by the next run."""
        try:
            async with self._queue.working():
                yield
        finally:
            await asyncio.to_thread(partial(self._pool.shutdown, cancel_futures=True))

    def offer(self, identity: str, index: int) -> None:
        """Check an output as soon as a worker is free."""
        self._queue.offer(identity, index)

    async def conclude(self, leaving: asyncio.Event) -> tuple[Totals, Mapping[str, ErrorInfo]]:
        """Make the checks that are left, unless the run has to end, and draw the conclusions.

        Returns the totals, and the jobs that have failed. Raises ``JournalError``.
        """
        for output in self._outputs():
            await asyncio.sleep(0)  # a signal is handled between two of many outputs
            if leaving.is_set():
                break
            known = self._noted.of(output.planned.identity, output.saved)
            if self._is_open(output.planned, known):
                self.offer(output.planned.identity, output.saved.index)
        await self._queue.until_idle(leaving)
        if leaving.is_set():
            await self._queue.stop()
            await self._journal.drain()
        found: Mapping[tuple[str, int], str] = {}
        if self._compares and not leaving.is_set():
            found = await self._copies()
        return await self._concluded(found)

    # -- one output after another

    async def _check(self, identity: str, index: int) -> None:
        known = self._journal.known(identity, self._rule)
        if known is None:
            return
        planned, job, is_retired = known
        saved = job.outputs.get(index)
        if saved is None or is_retired:
            return
        before = judgement = self._noted.of(identity, saved)
        if self._needs_thumbnail(planned, judgement):
            judgement = await self._measured(planned, saved, judgement)
        checks = self._checks_of(planned.entry)
        for check in checks:
            # Each time, since what was found may make the next check needless.
            if check in to_make(checks, judgement) and check.name in {SIZE, COMMAND}:
                judgement = judgement.having(await self._found(check, planned, saved))
        judgement = await self._marked(CheckedOutput(planned, saved), judgement)
        if judgement != before:
            await self._noted.keep(identity, saved, judgement)

    def _is_open(self, planned: PlannedJob, known: Judgement) -> bool:
        return self._needs_thumbnail(planned, known) or any(
            to_make(self._checks_of(planned.entry), known)
        )

    def _needs_thumbnail(self, planned: PlannedJob, known: Judgement) -> bool:
        if self._compares and not known.fingerprint:
            return True
        return any(each.name == BLANK for each in to_make(self._checks_of(planned.entry), known))

    async def _measured(self, planned: PlannedJob, saved: Saved, known: Judgement) -> Judgement:
        """Return the judgement with all that is measured on the thumbnail."""
        checks = [each for each in self._checks_of(planned.entry) if each.name in _MEASURING]
        try:
            is_empty, fingerprint = await self._in_thread(partial(self._measure, saved))
        except Exception as error:  # noqa: BLE001 - a check must not end the run
            for check in checks:
                finding = CheckResult(check.name, check.definition, None, _reason(error))
                self._show(f"{planned.name}/{saved.index}", finding)
                known = known.having(finding)
            return known
        if self._compares:
            known = replace(known, fingerprint=fingerprint.text)
        for check in checks:
            if check.name == BLANK:
                reason = _BLANK_REASON if is_empty else ""
                known = known.having(CheckResult(BLANK, check.definition, not is_empty, reason))
            elif known.is_unmade(check):
                known = known.without(check)
        return known

    def _measure(self, saved: Saved) -> tuple[bool, Fingerprint]:
        with self._store.open(saved.path) as file:
            thumbnail = thumbnail_of(file)
        return is_blank(thumbnail), Fingerprint.of(thumbnail, (saved.width, saved.height))

    async def _found(self, check: Check, planned: PlannedJob, saved: Saved) -> CheckResult:
        if check.name == SIZE:
            return size_finding(check, saved.width, saved.height)
        assert check.name == COMMAND
        try:
            finding = await self._judge.find(check, planned, saved)
        except Exception as error:  # noqa: BLE001 - a check must not end the run
            finding = CheckResult(check.name, check.definition, None, _reason(error))
        if finding.passes is None:
            self._show(f"{planned.name}/{saved.index}", finding)
        return finding

    def _show(self, output: str, finding: CheckResult) -> None:
        self._shown += 1
        if self._shown <= _MOST_SHOWN:
            logger.warning(
                "the check %s of %s could not be made: %s",
                finding.check,
                clean(output),
                finding.reason,
            )
        if self._shown == _MOST_SHOWN:
            logger.warning("the report has all checks that could not be made")

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    # -- all outputs

    def _outputs(self) -> Iterator[CheckedOutput]:
        """Yield the saved outputs of the plan, in manifest order."""
        for planned, job in self._journal.started_jobs(self._rule):
            yield from _outputs_of(planned, job)

    async def _copies(self) -> Mapping[tuple[str, int], str]:
        """Return the outputs that are copies, by identity and index, and the name of the output
        that each is a copy of."""
        outputs, measured = list[CheckedOutput](), list[Measured]()
        sources: dict[str, Set[str]] = {}
        for output in self._outputs():
            planned, known = output.planned, self._noted.of(output.planned.identity, output.saved)
            if planned.source is not None:
                above = sources.get(planned.source.name, frozenset())
                sources[planned.name] = above | {planned.source.name}
            fingerprint = Fingerprint.read(known.fingerprint)
            if fingerprint is None:
                continue
            place = len(outputs)
            outputs.append(output)
            measured.append(
                Measured(
                    place,
                    planned.name,
                    fingerprint,
                    sources.get(planned.name, frozenset()),
                    is_known_copy=self._is_known_copy(planned, known),
                )
            )
        compared = partial(self._are_copies, outputs, lru_cache(64)(self._thumbnail))
        pairs = await self._in_thread(lambda: list(copies(measured, compared)))
        return {
            (outputs[later].planned.identity, outputs[later].saved.index): outputs[first].name
            for later, first in pairs
        }

    def _is_known_copy(self, planned: PlannedJob, known: Judgement) -> bool:
        return any(
            finding is not None and finding.passes is False
            for check in self._checks_of(planned.entry)
            if check.name == DUPLICATE
            for finding in [known.finding(check)]
        )

    def _are_copies(
        self,
        outputs: Sequence[CheckedOutput],
        thumbnail: Callable[[str], Image.Image | None],
        one: int,
        other: int,
    ) -> bool:
        some, others = outputs[one].saved, outputs[other].saved
        if sent_digest(some) == sent_digest(others):
            return True
        first, second = thumbnail(some.path), thumbnail(others.path)
        return first is not None and second is not None and are_copies(first, second)

    def _thumbnail(self, path: str) -> Image.Image | None:
        """Return the thumbnail of an output; None if it can't be made any more."""
        try:
            with self._store.open(path) as file:
                return thumbnail_of(file)
        except Exception as error:  # noqa: BLE001 - a check must not end the run
            logger.debug("%s can't be compared: %s", path, error)
            return None

    # -- what follows

    async def _concluded(
        self, copies: Mapping[tuple[str, int], str]
    ) -> tuple[Totals, Mapping[str, ErrorInfo]]:
        totals, failed = Totals(), dict[str, ErrorInfo]()
        for planned, job in self._journal.started_jobs(self._rule):
            for output in _outputs_of(planned, job):
                known = await self._with_copy(output, copies)
                has_checks = bool(self._checks_of(planned.entry))
                if has_checks and (known.marks or not self._is_open(planned, known)):
                    totals.add(known.marks)
                if job.phase is Phase.SUCCEEDED and planned.identity not in failed:
                    error = _failure(output, known)
                    if error is not None:
                        failed[planned.identity] = error
        return totals, failed

    async def _with_copy(
        self, output: CheckedOutput, copies: Mapping[tuple[str, int], str]
    ) -> Judgement:
        """Return the judgement of an output with its marks, and store it if it has changed."""
        identity, saved = output.planned.identity, output.saved
        before = known = self._noted.of(identity, saved)
        original = copies.get((identity, saved.index))
        for check in self._checks_of(output.planned.entry):
            if check.name == DUPLICATE and original is not None:
                reason = f"a copy of {original}"
                known = known.having(CheckResult(DUPLICATE, check.definition, False, reason))
        known = await self._marked(output, known)
        if known != before:
            await self._noted.keep(identity, saved, known)
        return known

    async def _marked(self, output: CheckedOutput, known: Judgement) -> Judgement:
        """Return the judgement with its marks. If one rejects the output, its line is written,
        once: a person may remove it again."""
        marks = marks_of(self._checks_of(output.planned.entry), known)
        known = replace(known, marks=marks)
        reasons = [f"{mark.check}: {mark.reason}" for mark in marks if mark.verdict == "reject"]
        if not reasons or known.rejected:
            return known
        planned = output.planned
        line = rejection_by_check(
            planned.name, planned.generation, output.saved, "; ".join(reasons)
        )
        try:
            await self._in_thread(partial(add_rejection, self._rejects_file, line))
        except UserError as error:
            # The mark is in the journal, and the next run tries again.
            logger.warning("%s was not rejected: %s", clean(output.name), error)
            return known
        self.written += 1
        return replace(known, rejected=True)


def _outputs_of(planned: PlannedJob, job: Job) -> Iterator[CheckedOutput]:
    for _, saved in sorted(job.outputs.items()):
        yield CheckedOutput(planned, saved)


def _failure(output: CheckedOutput, known: Judgement) -> ErrorInfo | None:
    reasons = [f"{mark.check}: {mark.reason}" for mark in known.marks if mark.verdict == "fail"]
    if not reasons:
        return None
    return ErrorInfo(
        CHECK_FAILED,
        f"{output.saved.path}: {'; '.join(reasons)}",
        hint="the file is kept; to accept such outputs, set the check to flag in the manifest",
    )


def _reason(error: Exception) -> str:
    if isinstance(error, UnmeasurableError):
        return str(error)
    return reason_of_file(error)
