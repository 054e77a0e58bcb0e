"""What each run directory was charged, read from its journal; and which ones can't be counted.

A copy of a run directory has the same purchases as the original, and both may have bought more
since. So what has the number of a job or an image that was counted for the same run is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.prices import PriceBook
from crucible_batch.errors import CrucibleBatchError
from crucible_batch.features.spend.charges import Charge, Charges
from crucible_batch.features.spend.note import noted_tags
from crucible_batch.journal import Binding, Journal
from crucible_batch.runs.run_journal import location_of
from crucible_batch.runs.shard_notes import describe_shards, outstanding_shards

_READ_ERRORS = (CrucibleBatchError, OSError, ValueError)


@dataclass(frozen=True, slots=True)
class RunSpending:
    """What a run directory was charged. ``location`` is its path, or the URL of its outputs.

    ``unanswered`` are credits held for requests that may have been charged; ``found`` is the price
    of jobs that were found at the gateway, which another directory has paid. ``copied`` is the
    number of charges that another directory of the same run has too.
    """

    location: str
    binding: Binding
    tags: tuple[str, ...]
    charges: tuple[Charge, ...]
    unanswered: Credits = ZERO
    found: Credits = ZERO
    copied: int = 0

    @property
    def name(self) -> str:
        return f"{self.binding.manifest_name}/{self.binding.run_id}"


@dataclass(frozen=True, slots=True)
class Remark:
    """What is to be known of a run directory. ``is_missing``: it has charges that don't count."""

    location: str
    reason: str
    is_missing: bool


@dataclass(frozen=True, slots=True)
class _Seen:
    """A run directory as it is found. One that can't be read has no binding, and is read last."""

    path: Path
    binding: Binding | None = None
    events: int = -1

    @classmethod
    def at(cls, path: Path) -> _Seen:
        try:
            with Journal.read(path) as journal:
                return cls(path, journal.binding(), journal.last_number())
        except _READ_ERRORS:
            return cls(path)  # the error is that of the second time


def read_spending(paths: Iterable[Path]) -> Iterator[RunSpending | Remark]:
    """Yield what each run directory was charged, one after the other, and remarks on them.

    Journals are opened for reading only, so runs may be active. What can't be read is remarked.
    """
    # Of copies, the one with most events knows of most refunds.
    seen = sorted(map(_Seen.at, paths), key=lambda each: -each.events)
    copies = Counter(each.binding for each in seen)
    counted: dict[Binding, set[str]] = {}
    for each in seen:
        if each.binding is None or copies[each.binding] == 1:
            yield from _read(each.path, set())
        else:
            yield from _read(each.path, counted.setdefault(each.binding, set()))


def _read(path: Path, counted: set[str]) -> Iterator[RunSpending | Remark]:
    """Yield one directory. ``counted`` are the numbers of charges that count already."""
    try:
        with Journal.read(path) as journal:
            found = _spending_of(journal, path, counted)
            shards = outstanding_shards(journal)
            is_stored = isinstance(location_of(journal, path), str)
    except _READ_ERRORS as error:
        yield Remark(str(path), f"not counted: {_reason(path, error)}", is_missing=True)
        return
    counted.update(charge.number for charge in found.charges)
    yield found
    if shards is not None:
        reason = f"{describe_shards(shards)}: what these have bought counts once they are merged"
        yield Remark(found.location, reason, is_missing=True)
    if is_stored:
        reason = "in an object store: counted as far as this machine's journal has it"
        yield Remark(found.location, reason, is_missing=False)
    if found.copied:
        reason = f"has {found.copied:,} charges that another directory of the same run has too"
        yield Remark(found.location, f"{reason}; they are counted once", is_missing=False)


def _reason(path: Path, error: Exception) -> str:
    if not path.exists():
        return "the directory is gone: what its runs have spent is not known"
    if isinstance(error, CrucibleBatchError):
        return error.message
    return str(error)


def _spending_of(journal: Journal, path: Path, counted: set[str]) -> RunSpending:
    runs = journal.runs()
    prices = PriceBook.of(runs[-1].terms) if runs else PriceBook()
    charges = Charges(Ledger(prices))
    for subject, event in journal.events():
        charges.apply(subject, event)
    found = charges.all()
    own = tuple(charge for charge in found if charge.number not in counted)
    spending = RunSpending(
        location=str(location_of(journal, path)),
        binding=journal.binding(),
        tags=noted_tags(journal),
        charges=own,
        copied=len(found) - len(own),
    )
    if spending.copied:
        return spending  # what the original holds and has found, the copy does too
    return replace(spending, unanswered=charges.unanswered, found=charges.ledger.reused)
