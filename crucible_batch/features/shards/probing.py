"""``plan --probe``: the purchases before a plan is divided.

Its shards then know each price, and upload no image.

Ordinary runs in the main run directory, one after another; each is chosen by what the journal has
after the one before:

1. A run that starts no job. It finishes what an earlier run left in flight, and the journal has the
   plan then.
2. Runs that buy one job of each shape without a price, in manifest order. If the gateway refuses
   one or doesn't accept it, the next job of its shape takes its place, up to five times. If no job
   fits beside the refunds of failed ones, the next job is bought, too: its run waits for them.
3. Runs that upload the missing images of the jobs that are going to be admitted, each by the first
   job that needs it. These jobs are not submitted.

The first run that has to be continued is the last one: the same command begins with what it left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import httpx

from crucible_batch.core.asset import AssetPhase
from crucible_batch.core.budget import HoldRequest, Need
from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.core.job import Job, Phase
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.outcome import PRECEDENCE
from crucible_batch.core.plan import InputImage, PlannedJob
from crucible_batch.core.prices import PriceBook, Shape, shape_of
from crucible_batch.core.progress import Observer
from crucible_batch.engine.listed_assets import ListedAssets
from crucible_batch.errors import DeadlineError, ExitCode, UserError
from crucible_batch.features.periods.period_budget import preview
from crucible_batch.features.registry import kind_of_probe
from crucible_batch.features.shards.divided_plan import check_sharding, is_untouched, left_of
from crucible_batch.features.shards.plan_options import DivisionOptions
from crucible_batch.features.shards.shard_division import Divider
from crucible_batch.journal import Journal
from crucible_batch.manifest import Manifest
from crucible_batch.runs.cancellation import Deadline
from crucible_batch.runs.connecting import current_settings, gateway_for, require_key
from crucible_batch.runs.draft import read_source, run_directory, run_terms, with_pace_of
from crucible_batch.runs.request import (
    JobFilter,
    RunRequest,
    check_request,
    check_saving,
    follow_plan,
)
from crucible_batch.runs.run_journal import ledger_of
from crucible_batch.runs.running import RunResult, run_request
from crucible_batch.runs.shard_notes import noted_in
from crucible_batch.settings import Settings

_MOST_TRIES = 5
"""Jobs of one shape that are tried one after another until one has a price."""
_IN_DOUBT = frozenset({AssetPhase.INTENDED, AssetPhase.CREATED, AssetPhase.UPLOADED})
_UNANSWERED = frozenset({Phase.SUBMITTING, Phase.UNKNOWN})
_MAY_GO_ON = frozenset({ExitCode.OK, ExitCode.SOME_FAILED})


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The result of a probe: that of its last run, with the exit code of the worst one.

    ``is_complete``: each price is known, and each image of the admitted jobs is uploaded.
    """

    run: RunResult
    is_complete: bool

    @property
    def may_divide(self) -> bool:
        """Whether the plan may be divided now.

        Failed jobs don't prevent it: they stay in the main run directory.
        """
        return self.is_complete and self.run.exit_code in _MAY_GO_ON


async def probe(
    request: RunRequest,
    save_to: Path | None,
    *,
    force: bool = False,
    handle_signals: bool = False,
    observer: Observer | None = None,
    settings: Settings | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> ProbeResult | None:
    """Buy and upload what the shards of a plan have to know.

    ``plan_request`` comes after it, with the same arguments. Nothing is notified: the run that the
    plan is for comes later. Returns None, and spends nothing, if shards of the run directory are
    not merged yet. Raises ``UserError`` before anything is spent if the plan can't be divided or
    saved to ``save_to``, and otherwise as ``run`` does.
    """
    check_request(request)
    settings = settings or current_settings()
    request = follow_plan(request)
    check_saving(request, save_to, force=force)
    require_key(settings, request.manifest)
    manifest = read_source(request)
    terms = run_terms(manifest, request)
    shards = request.of(DivisionOptions).shards
    if shards is None:
        raise UserError(
            "--probe is for a plan that is divided into shards",
            hint="add --shards N, or omit --probe",
        )
    check_sharding(request, manifest, terms, save_to)
    noted = noted_in(run_directory(request.out_dir, terms))
    if noted is not None and noted.missing:
        return None
    # The deadline and the choice are those of all runs together.
    request = with_pace_of(manifest, request)
    deadline = Deadline(request.deadline_s)

    async def run(names: frozenset[str], uploads_only: bool) -> RunResult:
        deadline.check()
        chosen = replace(
            request,
            names=names,
            uploads_only=uploads_only,
            deadline_s=deadline.left_s,
        )
        return await run_request(
            chosen,
            kind_of_probe,
            manifest=manifest,
            handle_signals=handle_signals,
            observer=observer,
            settings=settings,
            transport=transport,
        )

    async def listed() -> ListedAssets:
        async with gateway_for(settings, transport=transport) as gateway:
            found = ListedAssets(gateway)
            await found.read()
        return found

    choice = ProbeChoice(request.job_filter, shards)
    return await _runs(choice, run, listed, partial(_budget_of, request, manifest, settings))


async def _runs(
    choice: ProbeChoice,
    run: Callable[[frozenset[str], bool], Awaitable[RunResult]],
    listed: Callable[[], Awaitable[ListedAssets]],
    budget_of: Callable[[Path], Credits],
) -> ProbeResult:
    """Run what is chosen, until nothing is or a run has to be continued.

    ``run`` gets the names of jobs, and whether only their images are uploaded.
    """
    result = await run(frozenset(), False)
    directory, codes = result.run_dir, [result.exit_code]
    try:
        while codes[-1] in _MAY_GO_ON:
            budget = budget_of(directory)
            uploads_only = False
            names = _to_buy(choice, directory, budget)
            if not names:
                uploads_only = True
                names = _to_prepare(choice, directory, budget, await listed())
            if not names:
                break
            result = await run(names, uploads_only)
            codes.append(result.exit_code)
    except DeadlineError:  # between two runs, so that it stopped none of them
        codes.append(ExitCode.STOPPED)
    worst = next((code for code in PRECEDENCE if code in codes), ExitCode.OK)
    return ProbeResult(replace(result, exit_code=worst), choice.is_complete)


def _budget_of(
    request: RunRequest, manifest: Manifest, settings: Settings, directory: Path
) -> Credits:
    """Return the budget that the plan could be divided within now."""
    terms = run_terms(manifest, request)
    period = preview(manifest, settings, directory, terms, request.budget)
    if period is None:
        return terms.budget or ZERO
    return period.budget


def _to_buy(choice: ProbeChoice, directory: Path, budget: Credits) -> frozenset[str]:
    with Journal.read(directory) as journal:
        terms = journal.runs()[-1].terms
        ledger = ledger_of(journal, PriceBook.of(terms))
        return choice.to_buy(journal.jobs(terms.rule), ledger, left_of(ledger, budget))


def _to_prepare(
    choice: ProbeChoice, directory: Path, budget: Credits, listed: ListedAssets
) -> frozenset[str]:
    with Journal.read(directory) as journal:
        terms = journal.runs()[-1].terms
        ledger = ledger_of(journal, PriceBook.of(terms))
        phases = {asset.sha256: asset.phase for asset in journal.assets()}
        jobs, left = journal.jobs(terms.rule), left_of(ledger, budget)
        return choice.to_prepare(jobs, phases, listed.has, ledger.prices, left)


@dataclass(slots=True)
class ProbeChoice:
    """The choice of a probe's jobs by name, for one run after another.

    They are among those that ``chosen`` takes. ``is_complete``: no price is missing, nothing is
    left to choose, and nothing is missing.
    """

    chosen: JobFilter
    shards: int
    is_complete: bool = field(default=False, init=False)
    _tried: set[str] = field(default_factory=set, init=False)
    _tries: Counter[Shape] = field(default_factory=Counter, init=False)
    _has_prices: bool = field(default=False, init=False)
    _attempted: set[str] = field(default_factory=set, init=False)
    """The digests of the images that a run was to upload."""

    def to_buy(
        self, jobs: Iterable[tuple[PlannedJob, Job]], ledger: Ledger, left: Credits
    ) -> frozenset[str]:
        """Return one job of each shape without a price, and those that are between two attempts.

        Without such jobs, the first one to be divided if it doesn't fit beside refunds: its run
        waits for them.
        """
        prices, next_new = ledger.prices, None
        first: dict[Shape, str] = {}  # the job that would be bought to learn the price of its shape
        unfinished: set[str] = set()  # jobs between two attempts
        # Shapes of which a job was bought, or may have been, without a price so far.
        waiting: set[Shape] = set()
        unpriced: set[Shape] = set()  # shapes of jobs that are to be divided, without a price
        for planned, job in self._taken(jobs):
            shape, name, is_tried = shape_of(planned), planned.name, planned.name in self._tried
            is_new = is_untouched(job)
            if is_new and not is_tried:
                next_new = next_new or planned
            if job.phase is Phase.READY and not is_new and not is_tried:
                unfinished.add(name)
            if prices.seen(shape) is not None:
                continue
            if is_new:
                unpriced.add(shape)
            if is_new and not is_tried:
                first.setdefault(shape, name)
            elif is_tried and (is_new or job.phase in _UNANSWERED):
                waiting.add(shape)
        shapes = {each for each in first if each not in waiting and self._tries[each] < _MOST_TRIES}
        self._tries.update(shapes)
        self._has_prices = not unpriced
        names = frozenset(unfinished.union(first[shape] for shape in shapes))
        if not names and next_new is not None and ledger.held_for_refunds:
            need = Need.of(HoldRequest(shape_of(next_new)), prices)
            if not need.fits(left):
                names = frozenset({next_new.name})
        self._tried |= names
        return names

    def to_prepare(
        self,
        jobs: Iterable[tuple[PlannedJob, Job]],
        phases: Mapping[str, AssetPhase],
        is_listed: Callable[[InputImage], bool],
        prices: PriceBook,
        left: Credits,
    ) -> frozenset[str]:
        """Return the jobs that upload the missing images of the admitted jobs.

        There are none as long as a price is unknown. ``phases`` are those of the images by the
        journal, and ``is_listed``: whether the gateway lists one. ``left`` is what is left of the
        budget.
        """
        if not self._has_prices:
            return frozenset()
        found: list[tuple[str, frozenset[str]]] = []
        in_doubt = {digest for digest, phase in phases.items() if phase in _IN_DOUBT}

        def is_missing(image: InputImage) -> bool:
            digest = image.spec.sha256
            # The gateway's list may lag behind an upload of this probe.
            is_there = digest in self._attempted and phases.get(digest) is AssetPhase.READY
            return digest in in_doubt or not (is_there or is_listed(image))

        divider = Divider(prices, shards=self.shards, left=left)
        for planned, job in self._taken(jobs):
            if is_untouched(job):
                missing = frozenset(
                    image.spec.sha256 for image in planned.images.values() if is_missing(image)
                )
                found.append((planned.name, missing))
                # What an upload in doubt costs is in the ledger already.
                divider.add(shape_of(planned), missing - in_doubt)
        admitted = zip(found, divider.divide().is_admitted, strict=True)
        needed = [
            (name, missing)
            for (name, missing), is_admitted in admitted
            if missing and (is_admitted or missing & in_doubt)
        ]
        self.is_complete = not needed
        if any(name in self._tried for name, _ in needed):
            # It is neither prepared nor failed: its run has the reason why it can't be.
            return frozenset()
        names = self._one_for_each_image(needed)
        self._tried |= names
        return names

    def _one_for_each_image(self, needed: Iterable[tuple[str, frozenset[str]]]) -> frozenset[str]:
        """Return the first job that needs each image.

        If an earlier run didn't upload an image, each job that needs it.
        """
        names: set[str] = set()
        covered: set[str] = set()
        for name, missing in needed:
            if not missing <= covered or missing & self._attempted:
                names.add(name)
                covered |= missing
        self._attempted |= covered
        return frozenset(names)

    def _taken(self, jobs: Iterable[tuple[PlannedJob, Job]]) -> Iterator[tuple[PlannedJob, Job]]:
        return (found for found in jobs if self.chosen.takes(found[0].name))
