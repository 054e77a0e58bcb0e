"""The credit ledger.

Rows are appended, never changed, and each row carries the totals that it leaves behind.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from crucible_batch.sandbox.config import SandboxConfig
from crucible_batch.sandbox.faults import Faults
from crucible_batch.sandbox.records import Entry, EntryType, Ids, Record, RefusedError

ZERO = Decimal(0)

# What one credit of each type does to (balance, reserved). The available credits are their
# difference.
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
        self._totals = {
            e.account_id: Totals(e.balance_after, e.reserved_after) for e in self._entries
        }

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
class WorldContext:
    """Shared by the parts of one world; `changes` grows by each record that is made or replaced."""

    config: SandboxConfig
    faults: Faults
    ids: Ids
    ledger: Ledger
    changes: list[Record]
    began: float
    """When this world began, or was started again."""
