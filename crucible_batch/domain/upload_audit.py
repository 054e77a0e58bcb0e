"""Whether our uploads and the gateway's ledger agree: by asset id if an entry has it, else by amount and time.

The contract gives an entry no asset id. Without one, an upload agrees if the ledger has an entry of its amount and time
that no other upload of ours needs. If another buyer's entry fits as well, the result is ``VAGUE``. A charge or rebate
of 0 needs no entry.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from crucible_batch.domain.audit_claims import (
    Figures,
    Finding,
    LedgerDifference,
    UploadClaim,
    UploadState,
    Verdict,
    may_be_listed_later,
)
from crucible_batch.domain.credits import ZERO, Credits, format_credits
from crucible_batch.domain.gateway_types import LedgerEntry
from crucible_batch.domain.ledger_statement import (
    Clocks,
    EntryKind,
    Statement,
    entry_amount,
    entry_kind,
    may_be_upload,
)


@dataclass(frozen=True, slots=True)
class ExpectedEntry:
    """An expected entry: its amount, and the times of our clock between which it was made.

    ``surely_shown``: it is certainly neither too old nor too new to be shown by the gateway.
    """

    amount: Credits
    begun: float
    ended: float
    surely_shown: bool


@dataclass(frozen=True, slots=True)
class Match:
    """``found`` maps the place of an expected entry to an entry; ``vague`` are places that another entry fits too."""

    found: Mapping[int, LedgerEntry]
    vague: frozenset[int]
    left: tuple[LedgerEntry, ...]


def match_entries(expected: Sequence[ExpectedEntry], entries: Iterable[LedgerEntry], clocks: Clocks) -> Match:
    """Match as many expected entries as possible, each with an entry of its own.

    Greedy: entries in order of time, each to the expected entry whose interval ends first, which is optimal for
    intervals. Those that are surely shown are matched first: otherwise one whose own entry is no longer shown could
    take another's, which would look like a difference.
    """
    groups: dict[Credits, list[int]] = defaultdict(list)
    for place, each in enumerate(expected):
        groups[each.amount].append(place)
    offered: dict[Credits, list[LedgerEntry]] = defaultdict(list)
    for entry in entries:
        offered[entry_amount(entry)].append(entry)
    found: dict[int, LedgerEntry] = {}
    taken: set[int] = set()
    for amount, places in groups.items():
        for surely_shown in (True, False):
            group = {place: expected[place] for place in places if expected[place].surely_shown is surely_shown}
            free = [entry for entry in offered[amount] if id(entry) not in taken]
            assigned = _assign(group, free, clocks)
            taken |= {id(entry) for entry in assigned.values()}
            found |= assigned
    left = tuple(entry for group in offered.values() for entry in group if id(entry) not in taken)
    vague = frozenset(
        place
        for entry in left
        for place in groups.get(entry_amount(entry), ())
        if clocks.may_lie_between(entry.at, expected[place].begun, expected[place].ended)
    )
    return Match(found, vague, left)


def _assign(
    expected: Mapping[int, ExpectedEntry], entries: Sequence[LedgerEntry], clocks: Clocks
) -> dict[int, LedgerEntry]:
    upcoming = sorted(expected, key=lambda place: expected[place].begun, reverse=True)
    open_places: list[tuple[float, int]] = []
    found: dict[int, LedgerEntry] = {}
    timeless = [entry for entry in entries if entry.at is None]
    for entry in sorted((entry for entry in entries if entry.at is not None), key=lambda entry: entry.at or 0.0):
        while upcoming and clocks.may_lie_between(entry.at, expected[upcoming[-1]].begun, float("inf")):
            place = upcoming.pop()
            heapq.heappush(open_places, (expected[place].ended, place))
        while open_places and not clocks.may_lie_between(entry.at, float("-inf"), open_places[0][0]):
            heapq.heappop(open_places)
        if open_places:
            found[heapq.heappop(open_places)[1]] = entry
    missing = [place for place in expected if place not in found]
    return found | dict(zip(missing, timeless, strict=False))


@dataclass(frozen=True, slots=True)
class UploadAudit:
    """``ours`` are the entries that match an upload of ours.

    ``never_charged`` are uploads whose answer was lost and that certainly cost nothing; ``perhaps_charged`` those for
    which an unmatched entry fits. ``perhaps_rebated`` are deletions of unknown rebate for which one fits.
    """

    findings: tuple[Finding, ...]
    ours: tuple[LedgerEntry, ...]
    never_charged: tuple[UploadClaim, ...]
    perhaps_charged: tuple[UploadClaim, ...]
    perhaps_rebated: tuple[UploadClaim, ...]


@dataclass(frozen=True, slots=True)
class _LedgerSide:
    """The ledger's charge or rebate of an upload. ``doubt`` is UNSEEN, VAGUE or None."""

    size: Credits = ZERO
    doubt: Verdict | None = None
    times: int = 0


_NOTHING = _LedgerSide()


class UploadMatching:
    """The matching of our uploads with the entries without a job."""

    def __init__(self, claims: Sequence[UploadClaim], statement: Statement, clocks: Clocks, *, asked_at: float) -> None:
        self._statement = statement
        self._clocks = clocks
        self._asked_at = asked_at
        self.ours: list[LedgerEntry] = []
        self._shown: dict[tuple[int, EntryKind], _LedgerSide] = {}
        unnamed = dict(enumerate(claims))
        for place, claim in enumerate(claims):
            if entries := named(claim, statement):
                del unnamed[place]
                self.ours += entries
                for kind in (EntryKind.UPLOAD, EntryKind.REBATE):
                    sizes = [entry_amount(entry) for entry in entries if entry_kind(entry, of_job=False) is kind]
                    self._shown[place, kind] = _LedgerSide(sum(sizes, ZERO), times=len(sizes))
        self._match(EntryKind.UPLOAD, {place: self._charge(claim) for place, claim in unnamed.items()})
        self._match(EntryKind.REBATE, {place: self._rebate(claim) for place, claim in unnamed.items()})
        for place, claim in unnamed.items():
            if claim.state is UploadState.ASSUMED:
                self._match_assumed(place, claim)

    def shown(self, place: int, kind: EntryKind) -> _LedgerSide:
        return self._shown.get((place, kind), _NOTHING)

    def left(self, kind: EntryKind) -> list[LedgerEntry]:
        """Return the unmatched entries of this kind."""
        taken = {id(entry) for entry in self.ours}
        free = (entry for entry in self._statement.entries if entry.job_id is None and id(entry) not in taken)
        return [entry for entry in free if entry_kind(entry, of_job=False) is kind]

    def candidates(self, claim: UploadClaim) -> list[LedgerEntry]:
        """Return the unmatched charges whose time fits this upload."""
        return self._left_between(EntryKind.UPLOAD, claim.begun_at, claim.answered_at)

    def rebate_candidates(self, claim: UploadClaim) -> list[LedgerEntry]:
        """Return the unmatched rebates whose time fits this deletion."""
        return self._left_between(EntryKind.REBATE, claim.begun_at, claim.deleted_at)

    def _left_between(self, kind: EntryKind, begun: float, ended: float | None) -> list[LedgerEntry]:
        last = begun if ended is None else ended
        return [entry for entry in self.left(kind) if self._clocks.may_lie_between(entry.at, begun, last)]

    def charges_between(self, begun: float, ended: float) -> list[LedgerEntry]:
        """Return the unmatched entries without a job that may be charges, between two times of our clock."""
        found = self.entries_between(begun, ended)
        return [entry for entry in found if entry.job_id is None and may_be_upload(entry)]

    def entries_between(self, begun: float, ended: float) -> list[LedgerEntry]:
        """Return the unmatched entries of any kind, also with a job, between two times of our clock."""
        taken = {id(entry) for entry in self.ours}
        free = (entry for entry in self._statement.entries if id(entry) not in taken)
        return [entry for entry in free if self._clocks.may_lie_between(entry.at, begun, ended)]

    @property
    def has_charges(self) -> bool:
        """Whether the ledger shows a charge of an upload of ours: it lists uploads, and under words that we know."""
        entries = (entry for entry in self.ours if entry.job_id is None)
        return any(entry_kind(entry, of_job=False) is EntryKind.UPLOAD for entry in entries)

    def _charge(self, claim: UploadClaim) -> ExpectedEntry | None:
        if claim.state is not UploadState.KNOWN or claim.charge == ZERO or claim.answered_at is None:
            return None
        return self._expected_entry(claim.charge, claim.begun_at, claim.answered_at)

    def _rebate(self, claim: UploadClaim) -> ExpectedEntry | None:
        if not claim.rebate or claim.deleted_at is None:
            return None
        begun = claim.begun_at if claim.answered_at is None else claim.answered_at
        return self._expected_entry(claim.rebate, begun, claim.deleted_at)

    def _expected_entry(self, amount: Credits, begun: float, ended: float) -> ExpectedEntry:
        surely_shown = ended < self._asked_at and self._clocks.surely_shown(self._statement, begun)
        return ExpectedEntry(amount, begun, ended, surely_shown)

    def _match(self, kind: EntryKind, maybe_expected: Mapping[int, ExpectedEntry | None]) -> None:
        expected = {place: each for place, each in maybe_expected.items() if each is not None}
        match = match_entries(list(expected.values()), self.left(kind), self._clocks)
        for number, (place, each) in enumerate(expected.items()):
            entry = match.found.get(number)
            if entry is not None:
                doubt = Verdict.VAGUE if number in match.vague else None
                self._shown[place, kind] = _LedgerSide(entry_amount(entry), doubt, times=1)
                self.ours.append(entry)
            elif not each.surely_shown:
                self._shown[place, kind] = _LedgerSide(doubt=Verdict.UNSEEN)

    def _match_assumed(self, place: int, claim: UploadClaim) -> None:
        """Match an upload whose answer was lost by its time alone, since its charge is unknown."""
        match self.candidates(claim):
            case [entry]:
                self._shown[place, EntryKind.UPLOAD] = _LedgerSide(entry_amount(entry), times=1)
                self.ours.append(entry)
            case []:
                shown = self._clocks.surely_shown(self._statement, claim.begun_at)
                self._shown[place, EntryKind.UPLOAD] = _NOTHING if shown else _LedgerSide(doubt=Verdict.UNSEEN)
            case _:
                self._shown[place, EntryKind.UPLOAD] = _LedgerSide(doubt=Verdict.VAGUE)


def audit_uploads(
    claims: Sequence[UploadClaim],
    statement: Statement,
    clocks: Clocks,
    *,
    present: Collection[str],
    asked_at: float,
) -> UploadAudit:
    """Compare all upload claims with the statement. ``present`` are the ids of the assets that the gateway lists."""
    matching = UploadMatching(claims, statement, clocks, asked_at=asked_at)
    findings = tuple(
        _finding(
            claim,
            matching.shown(place, EntryKind.UPLOAD),
            matching.shown(place, EntryKind.REBATE),
            present=present,
            asked_at=asked_at,
        )
        for place, claim in enumerate(claims)
        if claim.state is not UploadState.LOST
    )
    never: list[UploadClaim] = []
    perhaps: list[UploadClaim] = []
    for claim in claims:
        if claim.state is not UploadState.LOST or (claim.answered_at or 0.0) >= asked_at:
            continue
        if matching.candidates(claim):
            perhaps.append(claim)
        elif matching.has_charges and clocks.surely_shown(statement, claim.begun_at):
            never.append(claim)
    perhaps_rebated = (claim for claim in claims if claim.rebate == ZERO and matching.rebate_candidates(claim))
    return UploadAudit(findings, tuple(matching.ours), tuple(never), tuple(perhaps), tuple(perhaps_rebated))


def named(claim: UploadClaim, statement: Statement) -> list[LedgerEntry]:
    """Return the entries with the id of an upload's asset."""
    if claim.asset_id is None:
        return []
    return [entry for entry in statement.about(claim.asset_id) if entry.job_id is None]


def _finding(
    claim: UploadClaim, charge: _LedgerSide, rebate: _LedgerSide, *, present: Collection[str], asked_at: float
) -> Finding:
    moving = claim.state is UploadState.OPEN or (claim.deleted_at or claim.answered_at or 0.0) >= asked_at
    there = claim.asset_id is not None and claim.asset_id in present
    differences = [] if moving else list(_differences(claim, charge, rebate, there=there))
    if differences:
        verdict = Verdict.DIFFERS
    elif moving:
        verdict = Verdict.MOVING
    else:
        verdict = charge.doubt or rebate.doubt or Verdict.AGREES
    is_open = claim.state is UploadState.OPEN
    return Finding(
        name=claim.name,
        gateway_id=claim.asset_id,
        books=Figures(ZERO if is_open else claim.charge, claim.rebate or ZERO, claim.charge if is_open else ZERO),
        ledger=Figures(charge.size, rebate.size),
        verdict=verdict,
        reasons=tuple(each.reason for each in differences),
        assumed=claim.state is UploadState.ASSUMED or claim.rebate == ZERO,
        present=there,
        is_recent=may_be_listed_later(differences, asked_at),
    )


def _differences(
    claim: UploadClaim, charge: _LedgerSide, rebate: _LedgerSide, *, there: bool
) -> Iterator[LedgerDifference]:
    if claim.state is UploadState.KNOWN:
        yield from _differing_amounts("charged", claim.charge, charge, claim.answered_at)
    # A rebate of 0 is an assumption: the answer to the deletion was lost, or the asset was gone already.
    if claim.rebate:
        yield from _differing_amounts("rebated", claim.rebate, rebate, claim.deleted_at)
        if there:
            yield LedgerDifference("deleted, but still listed by the gateway")
    elif claim.rebate is None and rebate.times:
        yield LedgerDifference(f"rebated {format_credits(rebate.size)}, but not deleted by this run directory")


def _differing_amounts(word: str, claimed: Credits, shown: _LedgerSide, at: float | None) -> Iterator[LedgerDifference]:
    if shown.times > 1:
        yield LedgerDifference(f"{word} {shown.times} times")
    if shown.size != claimed and shown.doubt is None:
        there = format_credits(shown.size) if shown.times else "no entry of that amount"
        reason = f"{word} {format_credits(claimed)} in the journal, {there} in the ledger"
        yield LedgerDifference(reason, None if shown.times else at)
