"""The independent count: whether the ledger, the jobs and the assets agree, row by row."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from crucible_batch.sandbox.ledger import ZERO, Totals
from crucible_batch.sandbox.records import Asset, Entry, Job


@dataclass(frozen=True, slots=True)
class Audit:
    """What the ledger amounts to. `problems` is empty as long as money is conserved."""

    entries: int
    balance: Decimal
    reserved: Decimal
    available: Decimal
    lowest_available: Decimal
    spent_on_jobs: Decimal
    spent_on_uploads: Decimal
    problems: tuple[str, ...]


def audit(entries: Sequence[Entry], jobs: Iterable[Job], assets: Iterable[Asset]) -> Audit:
    """Sum the ledger up again from nothing and hold it against the jobs and assets."""
    totals: dict[str, Totals] = defaultdict(Totals)
    sums: dict[str, Decimal] = defaultdict(Decimal)
    lowest: Decimal | None = None
    problems: list[str] = []
    for entry in entries:
        after = totals[entry.account_id].after(entry.entry_type, entry.amount)
        totals[entry.account_id] = after
        sums[entry.entry_type] += entry.amount
        lowest = after.available if lowest is None else min(lowest, after.available)
        if after != Totals(entry.balance_after, entry.reserved_after):
            problems.append(f"entry {entry.entry_id} carries totals that don't follow from the rows before it")
        if min(after.available, after.reserved) < 0:
            problems.append(f"entry {entry.entry_id} leaves less than nothing")
    problems += _job_problems(entries, jobs) + _asset_problems(entries, assets)
    balance = sum((t.balance for t in totals.values()), ZERO)
    reserved = sum((t.reserved for t in totals.values()), ZERO)
    return Audit(
        entries=len(entries),
        balance=balance,
        reserved=reserved,
        available=balance - reserved,
        lowest_available=ZERO if lowest is None else lowest,
        spent_on_jobs=sums["consume"],
        spent_on_uploads=sums["upload"] - sums["rebate"],
        problems=tuple(problems),
    )


def _job_problems(entries: Sequence[Entry], jobs: Iterable[Job]) -> list[str]:
    posted: dict[str, list[tuple[str, Decimal]]] = defaultdict(list)
    for entry in entries:
        if entry.job_id is not None:
            posted[entry.job_id].append((entry.entry_type, entry.amount))
    problems: list[str] = []
    keys: Counter[tuple[str, str]] = Counter()
    for job in jobs:
        due = [("reserve", job.price)]
        if job.settled:
            due.append(("refund" if job.error_code else "consume", job.price))
        if posted.pop(job.job_id, []) != due:
            problems.append(f"job {job.job_id} was not booked as reserve, then one consume or refund of its price")
        if job.idempotency_key is not None:
            keys[job.account_id, job.idempotency_key] += 1
    problems += [f"job {job_id} has entries but does not exist" for job_id in posted]
    problems += [f"{count} jobs share one idempotency key" for count in keys.values() if count > 1]
    return problems


def _asset_problems(entries: Sequence[Entry], assets: Iterable[Asset]) -> list[str]:
    posted: dict[str, list[tuple[str, Decimal]]] = defaultdict(list)
    for entry in entries:
        if entry.asset_id is not None:
            posted[entry.asset_id].append((entry.entry_type, entry.amount))
    problems: list[str] = []
    for asset in assets:
        match posted[asset.asset_id]:
            case [("upload", charge)] if charge == asset.charged and asset.deleted_at is None:
                pass
            case [("upload", charge), ("rebate", rebate)] if rebate <= charge and asset.deleted_at is not None:
                pass
            case _:
                problems.append(f"asset {asset.asset_id} was not booked as one upload and at most one rebate")
    return problems
