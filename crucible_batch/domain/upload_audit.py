"""Whether our uploads and the ledger agree: by asset id where an entry holds it, else by amount and time.

The contract gives an entry no asset id. Where the gateway adds none either, an upload agrees if the ledger has an
entry of its amount from its time that no other upload of ours needs. One that a stranger's entry fits as well can't be
told apart, and nothing is claimed of it but that. A charge or rebate of 0 needs no entry.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from crucible_batch.domain.audit_claims import Figures, Finding, UploadClaim, UploadState, Verdict
from crucible_batch.domain.credits import ZERO, Credits, format_credits
from crucible_batch.domain.gateway_types import LedgerEntry
from crucible_batch.domain.ledger_statement import Clocks, EntryKind, Statement, entry_amount, entry_kind


@dataclass(frozen=True, slots=True)
class ExpectedEntry:
    """An entry that is looked for: its amount, and the moments of our clock between which it was made.

    ``surely_shown``: it is neither so old that the gateway may no longer show it, nor so new that it may not yet.
    """

    amount: Credits
    begun: float
    ended: float
    surely_shown: bool


@dataclass(frozen=True, slots=True)
class Match:
    """``found`` gives the entry of each wanted one by its place; ``vague`` are those that another fits as well."""

    found: Mapping[int, LedgerEntry]
    vague: frozenset[int]
    left: tuple[LedgerEntry, ...]


def match_entries(wanted: Sequence[ExpectedEntry], entries: Iterable[LedgerEntry], clocks: Clocks) -> Match:
    """Give as many of the wanted as possible an entry of their own.

    Entries are taken as they come in time; each goes to the wanted one whose time is over first. For intervals, that
    is as good as trying every way. Those that are surely shown choose first: else one whose own entry is no longer
    shown could take another's, and that would look like a difference.
    """
    groups: dict[Credits, list[int]] = defaultdict(list)
    for place, each in enumerate(wanted):
        groups[each.amount].append(place)
    offered: dict[Credits, list[LedgerEntry]] = defaultdict(list)
    for entry in entries:
        offered[entry_amount(entry)].append(entry)
    found: dict[int, LedgerEntry] = {}
    taken: set[int] = set()
    for amount, places in groups.items():
        for surely_shown in (True, False):
            choosers = {place: wanted[place] for place in places if wanted[place].surely_shown is surely_shown}
            free = [entry for entry in offered[amount] if id(entry) not in taken]
            assigned = _assign(choosers, free, clocks)
            taken |= {id(entry) for entry in assigned.values()}
            found |= assigned
    left = tuple(entry for group in offered.values() for entry in group if id(entry) not in taken)
    vague = frozenset(
        place
        for entry in left
        for place in groups.get(entry_amount(entry), ())
        if clocks.may_lie_between(entry.at, wanted[place].begun, wanted[place].ended)
    )
    return Match(found, vague, left)


def _assign(
    wanted: Mapping[int, ExpectedEntry], entries: Sequence[LedgerEntry], clocks: Clocks
) -> dict[int, LedgerEntry]:
    coming = sorted(wanted, key=lambda place: wanted[place].begun, reverse=True)
    open_places: list[tuple[float, int]] = []
    found: dict[int, LedgerEntry] = {}
    timeless = [entry for entry in entries if entry.at is None]
    for entry in sorted((entry for entry in entries if entry.at is not None), key=lambda entry: entry.at or 0.0):
        while coming and clocks.may_lie_between(entry.at, wanted[coming[-1]].begun, float("inf")):
            place = coming.pop()
            heapq.heappush(open_places, (wanted[place].ended, place))
        while open_places and not clocks.may_lie_between(entry.at, float("-inf"), open_places[0][0]):
            heapq.heappop(open_places)
        if open_places:
            found[heapq.heappop(open_places)[1]] = entry
    missing = [place for place in wanted if place not in found]
    return found | dict(zip(missing, timeless, strict=False))


@dataclass(frozen=True, slots=True)
class UploadAudit:
    """``ours`` are the entries that are accounted for.

    ``never_charged`` are uploads whose answer was lost and that surely cost nothing; ``perhaps_charged`` those for
    which an entry may stand that nothing else of ours explains. ``perhaps_rebated`` are the same of deletions whose
    rebate we don't know.
    """

    findings: tuple[Finding, ...]
    ours: tuple[LedgerEntry, ...]
    never_charged: tuple[UploadClaim, ...]
    perhaps_charged: tuple[UploadClaim, ...]
    perhaps_rebated: tuple[UploadClaim, ...]


@dataclass(frozen=True, slots=True)
class _Shown:
    """What the ledger shows of one side of an upload, its charge or its rebate. ``doubt`` is UNSEEN, VAGUE or None."""

    size: Credits = ZERO
    doubt: Verdict | None = None
    times: int = 0


_NOTHING = _Shown()


class _Join:
    """All uploads of ours and all entries without a job, each to its own."""

    def __init__(self, claims: Sequence[UploadClaim], statement: Statement, clocks: Clocks, *, asked_at: float) -> None:
        self._statement = statement
        self._clocks = clocks
        self._asked_at = asked_at
        self.ours: list[LedgerEntry] = []
        self._shown: dict[tuple[int, EntryKind], _Shown] = {}
        nameless = dict(enumerate(claims))
        for place, claim in enumerate(claims):
            if entries := _named(claim, statement):
                del nameless[place]
                self.ours += entries
                for kind in (EntryKind.UPLOAD, EntryKind.REBATE):
                    sizes = [entry_amount(entry) for entry in entries if entry_kind(entry, of_job=False) is kind]
                    self._shown[place, kind] = _Shown(sum(sizes, ZERO), times=len(sizes))
        self._match(EntryKind.UPLOAD, {place: self._charge(claim) for place, claim in nameless.items()})
        self._match(EntryKind.REBATE, {place: self._rebate(claim) for place, claim in nameless.items()})
        for place, claim in nameless.items():
            if claim.state is UploadState.ASSUMED:
                self._take_for_assumed(place, claim)

    def shown(self, place: int, kind: EntryKind) -> _Shown:
        return self._shown.get((place, kind), _NOTHING)

    def left(self, kind: EntryKind) -> list[LedgerEntry]:
        """The entries of this kind that nothing of ours explains so far."""
        taken = {id(entry) for entry in self.ours}
        free = (entry for entry in self._statement.entries if entry.job_id is None and id(entry) not in taken)
        return [entry for entry in free if entry_kind(entry, of_job=False) is kind]

    def candidates(self, claim: UploadClaim) -> list[LedgerEntry]:
        """The unexplained charges that may be this upload's, by their time."""
        return self._left_between(EntryKind.UPLOAD, claim.begun_at, claim.answered_at)

    def rebate_candidates(self, claim: UploadClaim) -> list[LedgerEntry]:
        """The unexplained rebates that may be this deletion's."""
        return self._left_between(EntryKind.REBATE, claim.begun_at, claim.deleted_at)

    def _left_between(self, kind: EntryKind, begun: float, ended: float | None) -> list[LedgerEntry]:
        last = begun if ended is None else ended
        return [entry for entry in self.left(kind) if self._clocks.may_lie_between(entry.at, begun, last)]

    def _charge(self, claim: UploadClaim) -> ExpectedEntry | None:
        if claim.state is not UploadState.KNOWN or claim.charge == ZERO or claim.answered_at is None:
            return None
        return self._wanted(claim.charge, claim.begun_at, claim.answered_at)

    def _rebate(self, claim: UploadClaim) -> ExpectedEntry | None:
        if not claim.rebate or claim.deleted_at is None:
            return None
        begun = claim.begun_at if claim.answered_at is None else claim.answered_at
        return self._wanted(claim.rebate, begun, claim.deleted_at)

    def _wanted(self, amount: Credits, begun: float, ended: float) -> ExpectedEntry:
        surely_shown = ended < self._asked_at and self._clocks.surely_shown(self._statement, begun)
        return ExpectedEntry(amount, begun, ended, surely_shown)

    def _match(self, kind: EntryKind, maybe_wanted: Mapping[int, ExpectedEntry | None]) -> None:
        wanted = {place: each for place, each in maybe_wanted.items() if each is not None}
        match = match_entries(list(wanted.values()), self.left(kind), self._clocks)
        for number, (place, each) in enumerate(wanted.items()):
            entry = match.found.get(number)
            if entry is not None:
                doubt = Verdict.VAGUE if number in match.vague else None
                self._shown[place, kind] = _Shown(entry_amount(entry), doubt, times=1)
                self.ours.append(entry)
            elif not each.surely_shown:
                self._shown[place, kind] = _Shown(doubt=Verdict.UNSEEN)

    def _take_for_assumed(self, place: int, claim: UploadClaim) -> None:
        """An upload whose answer was lost has no amount to look for: its time alone must tell."""
        match self.candidates(claim):
            case [entry]:
                self._shown[place, EntryKind.UPLOAD] = _Shown(entry_amount(entry), times=1)
                self.ours.append(entry)
            case []:
                shown = self._clocks.surely_shown(self._statement, claim.begun_at)
                self._shown[place, EntryKind.UPLOAD] = _NOTHING if shown else _Shown(doubt=Verdict.UNSEEN)
            case _:
                self._shown[place, EntryKind.UPLOAD] = _Shown(doubt=Verdict.VAGUE)


def audit_uploads(
    claims: Sequence[UploadClaim],
    statement: Statement,
    clocks: Clocks,
    *,
    present: Collection[str],
    asked_at: float,
) -> UploadAudit:
    """Hold all upload claims against the statement. ``present`` are the ids of the assets that the gateway lists."""
    join = _Join(claims, statement, clocks, asked_at=asked_at)
    findings = tuple(
        _finding(
            claim,
            join.shown(place, EntryKind.UPLOAD),
            join.shown(place, EntryKind.REBATE),
            present=present,
            asked_at=asked_at,
        )
        for place, claim in enumerate(claims)
        if claim.state is not UploadState.LOST
    )
    # That nothing shows proves nothing at a gateway that doesn't list uploads, or under words that we can't read.
    lists_uploads = any(
        entry.job_id is None and entry_kind(entry, of_job=False) is EntryKind.UPLOAD for entry in join.ours
    )
    never: list[UploadClaim] = []
    perhaps: list[UploadClaim] = []
    for claim in claims:
        if claim.state is not UploadState.LOST or (claim.answered_at or 0.0) >= asked_at:
            continue
        if join.candidates(claim):
            perhaps.append(claim)
        elif lists_uploads and clocks.surely_shown(statement, claim.begun_at):
            never.append(claim)
    perhaps_rebated = (claim for claim in claims if claim.rebate == ZERO and join.rebate_candidates(claim))
    return UploadAudit(findings, tuple(join.ours), tuple(never), tuple(perhaps), tuple(perhaps_rebated))


def _named(claim: UploadClaim, statement: Statement) -> list[LedgerEntry]:
    if claim.asset_id is None:
        return []
    return [entry for entry in statement.about(claim.asset_id) if entry.job_id is None]


def _finding(
    claim: UploadClaim, charge: _Shown, rebate: _Shown, *, present: Collection[str], asked_at: float
) -> Finding:
    moving = claim.state is UploadState.OPEN or (claim.deleted_at or claim.answered_at or 0.0) >= asked_at
    there = claim.asset_id is not None and claim.asset_id in present
    reasons = () if moving else tuple(_problems(claim, charge, rebate, there=there))
    if reasons:
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
        reasons=reasons,
        assumed=claim.state is UploadState.ASSUMED or claim.rebate == ZERO,
        present=there,
    )


def _problems(claim: UploadClaim, charge: _Shown, rebate: _Shown, *, there: bool) -> Iterator[str]:
    if claim.state is UploadState.KNOWN:
        yield from _unlike("charged", claim.charge, charge)
    # 0 is what we enter where the answer to a deletion was lost, or somebody else deleted it: an assumption.
    if claim.rebate:
        yield from _unlike("rebated", claim.rebate, rebate)
        if there:
            yield "deleted, and still at the gateway"
    elif claim.rebate is None and rebate.times:
        yield f"rebated {format_credits(rebate.size)}, and never deleted by us"


def _unlike(word: str, claimed: Credits, shown: _Shown) -> Iterator[str]:
    if shown.times > 1:
        yield f"{word} {shown.times} times"
    if shown.size != claimed and shown.doubt is None:
        there = format_credits(shown.size) if shown.times else "no entry of that amount"
        yield f"{word} {format_credits(claimed)} in the books, {there} in the ledger"
