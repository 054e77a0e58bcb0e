"""The credit ledger: rows are appended, never changed, and each row carries the totals that it leaves behind."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from crucible_batch.sandbox.config import SandboxConfig
from crucible_batch.sandbox.faults import Faults
from crucible_batch.sandbox.records import Asset, Entry, EntryType, Ids, Job, Record, RefusedError

ZERO = Decimal(0)

# What one credit of each type does to (balance, reserved). The available credits are their difference.
EFFECTS: dict[EntryType, tuple[int, int]] = {
    "grant": (+1, 0),
    "reserve": (0, +1),
    "consume": (-1, -1),
    "refund": (0, -1),
    "upload": (-1, 0),
    "rebate": (+1, 0),
}


@dataclass(frozen=True, slots=True)
class Totals:
    """What an account has, and how much of it is promised to jobs under way."""

    balance: Decimal = ZERO
    reserved: Decimal = ZERO

    @property
    def available(self) -> Decimal:
        return self.balance - self.reserved

    def after(self, entry_type: EntryType, amount: Decimal) -> "Totals":
        on_balance, on_reserved = EFFECTS[entry_type]
        return Totals(self.balance + on_balance * amount, self.reserved + on_reserved * amount)


class Ledger:
    """All entries of all accounts, oldest first."""

    def __init__(self, ids: Ids, changes: list[Record], entries: Iterable[Entry] = ()) -> None:
        self._ids = ids
        self._changes = changes
        self._entries = list(entries)
        self._totals = {e.account_id: Totals(e.balance_after, e.reserved_after) for e in self._entries}

    @property
    def entries(self) -> tuple[Entry, ...]:
        return tuple(self._entries)

    def totals(self, account_id: str) -> Totals:
        """Sum up one account; an unknown one has nothing."""
        return self._totals.get(account_id, Totals())

    def recent(self, account_id: str, limit: int) -> list[Entry]:
        """List the newest rows of an account, newest first."""
        found: list[Entry] = []
        for entry in reversed(self._entries):
            if len(found) == limit:
                break
            if entry.account_id == account_id:
                found.append(entry)
        return found

    def require(self, account_id: str, price: Decimal) -> None:
        """Raise RefusedError (402) unless the account can pay `price`."""
        available = self.totals(account_id).available
        if price > available:
            raise RefusedError(
                402,
                "INSUFFICIENT_CREDITS",
                f"This costs {price} credits; {available} are available.",
                "Wait for running jobs to settle, or add credits.",
            )

    def post(
        self,
        account_id: str,
        entry_type: EntryType,
        amount: Decimal,
        now: float,
        *,
        description: str,
        job_id: str | None = None,
        asset_id: str | None = None,
    ) -> Entry:
        """Append one row. Whether the account can pay is not checked here, but by ``require``."""
        totals = self.totals(account_id).after(entry_type, amount)
        entry = Entry(
            self._ids.next(),
            account_id,
            entry_type,
            amount,
            now,
            description,
            job_id,
            asset_id,
            totals.balance,
            totals.reserved,
        )
        self._entries.append(entry)
        self._changes.append(entry)
        self._totals[account_id] = totals
        return entry


@dataclass(frozen=True, slots=True)
class Audit:
    """What the ledger amounts to. `problems` is empty as long as money is conserved.

    What a failed job isn't refunded stays `reserved`.
    """

    entries: int
    balance: Decimal
    reserved: Decimal
    available: Decimal
    lowest_available: Decimal
    spent_on_jobs: Decimal
    spent_on_uploads: Decimal
    problems: tuple[str, ...]


def audit(entries: Sequence[Entry], jobs: Iterable[Job], assets: Iterable[Asset]) -> Audit:
    """Add up all rows of the ledger, and compare the result with the totals in them, the jobs and the assets."""
    totals: dict[str, Totals] = defaultdict(Totals)
    sums: dict[str, Decimal] = defaultdict(Decimal)
    lows: list[Decimal] = []
    problems: list[str] = []
    posted: dict[str | None, list[tuple[EntryType, Decimal]]] = defaultdict(list)
    for entry in entries:
        after = totals[entry.account_id] = totals[entry.account_id].after(entry.entry_type, entry.amount)
        sums[entry.entry_type] += entry.amount
        lows.append(after.available)
        if after != Totals(entry.balance_after, entry.reserved_after):
            problems.append(f"entry {entry.entry_id} carries totals that don't follow from the rows before it")
        if min(after.available, after.reserved) < 0:
            problems.append(f"entry {entry.entry_id} leaves less than nothing")
        posted[entry.job_id or entry.asset_id].append((entry.entry_type, entry.amount))
    posted.pop(None, None)  # grants
    keys: Counter[tuple[str, str]] = Counter()
    for job in jobs:
        due = [("reserve", job.price)]
        if job.settled and job.last_entry is not None:
            due.append(job.last_entry)
        if posted.pop(job.job_id, []) != due:
            problems.append(f"job {job.job_id} was not booked as reserve, then one consume or refund, as is due")
        if job.idempotency_key is not None:
            keys[job.account_id, job.idempotency_key] += 1
    problems += [f"{count} jobs share one idempotency key" for count in keys.values() if count > 1]
    for asset in assets:
        match posted.pop(asset.asset_id, []):
            case [("upload", charge)] if charge == asset.charged and asset.deleted_at is None:
                pass
            case [("upload", charge), ("rebate", rebate)] if rebate <= charge and asset.deleted_at is not None:
                pass
            case _:
                problems.append(f"asset {asset.asset_id} was not booked as one upload and at most one rebate")
    problems += [f"{subject} has entries but does not exist" for subject in posted]
    balance = sum((t.balance for t in totals.values()), ZERO)
    reserved = sum((t.reserved for t in totals.values()), ZERO)
    return Audit(
        entries=len(entries),
        balance=balance,
        reserved=reserved,
        available=balance - reserved,
        lowest_available=min(lows, default=ZERO),
        spent_on_jobs=sums["consume"],
        spent_on_uploads=sums["upload"] - sums["rebate"],
        problems=tuple(problems),
    )


@dataclass(frozen=True, slots=True)
class WorldContext:
    """Shared by the parts of one world; `changes` grows by each record that is made or replaced."""

    config: SandboxConfig
    faults: Faults
    ids: Ids
    ledger: Ledger
    changes: list[Record]
    began: float
    """When this world began, or was started again."""
