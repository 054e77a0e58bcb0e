"""The judge: what must hold whatever happened, by the world's own records and the files on the
disk.

Our books are looked at only where they are what is judged. Money is the purse's matter
(``purse.py``).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from crucible_batch.atomic_files import TEMPORARY_PREFIX
from crucible_batch.core.events import Accepted, Created, Event, Held, Intended, Lost
from crucible_batch.core.retry_rule import HOPELESS_CODES
from crucible_batch.report import JobRow, ReportHead
from crucible_batch.sandbox.records import Job
from crucible_batch.sandbox.workflows import prompt
from tests.harness.sandbox_audit import audit_world
from tests.verification.simulation.left_jobs import LeftJobs
from tests.verification.simulation.purse import ZERO, purse_of
from tests.verification.simulation.scenario import Life, Scenario
from tests.verification.simulation.staged_rows import is_by_source, stage_faults, why_not_by_source
from tests.verification.simulation.stages import Stages
from tests.verification.simulation.surroundings import Surroundings, content, marker
from tests.verification.simulation.virtual_time import true_now

_CUT_SHORT = frozenset({3, 5, 130})
_CLOCK_ERROR_S = 1e-6
"""What sums of times since the epoch are off by: a run that ends at its deadline may seem early."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A run that came to its end: what it says of itself."""

    exit_code: int
    head: ReportHead
    rows: Sequence[JobRow]
    events: Sequence[tuple[str, Event]]
    directory: Path
    was_interrupted: bool

    @property
    def left(self) -> LeftJobs:
        """The jobs that it had begun and that its manifest has no longer."""
        return LeftJobs.of(self.events, self.rows)

    def same_as(self, other: Finished) -> bool:
        """Whether nothing has moved since."""
        mine = (self.exit_code, self.head.credits, self.head.counts)
        return mine == (other.exit_code, other.head.credits, other.head.counts)


@dataclass
class Judge:
    """Watches one seed. ``broken`` are the invariants that did not hold, each as a sentence."""

    scenario: Scenario
    around: Surroundings
    broken: list[str] = field(default_factory=list)
    _retries: int = 0
    _resubmits: int = 0
    _felt_before: int = 0
    _refused_before: int = 0
    _deadline: float = math.inf
    _fetches_again: bool = False

    def __post_init__(self) -> None:
        terms = self.scenario.terms
        self.jobs = {job.identity: job for job in self.scenario.jobs}
        """All that were ever wanted, by identity; the newest of those with the same name is the
        last."""
        self.purse = purse_of(
            self.around, self.jobs, (terms.ceiling, terms.upload_ceiling), self.complain
        )
        self.pauses = self.purse.pauses
        self.removed: set[str] = set()
        """Outputs that somebody has deleted, relative to the run directory."""
        self.stages: Stages | None = None
        if self.scenario.staged is not None and self.scenario.last is not None:
            self.stages = Stages(self.scenario.staged, self.scenario.last)
            self.around.word = self.stages.word
            self.around.leaves = self._check_source

    # -- what the simulation tells

    def complain(self, text: str) -> None:
        if len(self.broken) < 20:
            self.broken.append(text)

    def born(self, life: Life) -> None:
        """A process begins."""
        self.purse.stakes.born(life.budget)
        self.pauses.born()
        if self.stages is not None and life.edition is not None:
            self.stages.edit(life.edition)
        self._retries += life.retry_failed
        self._resubmits += life.retry_failed and life.resubmit_unknown
        self._refused_before = self.around.weather.fired["401"]
        self._felt_before = self.around.weather.felt
        self._deadline = math.inf if life.deadline_s is None else true_now() + life.deadline_s
        self._fetches_again = bool(self.removed)

    def deadline_moved(self, seconds: float) -> None:
        """A run was given another deadline."""
        self._deadline = true_now() + seconds

    def retried(self) -> None:
        """A run was told to try failed jobs again."""
        self._retries += 1

    def ended(self, finished: Finished) -> None:
        """A run came to its end: its report and its directory are as they should be now already."""
        self.purse.check_rows()
        self.purse.ended()
        self._check_jobs()
        self._check_exit_code(finished)
        self._check_files(finished)
        self._check_books(finished)

    def close(self) -> None:
        """The seed is over."""
        self.purse.check_rows()
        self._check_jobs()
        audit = audit_world(self.around.world, true_now())
        for problem in audit.problems:
            self.complain(f"the world's own books are wrong: {problem}")
        self.broken += self.around.requests.complaints[:3]

    def conclude(self, last: Finished) -> None:
        """The sky is clear and nothing moves any more: everything that can be had is there, and the
        books agree.
        """
        for row in last.rows:
            reason = self._why_not(row, last)
            if reason:
                code = row.error.code if row.error else "-"
                self.complain(f"{row.name} ends {row.status} ({code}): {reason}")
        self._check_leftovers(last)
        self._check_final_books(last)
        if self.stages is not None:
            self.broken += stage_faults(self.stages, self.around.ours(), last.rows)

    def was_ended_by_the_ceiling(self, before: Mapping[str, Sequence[Decimal]]) -> bool:
        """Whether one job was answered above the ceiling, of a shape that was always within it:
        each may be so once.

        Where its shape had no price of its own, that of its workflow should have kept it back.
        """
        if (ceiling := self.scenario.terms.ceiling) is None:
            return False
        new = {
            shape: figures[len(before.get(shape, ())) :]
            for shape, figures in self.purse.answers().items()
        }
        dear = [shape for shape, figures in new.items() for price in figures if price > ceiling]
        return len(dear) == 1 and dear[0] in before and max(before[dear[0]]) <= ceiling

    # -- jobs

    def _check_jobs(self) -> None:
        wanted, ours = self.scenario.wanted, self.around.ours()
        for word, jobs in ours.items():
            most = wanted.get(word, 0) if self.stages is None else self.stages.most(word, ours)
            if any(job.idempotency_key is None for job in jobs):
                self.complain(f"{word!r} was submitted without a key")
            alive = sum(
                job.error_code is None and not self._may_be_bought_again(job) for job in jobs
            )
            if alive > most:
                self.complain(f"{word!r} was bought {alive} times and is wanted {most} times")
            tries = most * (self.scenario.terms.attempts + self._retries)
            if len(jobs) > tries:
                self.complain(f"{word!r} was tried {len(jobs)} times; {tries} are allowed")
            self._check_order(word, jobs, most)

    def _check_source(self, params: Mapping[str, object]) -> None:
        """A submit leaves: it is of the manifest as it is now, or of an output of a job that the
        manifest has now.
        """
        assert self.stages is not None
        assets = self.around.world.assets
        asset = next((each for each in assets if each.asset_id == params.get("image.image")), None)
        digest = None if asset is None else str(asset.metadata.get("cb_sha256"))
        if not self.stages.are_from_the_present(prompt(params), digest, self.around.ours()):
            self.complain(
                f"{prompt(params)!r} was submitted from an output "
                "that the manifest no longer leads to"
            )

    def _check_order(self, word: str, jobs: list[Job], most: int) -> None:
        """A further attempt is bought only after the failure of one before, and never after a
        hopeless one."""
        for place, job in enumerate(jobs):
            earlier = jobs[:place]
            open_ends = sum(
                not (e.error_code and e.finished_at <= job.submitted_at)
                and not self._may_be_bought_again(e)
                for e in earlier
            )
            if open_ends >= most:
                self.complain(f"{word!r} was bought again before the attempt before had failed")
            hopeless = sum(e.error_code in HOPELESS_CODES for e in earlier)
            if hopeless >= most and not self._retries:
                self.complain(f"{word!r} was bought again after a hopeless failure")

    def _may_be_bought_again(self, job: Job) -> bool:
        """Whether a run was told to buy what a lost directory had bought, since its key is known
        with another image."""
        return self._resubmits > 0 and job.idempotency_key in self.around.requests.conflicts

    # -- money

    def _check_books(self, finished: Finished) -> None:
        """Our books never show less than was taken, but for what nobody could foresee of what is
        still in doubt."""
        if self.purse.begin:
            return
        sums, books = self.purse.taken(), finished.head.credits
        taken = sums["reserve"] - sums["refund"] + sums["upload"] - sums["rebate"]
        if books.spent + books.held + self.purse.stakes.unheard < taken:
            self.complain(
                f"the report shows {books.spent} spent and {books.held} held where {taken} are gone"
            )
        # One that was lost counts as spent until it is known again.
        maybe = self.purse.keys_of(self.around.requests.ever_lost)
        most = self.purse.named("consume") + self.purse.named("reserve", of=maybe)
        if books.jobs > most:
            self.complain(f"the report says {books.jobs} for jobs where {most} were consumed")
        shown = sum(self.purse.refunds_shown().values(), ZERO)
        if books.refunded > shown:
            self.complain(
                f"the report says {books.refunded} refunded where the ledger has listed {shown}"
            )
        budget = books.budget
        over = ZERO if budget is None else max(ZERO, books.spent + books.held - budget)
        if books.over_budget != over:
            self.complain(f"the report's over_budget is {books.over_budget}, not {over}")

    def _check_final_books(self, last: Finished) -> None:
        books, sums = last.head.credits, self.purse.taken()
        ever_lost = self.around.requests.ever_lost
        doubtful = [
            e
            for _, e in last.events
            if isinstance(e, Lost)
            or (isinstance(e, Created) and e.assumed)
            # Restored from its receipt alone, it counts at the highest price of all receipts.
            or (isinstance(e, Accepted) and e.reused and e.job_id in ever_lost)
        ]
        if last.left.in_doubt:  # it is not sent again, and keeps its hold
            return
        due = self.purse.refunds_due()
        awaited = sum(self.purse.failed_charges().values(), ZERO) - sum(due.values(), ZERO)
        if books.held > awaited and not doubtful and not last.head.counts.unknown:
            self.complain(
                f"{books.held} stay held although everything is settled "
                f"but for refunds of {awaited}"
            )
        if self.purse.begin or last.head.counts.unknown or self.around.requests.lost_jobs:
            return
        # What the ledger takes beyond all that was named, nobody can know; nor the end of a job
        # that was lost, and that the manifest has no longer: it is not asked for again, and counts
        # as paid. It may not have ended yet.
        lost, named = last.left.lost, self.purse.named
        unended = named("reserve", of=lost) - named("consume", of=lost)
        if books.jobs != (paid := named("consume") + unended):
            self.complain(f"the report says {books.jobs} for jobs; {paid} were named")
        refunded = sum((credits for key, credits in due.items() if key not in lost), ZERO)
        if books.refunded < refunded:
            self.complain(f"the report says {books.refunded} refunded; {refunded} were listed")
        if not doubtful and books.uploads != sums["upload"]:
            self.complain(
                f"the report says {books.uploads} for uploads; the world took {sums['upload']}"
            )
        if books.rebates > sums["rebate"]:
            self.complain(
                f"the report says {books.rebates} rebated; the world gave {sums['rebate']}"
            )

    # -- results

    def _check_files(self, finished: Finished) -> None:
        directory = finished.directory
        jobs = {job.job_id: job for job in self.around.world.jobs}
        for row in finished.rows:
            if row.status != "succeeded":
                continue
            job = jobs[row.job_id or ""]
            if marker(job) != row.prompt or job.status(true_now()) != "succeeded":
                self.complain(f"{row.name} is said to have succeeded and did not")
            numbers, all_numbers = (
                [output.index for output in row.outputs],
                list(range(len(job.outputs))),
            )
            unread = bool(numbers) and job.job_id in self.around.requests.ever_lost
            if numbers != (all_numbers[: len(numbers)] if unread else all_numbers):
                self.complain(f"{row.name} has outputs {numbers} of {len(job.outputs)}")
            for output in row.outputs:
                path = directory / output.path
                if (
                    str(path.relative_to(directory)) in self.removed
                    and not path.is_file()
                    and finished.exit_code in _CUT_SHORT
                ):
                    continue  # the run has ended before it could fetch the file again
                if not path.is_file() or path.read_bytes() != content(job, output.index):
                    self.complain(f"{output.path} is not what the gateway made")
                elif hashlib.sha256(path.read_bytes()).hexdigest() != output.sha256:
                    self.complain(f"{output.path} has another digest than the report says")
        if not finished.was_interrupted and (left := list(directory.rglob(f"{TEMPORARY_PREFIX}*"))):
            self.complain(f"temporary files are left: {[path.name for path in left]}")

    def _check_exit_code(self, finished: Finished) -> None:
        # A job whose source has failed counts as one that has failed itself.
        statuses = {"failed" if is_by_source(row) else row.status for row in finished.rows}
        refused = (
            self.around.weather.fired["401"] > self._refused_before and finished.exit_code == 3
        )
        if finished.was_interrupted:
            expected = 130
        elif refused:
            expected = 3
        elif statuses & {"pending", "unknown"} or self._was_unserved(finished, statuses):
            expected = 5
        elif "blocked" in statuses:
            expected = 4
        elif "failed" in statuses:
            expected = 1
        else:
            expected = 0
        if finished.exit_code != expected:
            self.complain(
                f"exit code {finished.exit_code} where {sorted(statuses)} call for {expected}"
            )

    def _was_unserved(self, finished: Finished, statuses: set[str]) -> bool:
        """Whether 5 is right where no job is left to be done: it goes first where the gateway could
        not be used, or time was up while a failed job, or one that the manifest has no longer, was
        still waited for, or a lost file was fetched again."""
        anything_went_wrong = self.around.weather.felt > self._felt_before
        # One that was lost, is known again and has not ended within its timeout is failed until it
        # has.
        lost = {
            row.job_id
            for row in finished.rows
            if row.error is not None and row.error.code == "LOST_BY_GATEWAY"
        }
        is_awaited = bool(lost - self.around.requests.lost_jobs)
        # Five in a row that were just accepted and have no record: what the next would cost can't
        # be known.
        stop = finished.head.stops.get("*")
        is_unread = stop is not None and stop.code == "JOB_NOT_FOUND" and len(lost) >= 5
        is_time_up = true_now() >= self._deadline - _CLOCK_ERROR_S
        was_cut_short = anything_went_wrong or is_awaited or is_unread or is_time_up
        is_for_a_reason = (
            statuses != {"succeeded"}
            or bool(finished.left.unfinished)
            or (is_time_up and self._fetches_again)
            or finished.head.credits.held > ZERO  # an upload in doubt that could not be looked for
        )
        return finished.exit_code == 5 and is_for_a_reason and was_cut_short

    def _why_not(self, row: JobRow, last: Finished) -> str | None:
        """Why a job has not succeeded in clear weather; None where there is a good reason."""
        code = row.error.code if row.error else ""
        # It was bought for an asset that is gone, by a directory that is gone: its key takes no
        # other one.
        orphaned = code == "IDEMPOTENCY_KEY_REUSED" and bool(row.images) and self.purse.begin > 0
        match row.status:
            case "succeeded":
                return None
            case "blocked" if is_by_source(row):
                return None if self.stages is None else why_not_by_source(row, last.rows)
            case "failed":
                moderated = "nsfw" in (row.prompt or "") and code in HOPELESS_CODES
                lost = row.job_id in self.around.requests.lost_jobs
                # At its path is the output of the draft's former prompt, of which the journal was
                # lost, or which a killed run had not journalled, and the gateway has lost its job.
                is_unknown = self.purse.begin > 0 or bool(self.around.requests.ever_lost)
                is_taken = code == "OUTPUT_EXISTS" and self.stages is not None and is_unknown
                return (
                    None
                    if moderated or lost or orphaned or is_taken
                    else "nothing stood in its way"
                )
            case "unknown" if orphaned or _is_refused_in_doubt(row):
                return None
            case "blocked" if self._may_not_go_alone(row, last):
                return None
            case "blocked" if self.scenario.terms.upload_ceiling is None and _uploads_are_uncounted(
                last
            ):
                return None
            case "blocked" | "unknown":
                return (
                    None
                    if any(self._is_short(other, last) for other in last.rows)
                    else "the credits were there"
                )
            case _:
                return (
                    None
                    if self.purse.warned(self.scenario.terms.ceiling)
                    else "nothing may stay pending"
                )

    def _is_short(self, row: JobRow, last: Finished) -> bool:
        """Whether budget, ceiling or account really don't reach for a job that is left, and its
        image.

        One for which they don't ends the buying: the order of the manifest goes before the last
        credit.
        """
        if row.status not in {"blocked", "unknown"} or is_by_source(row):
            return False
        world, ceiling = self.around.world, self.scenario.terms.ceiling
        upload_ceiling = self.scenario.terms.upload_ceiling
        if self.purse.warned(ceiling) or (
            upload_ceiling is not None and self.purse.upload_price() > upload_ceiling
        ):
            return True
        price = self.purse.price_of(row.name)
        if ceiling is not None and price > ceiling:
            return True
        upload = max(self.purse.upload_price(), upload_ceiling or ZERO)
        need = max(price, ceiling or ZERO) + (upload if row.images else ZERO)
        left = _left(last)
        totals, _ = world.credits(self.around.account_id, true_now())
        return (left is not None and left <= need) or totals.available <= need

    def _may_not_go_alone(self, row: JobRow, last: Finished) -> bool:
        """Whether a submit that went alone is in doubt for good, and this job or one alike could
        only go alone as well.

        Each of the two may cost more than is left for it, and the budget is exceeded by one price
        at most.
        """
        left = _left(last)
        in_doubt = {
            other.idempotency_key for other in last.rows if other.status == "unknown"
        } | last.left.in_doubt
        if left is None or not any(
            self.purse.stakes.went_alone(key, _uploads_for(key, last)) for key in in_doubt
        ):
            return False
        blocked = [
            other for other in last.rows if other.status == "blocked" and not is_by_source(other)
        ]
        alike = (other for other in blocked if other.workflow_id == row.workflow_id)
        bounds = (
            self.purse.bound_of(other.name, images=len(set(other.images.values())))
            for other in alike
        )
        return any(bound is None or bound > left for bound in bounds)

    def _check_leftovers(self, last: Finished) -> None:
        """An asset of ours that stays pending is one whose intent was lost, or waits for a job that
        isn't done."""
        lost = {event.nonce for _, event in last.events if isinstance(event, Lost)}
        undone = {
            sha256
            for row in last.rows
            if row.status != "succeeded"
            for sha256 in row.images.values()
        }
        for asset in self.around.world.assets:
            nonce = asset.metadata.get("cb_nonce")
            pending = nonce is not None and asset.status(true_now()) == "pending_upload"
            sha256 = asset.metadata.get("cb_sha256")
            # The image of a job of a later stage that is not wanted any more, since its source has
            # changed.
            is_unwanted = self.stages is not None and not any(
                sha256 in row.images.values() for row in last.rows
            )
            explained = nonce in lost or sha256 in undone or is_unwanted or self.purse.begin > 0
            if pending and not explained:
                self.complain(f"an asset of ours is left pending since {asset.created_at}")


def _left(last: Finished) -> Decimal | None:
    """What the books leave of the budget; None where there is none."""
    books = last.head.credits
    return None if books.budget is None else books.budget - books.spent - books.held


def _uploads_for(key: str | None, last: Finished) -> list[str]:
    """The nonces of the uploads that were paid with the credits held for an attempt's job."""
    payers = {
        subject for subject, event in last.events if isinstance(event, Held) and event.key == key
    }
    return [
        event.nonce
        for _, event in last.events
        if isinstance(event, Intended) and event.payer in payers
    ]


def _is_refused_in_doubt(row: JobRow) -> bool:
    """Whether it was sent in doubt, and again with an asset that is gone: a refusal proves nothing,
    its hold stays.
    """
    return (
        row.status == "unknown"
        and bool(row.images)
        and row.error is not None
        and row.error.code == "INVALID_PARAMS"
    )


def _uploads_are_uncounted(last: Finished) -> bool:
    """Whether two uploads were never answered, and no answer has named the price of one: no other
    is bought then.
    """
    created = [event for _, event in last.events if isinstance(event, Created)]
    lost = sum(isinstance(event, Lost) for _, event in last.events) + sum(
        event.assumed for event in created
    )
    return lost >= 2 and all(event.assumed or not event.credits for event in created)
