"""``plan --probe``: the purchases before a plan is divided, so that its shards know each price and upload no image.

One run in the main run directory, in two steps. First one job of each shape without a price is bought, in manifest
order; if the gateway refuses it or doesn't accept it, the next job of the shape takes its place. Then the missing
images of the jobs that are going to be admitted are uploaded, each by the first job that needs it. These jobs are not
submitted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import httpx

from crucible_batch.api.connecting import current_settings, require_key
from crucible_batch.api.draft import read_source, run_directory, run_terms
from crucible_batch.api.request import JobFilter, RunRequest, check_request, check_saving, follow_plan
from crucible_batch.api.running import RunResult, run_request
from crucible_batch.api.shards.divided_plan import check_sharding, is_untouched, refuse_missing_maxima
from crucible_batch.api.shards.note import noted_in
from crucible_batch.domain.asset import AssetPhase
from crucible_batch.domain.credits import ZERO, Credits
from crucible_batch.domain.job import Job, Phase
from crucible_batch.domain.ledger import Ledger
from crucible_batch.domain.plan import InputImage, PlannedJob, RunTerms
from crucible_batch.domain.prices import UPLOAD, PriceBook, Shape, shape_of
from crucible_batch.domain.progress import Observer
from crucible_batch.domain.resuming import may_reopen
from crucible_batch.domain.shard_division import Divider
from crucible_batch.errors import ExitCode, UserError
from crucible_batch.journal import Journal
from crucible_batch.manifest import Manifest
from crucible_batch.settings import Settings

Admission: TypeAlias = Callable[[PriceBook, Credits, Iterable[tuple[Shape, Set[str]]]], Sequence[int]]
"""Decides which jobs are going to be admitted, given in manifest order with the digests of their missing images.

The credits are what is left of the budget. The result has a value for each job: 0 if it is not admitted.
"""

_MOST_TRIES = 5
"""Jobs of one shape that are tried one after another until one has a price."""
_IN_DOUBT = frozenset({AssetPhase.INTENDED, AssetPhase.CREATED, AssetPhase.UPLOADED})
_UNANSWERED = frozenset({Phase.SUBMITTING, Phase.UNKNOWN})


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The result of a probe. ``is_complete``: each price is known, and each image of the admitted jobs is uploaded."""

    run: RunResult
    is_complete: bool

    @property
    def may_divide(self) -> bool:
        """Whether the plan may be divided now. Failed jobs don't prevent it: they stay in the main run directory."""
        return self.is_complete and self.run.exit_code in {ExitCode.OK, ExitCode.SOME_FAILED}


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
    """Buy and upload what the shards of a plan have to know, before ``plan_request`` with the same arguments.

    Returns None, and spends nothing, if shards of the run directory are not merged yet. Raises ``UserError`` before
    anything is spent if the plan can't be divided or saved to ``save_to``, and otherwise as ``run`` does.
    """
    check_request(request)
    settings = settings or current_settings()
    request = follow_plan(request)
    check_saving(request, save_to, force=force)
    require_key(settings, request.manifest)
    manifest = read_source(request)
    terms = run_terms(manifest, request)
    if request.shards is None:
        raise UserError("--probe is for a plan that is divided into shards", hint="add --shards N, or omit --probe")
    check_sharding(request, manifest, terms, save_to)
    refuse_missing_maxima(request, manifest, terms)
    shards = noted_in(run_directory(request.out_dir, terms))
    if shards is not None and shards.missing:
        return None
    return await run_probe(
        request,
        admission_of(request.shards),
        manifest=manifest,
        handle_signals=handle_signals,
        observer=observer,
        settings=settings,
        transport=transport,
    )


def admission_of(shards: int) -> Admission:
    """Return the admission by which a plan is divided into this number of shards."""

    def admit(prices: PriceBook, left: Credits, jobs: Iterable[tuple[Shape, Set[str]]]) -> Sequence[int]:
        divider = Divider(prices, shards=shards, left=left)
        for shape, missing in jobs:
            divider.add(shape, missing)
        return divider.divide().is_admitted

    return admit


async def run_probe(
    request: RunRequest,
    admit: Admission,
    *,
    manifest: Manifest | None = None,
    handle_signals: bool = False,
    observer: Observer | None = None,
    settings: Settings | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> ProbeResult:
    """Buy a job of each shape without a price, and upload the missing images of the jobs that ``admit`` admits.

    The request needs a budget. Nothing is notified: the run that the plan is for comes later. Raises as ``run`` does.
    """
    made: list[ProbeChoice] = []

    def choose(journal: Journal, terms: RunTerms) -> ProbeChoice:
        made.append(ProbeChoice(lambda: journal.jobs(terms.rule), journal, terms.budget, request.job_filter, admit))
        return made[0]

    result = await run_request(
        replace(request, notify=False),
        manifest=manifest,
        handle_signals=handle_signals,
        observer=observer,
        settings=settings,
        transport=transport,
        probe=choose,
    )
    return ProbeResult(result, made[0].is_complete)


@dataclass(slots=True)
class ProbeChoice:
    """The choice of a probe's jobs. ``is_complete``: there is nothing left to choose, and nothing is missing."""

    jobs: Callable[[], Iterator[tuple[PlannedJob, Job]]]
    journal: Journal
    budget: Credits | None
    choice: JobFilter
    admit: Admission
    is_complete: bool = field(default=False, init=False)
    _tried: set[str] = field(default_factory=set, init=False)
    _tries: Counter[Shape] = field(default_factory=Counter, init=False)
    _attempted: set[str] = field(default_factory=set, init=False)
    """The digests of the images that a step was to upload."""
    _has_begun: bool = field(default=False, init=False)
    _has_prices: bool = field(default=False, init=False)

    def to_buy(self, ledger: Ledger) -> frozenset[str]:
        """Return one job of each shape without a price, and the jobs that an earlier run left between two attempts.

        With ``retry_failed``, also each failed job, once.
        """
        first: dict[Shape, str] = {}  # the job that would be bought to learn the price of its shape
        unfinished: set[str] = set()  # jobs between two attempts, and failed ones that are retried
        waiting: set[Shape] = set()  # shapes of which a job was bought, or may have been, without a price so far
        unpriced: set[Shape] = set()  # shapes of jobs that are to be divided, without a price
        for planned, job in self._chosen():
            shape, identity = shape_of(planned), job.identity
            is_unsent = _is_unsent(job)
            if job.phase is Phase.READY and not is_untouched(job) and identity not in self._tried:
                unfinished.add(identity)
            is_retried = self.choice.retry_failed and may_reopen(job, buys_again=False)
            if is_retried and identity not in self._tried:
                unfinished.add(identity)
            if ledger.prices.seen(shape) is not None:
                continue
            if is_unsent and identity not in self._tried:
                first.setdefault(shape, identity)
            elif is_unsent or (job.phase in _UNANSWERED and (identity in self._tried or not self._has_begun)):
                waiting.add(shape)
            if is_unsent:
                unpriced.add(shape)
        self._has_begun = True
        ended = {shape for shape in first if shape in waiting or self._tries[shape] >= _MOST_TRIES}
        shapes = first.keys() - ended
        self._tries.update(shapes)
        self._has_prices = not unpriced
        chosen = frozenset(unfinished.union(first[shape] for shape in shapes))
        self._tried |= chosen
        return chosen

    def to_prepare(self, ledger: Ledger, is_there: Callable[[InputImage], bool]) -> frozenset[str]:
        """Return the jobs that upload the missing images of the admitted jobs; none as long as a price is unknown.

        While the price of an upload is unknown, that is one job.
        """
        if not self._has_prices:
            return frozenset()
        needed = list(self._needing_images(ledger, is_there))
        self.is_complete = not needed
        if any(identity in self._tried for identity, _ in needed):
            return frozenset()  # neither prepared nor failed: the run has the reason why it can't be
        prices = ledger.prices
        if prices.expected(UPLOAD) is None and prices.upload_ceiling is None:
            del needed[1:]
        chosen = self._one_for_each_image(needed)
        self._tried |= chosen
        return chosen

    def _needing_images(
        self, ledger: Ledger, is_there: Callable[[InputImage], bool]
    ) -> Iterator[tuple[str, frozenset[str]]]:
        """Yield the admitted jobs with missing images, and the digests of these."""
        jobs: list[tuple[str, frozenset[str]]] = []
        in_doubt = {asset.sha256 for asset in self.journal.assets() if asset.phase in _IN_DOUBT}

        def to_admit() -> Iterator[tuple[Shape, Set[str]]]:
            for planned, job in self._chosen():
                if not _is_unsent(job):
                    continue
                images = planned.images.values()
                missing = {each.spec.sha256 for each in images if each.spec.sha256 in in_doubt or not is_there(each)}
                jobs.append((job.identity, frozenset(missing)))
                # What an upload in doubt costs is in the ledger already.
                yield shape_of(planned), missing - in_doubt

        left = ZERO if self.budget is None else self.budget - ledger.committed
        admitted = self.admit(ledger.prices, left, to_admit())
        for (identity, missing), is_admitted in zip(jobs, admitted, strict=True):
            if missing and (is_admitted or missing & in_doubt):
                yield identity, missing

    def _one_for_each_image(self, needed: Iterable[tuple[str, frozenset[str]]]) -> frozenset[str]:
        """Return the first job that needs each image; each job that needs one which an earlier step didn't upload."""
        chosen: set[str] = set()
        covered: set[str] = set()
        for identity, missing in needed:
            if not missing <= covered or missing & self._attempted:
                chosen.add(identity)
                covered |= missing
        self._attempted |= covered
        return frozenset(chosen)

    def _chosen(self) -> Iterator[tuple[PlannedJob, Job]]:
        return (found for found in self.jobs() if self.choice.takes(found[0].name))


def _is_unsent(job: Job) -> bool:
    """Whether a job is to be divided: its first key was never sent. Its hold is released if a killed run left one."""
    return is_untouched(job) or (job.phase is Phase.PREPARING and job.attempt == 1)
