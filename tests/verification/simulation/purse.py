"""The purse: tells the stakes (``stakes.py``) what leaves, what comes back, what is durable and
what the ledger took.

Of our journal only the kinds of its rows are looked at: that one is there shows that an answer was
heard. Its amounts are not, but those that the gateway named and those of the world's own ledger.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from crucible_batch.core.events import Held, Intended
from crucible_batch.core.plan import PlannedJob
from crucible_batch.journal import Journal
from crucible_batch.sandbox.jobs import Order
from crucible_batch.sandbox.records import Asset, Entry, Job
from tests.harness.sandbox_audit import price_in
from tests.verification.simulation.left_jobs import LEDGER_KINDS
from tests.verification.simulation.mortality import Stage
from tests.verification.simulation.pauses import Pauses
from tests.verification.simulation.stakes import UPLOAD, Stakes, Wish
from tests.verification.simulation.surroundings import STRANGER, Surroundings, marker
from tests.verification.simulation.virtual_time import true_now

ZERO = Decimal(0)
_NO_PART_OF_A_SHAPE = ("prompt.", "sampler.seed", "image.")


def shape(workflow_id: str, params: Mapping[str, object]) -> str:
    """Name the workflow and the parameters without prompt, seed and images."""
    shaping = {
        name: value for name, value in params.items() if not name.startswith(_NO_PART_OF_A_SHAPE)
    }
    return f"{workflow_id} {sorted(shaping.items())}"


@dataclass
class Purse:
    """Watches one seed's money. Rows of the ledger before ``begin`` are another run directory's."""

    around: Surroundings
    stakes: Stakes
    pauses: Pauses
    jobs: dict[str, PlannedJob]
    """The jobs that are or were wanted, by identity.

    Of those with one name the last is the newest.
    """
    begin: int = 0
    _checked: int = 0
    _durable_keys: set[str] = field(default_factory=set)
    _keys: dict[str, str] = field(default_factory=dict)
    """The newest key of each job, and the newest nonce of each image, by subject."""
    _attempts: dict[tuple[str, int], str] = field(default_factory=dict)
    """The key of each attempt of a job."""
    _failed: set[str] = field(default_factory=set)
    """The keys of attempts of which our books know that they have failed."""
    _shown: set[str] = field(default_factory=set)
    """The entries of the ledger that were ever listed to us."""
    _due_of_process: set[str] = field(default_factory=set)
    _due: set[str] = field(default_factory=set)
    """The refunds that were listed to a run that came to its end, after it knew of the failure."""

    # -- what the simulation tells

    def opened(self, journal: Journal) -> None:
        """A process reads what is durable: that is what the file holds, not what an earlier process
        believed.
        """
        self._durable_keys.clear()
        self._failed.clear()
        self._due_of_process.clear()
        self.stakes.forget()
        for subject, event in journal.events():
            match event:
                case Held(key=key) | Intended(nonce=key):
                    self._durable_keys.add(key)
                    self._keys[subject] = key
                    if isinstance(event, Held):
                        self._attempts[subject, event.attempt] = key
                    self.stakes.held(self._wish(subject, key))
                case _ if type(event).__name__ in LEDGER_KINDS:
                    self._heard_of_refund(subject, getattr(event, "attempt", 0))
                case _:
                    self._heard(subject, type(event).__name__, getattr(event, "assumed", False))
        self.stakes.told_all()

    def watch(self, stage: Stage, subject: str, kind: str, body: dict[str, Any]) -> None:
        """Follow a row of the journal on its way."""
        match stage, kind:
            case Stage.DURABLE, "Held":
                self._durable_keys.add(body["key"])
            case Stage.KNOWN, "Held" | "Intended":
                self._keys[subject] = body["key" if kind == "Held" else "nonce"]
                if kind == "Held":
                    self._attempts[subject, body["attempt"]] = body["key"]
            case Stage.KNOWN, _ if kind in LEDGER_KINDS:
                self._heard_of_refund(subject, body["attempt"])
            case Stage.KNOWN, _:
                self._heard(subject, kind, bool(body.get("assumed")))
            case _:
                pass

    def _heard(self, subject: str, kind: str, assumed: bool) -> None:
        """Our books know what became of a purchase. What it costs is what the gateway named."""
        if (key := self._keys.get(subject)) is None:
            return
        match kind:
            case "Accepted":
                self.stakes.heard(key, self._job(key).answered_price)
            case "SubmitUnknown":
                self.stakes.came_to_nothing(key)
            case "Repriced" | "Succeeded":
                self.stakes.heard(key, self._job(key).recorded_price)
            case "Failed":
                self.stakes.heard(key, self._job(key).recorded_price)
                self._failed.add(key)
            case "HoldReleased" | "Refused" | "NotCreated":
                self.stakes.refused(key)
            case "Created" if not assumed:
                self.stakes.heard(key, self._asset(key).charged)
            case "Created" | "Lost":
                self.stakes.given_up(key)
            case "Deleted":
                self.stakes.returned(key, self._rebate(key))
            case _:
                pass
        if kind in ("Lost", "Deleted"):
            del self._keys[subject]  # what is refused later is another upload, or none

    def _heard_of_refund(self, subject: str, attempt: int) -> None:
        """Our books say that a refund was seen: what has come back is what the world's ledger has
        listed to us.
        """
        key = self._attempts.get((subject, attempt))
        if key is not None:
            shown = (row for row in self._refunds(self._shown) if self._key_of(row) == key)
            self.stakes.returned_in_all(key, sum((row.amount for row in shown), ZERO))

    def shown(self, entry_ids: Collection[str]) -> None:
        """The list of the ledger has come back from the port."""
        self._shown.update(entry_ids)
        rows = self._refunds(entry_ids)
        self._due_of_process |= {row.entry_id for row in rows if self._key_of(row) in self._failed}

    def ended(self) -> None:
        """A process came to its end: what it was shown is in its books."""
        self._due |= self._due_of_process

    def sent(self, key: str, workflow_id: str, params: Mapping[str, object]) -> bool:
        """A submit leaves; returns whether it is a new one."""
        self.check_rows()
        return self.stakes.sent(Wish(key, workflow_id, shape(workflow_id, params)))

    def sent_upload(self, nonce: str) -> bool:
        """An upload's intent leaves; returns whether it is a new one."""
        self.check_rows()
        return self.stakes.sent(Wish(nonce, UPLOAD, UPLOAD))

    def hold_is_durable(self, key: str) -> bool:
        return key in self._durable_keys

    def past_is_lost(self) -> None:
        """The run directory was deleted or an old copy put back: what it bought since is not in its
        books.
        """
        self.check_rows()
        self.begin = len(self.around.world.entries)
        self._due.clear()
        self.stakes.past_is_lost()

    # -- what the world knows

    def _wish(self, subject: str, key: str) -> Wish:
        planned = self.jobs.get(subject)
        if planned is None:
            return Wish(key, UPLOAD, UPLOAD)
        return Wish(key, planned.workflow_id, shape(planned.workflow_id, planned.params))

    def _job(self, key: str) -> Job:
        return next(job for job in self.around.world.jobs if job.idempotency_key == key)

    def _asset(self, nonce: str) -> Asset:
        return next(
            asset for asset in self.around.world.assets if asset.metadata.get("cb_nonce") == nonce
        )

    def _rebate(self, nonce: str) -> Decimal:
        rows = (row for row in self.around.world.entries if row.entry_type == "rebate")
        return sum((row.amount for row in rows if self._key_of(row) == nonce), ZERO)

    def _key_of(self, entry: Entry) -> str | None:
        """The key or the nonce of a row of ours; None where it is a stranger's."""
        if entry.job_id is not None:
            job = self.around.world.jobs.find(entry.job_id)
            return None if marker(job).startswith(STRANGER) else job.idempotency_key
        asset = self.around.world.assets._assets.get(entry.asset_id or "")
        if asset is None:
            return None
        return asset.metadata.get("cb_nonce")  # type: ignore[return-value]

    # -- what holds

    def check_rows(self) -> None:
        """Walk the new rows of the world's ledger: what is gone and promised stays within what is
        stated.
        """
        entries = self.around.world.entries
        for entry in entries[self._checked :]:
            key = self._key_of(entry)
            if key is None:
                continue
            row = f"{entry.entry_type} ({entry.description})"
            match entry.entry_type:
                case "reserve" | "upload":
                    self.pauses.charged(key, entry.created_at, row)
                    self.stakes.charged(key, entry.amount, row)
                case "refund" | "rebate":
                    self.stakes.charged(key, -entry.amount, row)
                case _:
                    pass
        self._checked = len(entries)

    def taken(self) -> dict[str, Decimal]:
        """What the world took of this run directory, by kind."""
        self.around.world.jobs.settle(true_now())
        sums: dict[str, Decimal] = defaultdict(Decimal)
        for entry in self.around.world.entries[self.begin :]:
            if entry.entry_type != "grant" and self._key_of(entry) is not None:
                sums[entry.entry_type] += entry.amount
        return sums

    def named(self, kind: str, of: Collection[str] | None = None) -> Decimal:
        """What the gateway named, at its highest, for the jobs that the ledger booked as ``kind``.

        ``of``: only for those with these keys.
        """
        jobs = self.around.world.jobs
        rows = (row for row in self.around.world.entries[self.begin :] if row.entry_type == kind)
        keyed = ((row, self._key_of(row)) for row in rows)
        ours = (
            jobs.find(row.job_id or "")
            for row, key in keyed
            if key is not None and (of is None or key in of)
        )
        return sum((max(job.answered_price, job.recorded_price) for job in ours), ZERO)

    def refunds_due(self) -> dict[str, Decimal]:
        """The least that our books have to show as refunded, by key: what runs were shown, and what
        is listed now.
        """
        _, listed = self.around.world.credits(self.around.account_id, true_now())
        return self._refunded(self._due | {row.entry_id for row in listed})

    def refunds_shown(self) -> dict[str, Decimal]:
        """The most that our books may show as refunded, by key: what was ever listed to us."""
        return self._refunded(self._shown)

    def failed_charges(self) -> dict[str, Decimal]:
        """What the gateway named, at its highest, for each of our jobs that has failed, by key."""
        jobs = self.around.world.jobs
        rows = (row for row in self.around.world.entries if row.entry_type == "reserve")
        ours = ((self._key_of(row), jobs.find(row.job_id or "")) for row in rows)
        return {
            key: max(job.answered_price, job.recorded_price)
            for key, job in ours
            if key is not None and job.status(true_now()) == "failed"
        }

    def keys_of(self, job_ids: Collection[str]) -> set[str]:
        return {str(job.idempotency_key) for job in self.around.world.jobs if job.job_id in job_ids}

    def _refunded(self, entry_ids: Collection[str]) -> dict[str, Decimal]:
        """What these refunds give back, at most what was named."""
        named, found = self.failed_charges(), dict[str, Decimal]()
        for row in self._refunds(entry_ids):
            key = self._key_of(row)
            if key is not None:
                found[key] = min(named.get(key, ZERO), found.get(key, ZERO) + row.amount)
        return found

    def _refunds(self, entry_ids: Collection[str]) -> list[Entry]:
        rows = self.around.world.entries
        return [row for row in rows if row.entry_type == "refund" and row.entry_id in entry_ids]

    def price_of(self, name: str) -> Decimal:
        """What a job may cost as far as can be seen: what its workflow's jobs did at most, and what
        it would now.
        """
        world, planned = (
            self.around.world,
            next(job for job in reversed(self.jobs.values()) if job.name == name),
        )
        alike = [job for job in world.jobs if job.workflow_id == planned.workflow_id]
        paid = [max(job.price, job.answered_price, job.recorded_price) for job in alike]
        order = Order(planned.workflow_id, planned.params, None)
        return max([price_in(world, self.around.account_id, order, true_now()), *paid])

    def upload_price(self) -> Decimal:
        """What an upload may cost: the highest that one did, and what it would now."""
        assets = self.around.world.assets
        return max([assets.price(true_now()), *(asset.charged for asset in assets)])

    def bound_of(self, name: str, *, images: int) -> Decimal | None:
        """The most that a job and its images may cost by what was heard; None where nothing bounds
        it."""
        identity = next(
            identity for identity, job in reversed(self.jobs.items()) if job.name == name
        )
        job = self.stakes.bound(self._wish(identity, ""))
        upload = self.stakes.bound(Wish("", UPLOAD, UPLOAD)) if images else ZERO
        return None if job is None or upload is None else job + upload * images

    def answers(self) -> dict[str, list[Decimal]]:
        """What our jobs were answered to cost, in the order of their submits, by shape."""
        figures: dict[str, list[Decimal]] = defaultdict(list)
        for job in self.around.world.jobs:
            if not marker(job).startswith(STRANGER):
                figures[shape(job.workflow_id, job.params)].append(job.answered_price)
        return figures

    def warned(self, ceiling: Decimal | None) -> bool:
        """Whether a figure was named above the ceiling, or above what a surge would allow."""
        for job in (job for jobs in self.around.ours().values() for job in jobs):
            most = ceiling if ceiling is not None else 16 * job.answered_price
            if max(job.answered_price, job.recorded_price) > most:
                return True
        return False


def purse_of(
    around: Surroundings,
    jobs: dict[str, PlannedJob],
    ceilings: tuple[Decimal | None, Decimal | None],
    complain: Callable[[str], None],
) -> Purse:
    """Make the purse of a seed; ``ceilings`` are those of a job and of an upload."""
    return Purse(around, Stakes(*ceilings, complain), Pauses(complain), jobs)
