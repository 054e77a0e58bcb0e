"""Plans that are divided into shards.

What is required of them, their rows, and the note in the main run directory.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from crucible_batch.core.asset import AssetPhase
from crucible_batch.core.attempt import AttemptStatus
from crucible_batch.core.credits import Credits, format_credits
from crucible_batch.core.gateway_types import AssetStatus
from crucible_batch.core.job import Job, Phase
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.plan import InputImage, PlannedJob, RunTerms
from crucible_batch.core.ports import Gateway
from crucible_batch.core.prices import PriceBook, shape_of
from crucible_batch.core.run_options import option_flag
from crucible_batch.core.saved_plan import ImageFile, PlanRow, ShardRow
from crucible_batch.core.sharding import MAX_SHARDS, LearnedPrice, OutstandingShards
from crucible_batch.engine.acknowledged import read_acknowledged
from crucible_batch.errors import GatewayError, UserError
from crucible_batch.features.shards.plan_options import DivisionOptions
from crucible_batch.features.shards.shard_division import NO_SHARD, Divider, Division
from crucible_batch.journal import Journal, PlanFile
from crucible_batch.manifest import JobSpec, Manifest, expand
from crucible_batch.runs.keywords import values_of
from crucible_batch.runs.outstanding_shards import refuse_outstanding
from crucible_batch.runs.plan_rows import job_states, plan_row
from crucible_batch.runs.request import JobFilter, RunRequest
from crucible_batch.runs.run_journal import ledger_of
from crucible_batch.runs.shard_notes import (
    note_shards,
    noted_shards,
    outstanding_shards,
)
from crucible_batch.shell_command import run_command

_IN_DOUBT = {AssetPhase.INTENDED, AssetPhase.CREATED, AssetPhase.UPLOADED}
_LEFT_ALONE = {Phase.SUCCEEDED, Phase.FAILED, Phase.UNAVAILABLE, Phase.UNREADABLE}
"""Phases of jobs that stay in the main run directory: nothing more is bought for them, or nothing
without a request.
"""


def check_sharding(
    request: RunRequest, manifest: Manifest, terms: RunTerms, save_to: Path | None
) -> None:
    """Raise ``UserError`` if a plan with these options can't be divided into shards."""
    shards = request.of(DivisionOptions).shards
    if shards is None:
        return
    if not 1 <= shards <= MAX_SHARDS:
        raise UserError(
            f"--shards {shards}: a plan has 1 to {MAX_SHARDS:,} shards",
            hint="choose another number",
        )
    if request.retry_failed:
        raise UserError(
            "a run with --retry-failed can't be divided: failed jobs stay in the main run"
            " directory",
            hint="retry them with run MANIFEST --retry-failed, before the plan or after the merge",
        )
    if request.of_features:
        flags = " and ".join(map(option_flag, request.of_features))
        raise UserError(
            f"a run with {flags} can't be divided: a few jobs need no other machine",
            hint=f"run them first: run MANIFEST with {flags}, then divide the rest without",
        )
    if manifest.may_grow:
        raise UserError(
            "a manifest with `from` can't be divided into shards: the jobs of its later stages are"
            " not known yet",
            hint="run it on one machine; or divide a manifest with the first stage only",
        )
    if terms.budget is None:
        raise UserError(
            "a run without a budget can't be divided: each shard gets a part of it",
            hint="set a budget: --budget N, or budget.credits in the manifest",
        )
    if save_to is None:
        raise UserError("--shards needs a file for the plan", hint="name one: -o plan.json")
    # Otherwise each shard may exceed its allowance by the price of one job.
    missing = " and ".join(f"budget.{key}" for key in _missing_maxima(request, manifest, terms))
    if missing:
        raise UserError(
            f"a run without {missing} can't be divided: each shard may then exceed its allowance,"
            " and all of them at the same time",
            hint="declare it in the manifest: the most that one may cost",
        )


def _missing_maxima(request: RunRequest, manifest: Manifest, terms: RunTerms) -> Iterator[str]:
    """Yield the keys of the maximum prices that the chosen jobs need and that are not declared."""
    if terms.ceiling is None:
        yield "max_credits_per_job"
    takes = request.job_filter.takes
    chosen = (spec for spec in expand(manifest) if isinstance(spec, JobSpec) and takes(spec.name))
    if terms.upload_ceiling is None and any(spec.image or spec.images for spec in chosen):
        yield "max_credits_per_upload"


@dataclass(frozen=True, slots=True)
class PlanToDivide:
    """A plan whose jobs are in ``draft``.

    ``journal`` is that of the main run directory; None if it has no events. ``out_dir`` is the main
    run directory as it was given, None if it is the default.
    """

    draft: PlanFile
    journal: Journal | None
    terms: RunTerms
    choice: JobFilter
    out_dir: str | Path | None = None

    def jobs(self) -> Iterator[tuple[PlannedJob, Job, bool]]:
        """Yield the chosen jobs with their states, and whether each is to be divided.

        It is if nothing was bought for it yet. Raises ``UserError`` if a run has to finish one
        first.
        """
        for planned, job in job_states(self.draft, self.journal, self.terms.rule):
            if not self.choice.takes(planned.name):
                continue
            is_new = is_untouched(job)
            if not is_new and job.phase not in _LEFT_ALONE:
                left = "in flight"
                if job.phase is Phase.READY:
                    left = "with another attempt to make"
                raise UserError(
                    f"job {planned.name!r} is not finished: an earlier run left it {left}",
                    hint=f"let a run finish it first: {self._run_command()}",
                )
            yield planned, job, is_new

    async def divided(self, gateway: Gateway, shards: int) -> DividedPlan:
        """Divide the new jobs, by what the main run directory has and which images are uploaded.

        The terms have the maximum prices that ``check_sharding`` requires. Raises ``UserError`` as
        ``jobs`` does, if an upload of an earlier run is in doubt, or if an admitted job needs an
        image that is not at the gateway. Raises ``GatewayError``.
        """
        assert self.terms.budget is not None
        ledger = ledger_of(self.journal, PriceBook.of(self.terms))
        ready = await self._ready_images(gateway)
        divider = Divider(ledger.prices, shards=shards, left=left_of(ledger, self.terms.budget))
        for planned, _job, is_new in self.jobs():
            if is_new:
                shape = shape_of(planned)
                divider.add(shape, {digest for digest in planned.digests if digest not in ready})
        division = divider.divide()
        self._check_images(division)
        return DividedPlan(self, ledger.prices, ready, division)

    async def _ready_images(self, gateway: Gateway) -> dict[str, str]:
        """Return the asset id of each image of a new job that is ready at the gateway.

        The keys are digests.
        """
        images: dict[str, InputImage] = {}
        if self.draft.has_images():
            for planned, _job, is_new in self.jobs():
                if is_new:
                    images |= {image.spec.sha256: image for image in planned.images.values()}
        if not images:
            return {}
        found: dict[str, str] = {}
        listed: set[str] = set()
        for asset in await gateway.assets():
            image = images.get(asset.sha256 or "")
            if image is None or asset.status is not AssetStatus.READY:
                continue
            if asset.byte_size == image.spec.byte_size:
                found[image.spec.sha256] = asset.asset_id
                listed.add(asset.asset_id)
        for digest, image in images.items():
            known_id = self._known_id(image)
            if known_id is None:
                continue
            # The journal's own comes before others with the same bytes, and the list may lag.
            if known_id in listed or (digest not in found and await _is_ready(gateway, known_id)):
                found[digest] = known_id
        return found

    def _known_id(self, image: InputImage) -> str | None:
        """Return the asset id of an image that is ready by the journal."""
        if self.journal is None:
            return None
        known = self.journal.asset(image.spec.sha256)
        if known.phase in _IN_DOUBT:
            raise UserError(
                f"the upload of {image.path.name} is in doubt since an earlier run",
                hint=f"let a run finish it first: {self._run_command()}",
            )
        if known.phase is not AssetPhase.READY:
            return None
        return known.asset_id

    def _check_images(self, division: Division) -> None:
        """Raise ``UserError`` if an admitted job needs an image that is not at the gateway.

        No shard uploads one.
        """
        if not division.missing:
            return
        first = division.missing[0]
        for planned in self.draft.jobs():
            for image in planned.images.values():
                if image.spec.sha256 == first:
                    raise UserError(
                        f"images are not uploaded, such as {image.path.name}"
                        f" ({len(division.missing)} in all): a shard doesn't upload images",
                        hint="add --probe, which uploads each image once before the plan is"
                        " divided",
                    )

    def _run_command(self) -> str:
        terms, budget = self.terms, []
        if terms.budget is not None:
            budget = ["--budget", format_credits(terms.budget)]
        return run_command(terms.manifest_path, *budget, run_id=terms.run_id, out_dir=self.out_dir)


@dataclass(frozen=True, slots=True)
class DividedPlan:
    """A plan and its division.

    ``ready`` has the asset id of each image that is ready at the gateway, by digest.
    """

    plan: PlanToDivide
    prices: PriceBook
    ready: Mapping[str, str]
    division: Division

    @property
    def learned(self) -> tuple[LearnedPrice, ...]:
        return tuple(
            LearnedPrice(shape.price_class, shape.digest, credits)
            for shape, credits in self.prices.learned()
        )

    def rows(self, base: Path) -> Iterator[PlanRow]:
        """Yield the row of each chosen job, in manifest order: a ``ShardRow`` if it is in a shard.

        ``base`` is the manifest's directory.
        """
        real = os.path.realpath(base)
        numbers = iter(self.division.numbers)
        for planned, job, is_new in self.plan.jobs():
            row = plan_row(planned, job, self.plan.choice, base=real, prices=self.prices)
            number = NO_SHARD
            if is_new:
                number = next(numbers)
            if number != NO_SHARD:
                row = self._shard_row(row, planned, number)
            yield row

    def _shard_row(self, row: PlanRow, planned: PlannedJob, shard: int) -> ShardRow:
        images = {
            param: self._described(row.images[param], image)
            for param, image in planned.images.items()
        }
        return ShardRow(
            **{**values_of(row, PlanRow), "images": images},
            shard=shard,
            position=planned.position,
            output=planned.output,
            prompt=planned.prompt,
            axes=planned.axes,
            row=planned.row,
        )

    def _described(self, file: ImageFile, image: InputImage) -> ImageFile:
        spec = image.spec
        return replace(
            file,
            asset_id=self.ready.get(spec.sha256),
            byte_size=spec.byte_size,
            mime_type=spec.mime_type,
        )


def left_of(ledger: Ledger, budget: Credits) -> Credits:
    """Return what may be divided among shards: the budget less what is spent and held."""
    return budget - ledger.committed


def is_untouched(job: Job) -> bool:
    """Whether a job's first attempt is still to be made, so that nothing was bought for it."""
    declined = all(attempt.status is AttemptStatus.DECLINED for attempt in job.attempts)
    return job.phase is Phase.READY and job.attempt == 1 and not job.in_doubt and declined


async def _is_ready(gateway: Gateway, asset_id: str) -> bool:
    try:
        asset = await read_acknowledged(lambda: gateway.asset(asset_id), asyncio.sleep)
    except GatewayError as error:
        if error.is_not_found:
            return False
        raise
    return asset.status is AssetStatus.READY


def division_number(journal: Journal) -> int:
    """Return the number of the divided plan that is made now.

    It stays the same as long as the plan's shards are outstanding. Without it, a plan that is made
    after all shards were abandoned would have the digest of the plan before it.
    """
    newest = noted_shards(journal)
    if newest is None:
        return 1
    if newest.missing:
        return newest.division
    return newest.division + 1


def set_aside(
    journal: Journal,
    division: Division,
    digest: str,
    budget: Credits | None = None,
    *,
    fingerprint: str | None = None,
    account: str | None = None,
) -> None:
    """Note the shards of a plan in the main run directory, before the plan can be run.

    ``budget`` is the plan's, ``fingerprint`` that of its API key, and ``account`` that of its
    period.

    Raises ``UserError`` if shards of another plan are outstanding.
    """
    outstanding = noted_shards(journal)
    if outstanding is not None and outstanding.plan_digest == digest and outstanding.missing:
        return
    refuse_outstanding(outstanding, journal.path.parent.parent)
    shards = OutstandingShards(
        digest,
        {shard.number: shard.allowance for shard in division.shards},
        budget=budget,
        fingerprint=fingerprint,
        account=account,
        left_out=division.left_out,
    )
    if outstanding is not None:
        shards = replace(shards, earlier=outstanding.plans)
    note_shards(journal, shards)


def refuse_lower_budget(journal: Journal, budget: Credits | None) -> None:
    """Raise ``UserError`` if a budget is below what is spent and set aside for shards."""
    outstanding = outstanding_shards(journal)
    if outstanding is None or budget is None:
        return
    used = ledger_of(journal).committed
    least = used + outstanding.set_aside
    if budget >= least:
        return
    directory = journal.path.parents[1]
    raise UserError(
        f"a budget of {format_credits(budget)} is below what {directory} has used and set aside:"
        f" {format_credits(used)} credits are spent or held, and"
        f" {format_credits(outstanding.set_aside)} set aside for shards that are not merged yet",
        hint=f"set a budget of {format_credits(least)} or more; a merge returns what the shards"
        " leave",
    )
