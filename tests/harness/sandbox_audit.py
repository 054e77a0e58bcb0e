"""The audit of the sandbox's ledger: all rows added up, and held against its jobs and assets."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from typing import Any, TypeVar

from crucible_batch.sandbox.jobs import Order
from crucible_batch.sandbox.ledger import ZERO, Totals
from crucible_batch.sandbox.records import Asset, Entry, EntryType, Job
from crucible_batch.sandbox.world import World

RecordT = TypeVar("RecordT", Entry, Job, Asset)
_AMOUNTS = frozenset({"amount", "balance_after", "reserved_after", "price", "refund", "charged"})


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
    """Add up all rows of the ledger, and compare the result with the totals in them, the jobs and
    the assets."""
    totals: dict[str, Totals] = defaultdict(Totals)
    sums: dict[str, Decimal] = defaultdict(Decimal)
    lows: list[Decimal] = []
    problems: list[str] = []
    posted: dict[str | None, list[tuple[EntryType, Decimal]]] = defaultdict(list)
    for entry in entries:
        after = totals[entry.account_id] = totals[entry.account_id].after(
            entry.entry_type, entry.amount
        )
        sums[entry.entry_type] += entry.amount
        lows.append(after.available)
        if after != Totals(entry.balance_after, entry.reserved_after):
            problems.append(
                f"entry {entry.entry_id} carries totals that don't follow from the rows before it"
            )
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
            problems.append(
                f"job {job.job_id} was not booked as reserve, then one consume or refund, as is due"
            )
        if job.idempotency_key is not None:
            keys[job.account_id, job.idempotency_key] += 1
    problems += [f"{count} jobs share one idempotency key" for count in keys.values() if count > 1]
    for asset in assets:
        match posted.pop(asset.asset_id, []):
            case [("upload", charge)] if charge == asset.charged and asset.deleted_at is None:
                pass
            case [("upload", charge), ("rebate", rebate)] if (
                rebate <= charge and asset.deleted_at is not None
            ):
                pass
            case _:
                problems.append(
                    f"asset {asset.asset_id} was not booked as one upload and at most one rebate"
                )
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


def audit_world(world: World, now: float) -> Audit:
    """Settle what is due in a world, and audit it."""
    world.jobs.settle(now)
    return audit(world.entries, world.jobs, world.assets)


def price_in(world: World, account_id: str, order: Order, now: float) -> Decimal:
    """Return what an order would cost now.

    Raises RefusedError as `submit` does, but for lack of credits.
    """
    return world.jobs.price(world._resolved(account_id, order, now), order.params, now)


def with_audit(state: dict[str, Any]) -> dict[str, Any]:
    """Add the audit to the state of a sandbox, as JSON."""
    found = audit(
        [_record(Entry, row) for row in state["ledger"]],
        [_record(Job, row) for row in state["jobs"]],
        [_record(Asset, row) for row in state["assets"]],
    )
    return {**state, "audit": {**asdict(found), "problems": list(found.problems)}}


def _record(kind: type[RecordT], row: Mapping[str, Any]) -> RecordT:
    given = {each.name: row[each.name] for each in fields(kind)}
    amounts = {
        name: Decimal(str(given[name])) for name in _AMOUNTS & set(given) if given[name] is not None
    }
    return kind(**{**given, **amounts})
