"""An upload without an answer was not charged only if assets and ledger prove it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crucible_batch.core.audit_claims import CreditStatus, JobClaim, UploadClaim, UploadState
from crucible_batch.core.events import Event, Lost
from crucible_batch.core.gateway_types import AssetSnapshot, AssetStatus, LedgerEntry
from crucible_batch.core.lost_uploads import (
    LOST_UPLOAD_PATIENCE_S,
    SetBacks,
    lost_upload_states,
    patience_ends,
)
from tests.harness.job_events import intended_event
from tests.harness.replacing import replace

D = Decimal
T = 1_800_000_000.0
"""A time of our clock; the gateway's is an hour ahead."""
AHEAD = 3600.0
LOST = UploadClaim("a.png", "a" * 64, UploadState.LOST, T, answered_at=T + 7, nonce="n1")
ASSUMED = replace(LOST, state=UploadState.ASSUMED, asset_id="gone", charge=D("0.5"))
AGAIN = UploadClaim(
    "a.png",
    "a" * 64,
    UploadState.KNOWN,
    T + 8,
    answered_at=T + 9,
    nonce="n2",
    asset_id="asset-2",
    charge=D("0.5"),
)
JOB = JobClaim("cat", 1, "job-1", D(2), CreditStatus.CHARGED, T + 10, T + 10.1, T + 12)
READ_AT = T + 9 + LOST_UPLOAD_PATIENCE_S


def entry(number: int, kind: str, at: float, amount: str = "0.5", **other: str) -> LedgerEntry:
    return LedgerEntry(str(number), kind, D(amount), T + AHEAD + at, **other)


RESERVED = entry(1, "reserve", 10.05, "2", job_id="job-1")
CHARGED_AGAIN = entry(2, "upload", 8.5)
ENTRIES = [RESERVED, CHARGED_AGAIN]
LISTED = AssetSnapshot("asset-2", AssetStatus.READY, 3, nonce="n2")


def proved(
    claim: UploadClaim = LOST,
    *,
    entries: Sequence[LedgerEntry] = ENTRIES,
    assets: Sequence[AssetSnapshot] = (LISTED,),
    since: float = T - 100,
    read_at: float = READ_AT,
    uploads: Sequence[UploadClaim] = (AGAIN,),
    jobs: Sequence[JobClaim] = (JOB,),
    first_seen: Mapping[str, float] | None = None,
) -> bool:
    states = lost_upload_states(
        [claim, *uploads],
        jobs,
        entries,
        assets,
        covers=lambda moment: since <= moment,
        first_seen=first_seen or {},
        is_over=lambda each: patience_ends(each) <= read_at,
    )
    assert list(states.not_charged) in ([], [claim])
    assert not {each.nonce for each in states.not_charged} & {
        each.nonce for each in states.undecided
    }
    return bool(states.not_charged)


def test_neither_assets_nor_ledger_show_it_after_its_patience() -> None:
    assert proved(LOST)


@pytest.mark.parametrize("entries", [[], [RESERVED], ENTRIES])
def test_one_that_the_assets_have_shown_was_made_whatever_is_shown_now(
    entries: list[LedgerEntry],
) -> None:
    """It may have been deleted since, by this program for its rebate."""
    assert not proved(ASSUMED, entries=entries)


def intended(nonce: str, at: float) -> tuple[str, Event]:
    return "asset:x", intended_event(1, at=at, nonce=nonce)


def lost(nonce: str, at: float) -> tuple[str, Event]:
    return "asset:x", Lost(at=at, nonce=nonce)


@pytest.mark.parametrize(
    ("events", "starts", "now", "expected"),
    [
        ([intended("a", 100), lost("a", 107)], [99], 108, ""),
        ([intended("a", 100), lost("a", 107)], [99], 100, ""),
        # set back before the answer was given up, since then, or before another upload
        ([intended("a", 100), lost("a", 50)], [99], 200, "a"),
        ([intended("a", 100), lost("a", 107)], [99], 50, "a"),
        ([intended("a", 100), lost("a", 107), intended("b", 50), lost("b", 57)], [99], 200, "a"),
        ([intended("a", 100), lost("a", 107), intended("b", 200), lost("b", 150)], [99], 300, "b"),
        ([intended("a", 100), lost("a", 107), intended("b", 90), lost("b", 80)], [99], 300, "ab"),
        # less than a second: events of one moment may be in any order
        ([intended("a", 100), lost("a", 99.1)], [99], 200, ""),
        # by a run without events
        ([intended("a", 100), lost("a", 107)], [99, 50, 300], 301, "a"),
        ([intended("a", 100), lost("a", 107)], [99, 250, 240, 300], 301, ""),
        ([intended("a", 100), lost("a", 107)], [], 301, ""),
    ],
)
def test_an_upload_since_which_the_clock_was_set_back_is_not_dated(
    events: Sequence[tuple[str, Event]], starts: Sequence[float], now: float, expected: str
) -> None:
    clock = SetBacks()
    assert list(clock.watch(events)) == events
    clock.note_runs(starts)
    clock.note(now)
    assert clock.nonces == set(expected)


@pytest.mark.parametrize("status", list(AssetStatus))
@pytest.mark.parametrize(
    ("claim", "shown"), [(LOST, {"nonce": "n1"}), (ASSUMED, {"asset_id": "gone"})]
)
def test_the_assets_show_it(claim: UploadClaim, shown: dict[str, str], status: AssetStatus) -> None:
    listed = replace(AssetSnapshot("other", status, 3), **shown)  # type: ignore[arg-type]
    assert not proved(claim, assets=[LISTED, listed])


def test_the_readings_began_before_its_patience_was_over() -> None:
    assert patience_ends(LOST) == T + 7 + LOST_UPLOAD_PATIENCE_S
    early = patience_ends(LOST) - 0.1
    assert proved(
        uploads=[replace(AGAIN, asset_id="named")],
        entries=[RESERVED, named("named")],
        read_at=early + 0.1,
    )
    assert not proved(
        uploads=[replace(AGAIN, asset_id="named")],
        entries=[RESERVED, named("named")],
        read_at=early,
    )


def named(asset_id: str) -> LedgerEntry:
    return replace(CHARGED_AGAIN, description=f"upload of {asset_id}")


def test_the_readings_have_a_gap_since_it_was_sent() -> None:
    assert proved(since=T)
    assert not proved(since=T + 0.1)


@pytest.mark.parametrize(
    ("at", "words", "is_proved"),
    [
        (-2.0, "upload", False),  # before it was sent by clocks that may have been set since
        (0.0, "upload", False),
        (5.0, "consume", False),
        (30.0, "charge", False),  # booked late
        (5.0, "rebate", True),
        (5.0, "reserve", False),
        (5.0, "grant", False),  # of the amount of an upload
    ],
)
def test_the_ledger_has_a_later_charge_that_nothing_explains(
    at: float, words: str, is_proved: bool
) -> None:
    assert proved(entries=[*ENTRIES, entry(3, words, at)]) is is_proved


def test_a_charge_of_another_job_or_upload_of_ours_is_explained() -> None:
    assert proved(
        entries=[*ENTRIES, entry(3, "consume", 12.0, "2", description="consume of job-1")]
    )
    assert not proved(
        entries=[*ENTRIES, entry(3, "consume", 12.0, "2", description="consume of job-2")]
    )
    other = replace(AGAIN, sha256="b" * 64, nonce="n3", asset_id="asset-3")
    assert proved(uploads=[AGAIN, other], entries=[*ENTRIES, entry(3, "upload", 8.7)])
    assert not proved(
        uploads=[AGAIN, other], entries=[*ENTRIES, entry(3, "upload", 8.7), entry(4, "upload", 8.8)]
    )


@pytest.mark.parametrize(
    "state", [UploadState.OPEN, UploadState.LOST, UploadState.ASSUMED, UploadState.FOUND]
)
def test_the_charge_of_an_upload_that_may_not_be_ours_explains_nothing(state: UploadState) -> None:
    other = replace(AGAIN, sha256="b" * 64, nonce="n3", asset_id="x", state=state)
    states = lost_upload_states(
        [LOST, AGAIN, other],
        [JOB],
        [*ENTRIES, entry(3, "upload", 8.7)],
        [LISTED],
        covers=lambda _moment: True,
        first_seen={},
        is_over=lambda _claim: True,
    )
    assert LOST not in states.not_charged


FREE = replace(AGAIN, charge=D(0))


@pytest.mark.parametrize("uploads", [[], [FREE], [replace(AGAIN, begun_at=T - 101)]])
@pytest.mark.parametrize(
    "entries", [[], [RESERVED], ENTRIES, [RESERVED, entry(2, "storage", -2.0)]]
)
def test_without_an_upload_whose_charge_these_readings_must_have_nothing_is_shown(
    uploads: list[UploadClaim], entries: list[LedgerEntry]
) -> None:
    """None was answered, or only one without a price or before a gap: the ledger may list none."""
    assert not proved(uploads=uploads, entries=entries, first_seen={"1": T - 1, "2": T - 1})


@pytest.mark.parametrize(
    "charge",
    [
        None,
        entry(2, "upload", 100.0),
        entry(2, "storage", 8.5),
        entry(2, "upload", 8.5, "0.7"),
        entry(2, "consume", 8.5, job_id="of-another-buyer"),
        entry(2, "upload", 8.5, job_id="asset-2"),
        entry(2, "consume", 8.5, description=f"of job {uuid.UUID(int=1)}"),
        entry(2, "rebate", 8.5, description="of asset-2"),
        entry(2, "upload", 8.5, "0.7", description="of asset-2"),
    ],
)
def test_a_ledger_without_the_charge_of_an_answered_upload_may_not_list_uploads_and_shows_nothing(
    charge: LedgerEntry | None,
) -> None:
    entries = [RESERVED, *([charge] if charge else [])]
    assert not proved(entries=entries)
    other = replace(AGAIN, sha256="b" * 64, nonce="n3", asset_id="asset-3")
    shown = replace(entry(4, "upload", 8.6), description="of asset-3")
    assert not proved(entries=[*entries, shown], uploads=[AGAIN, other])
    assert proved(entries=[RESERVED, shown], uploads=[other])


def test_the_charge_of_an_upload_shows_nothing_before_its_patience_is_over() -> None:
    late = replace(AGAIN, answered_at=T + 20)
    assert not proved(uploads=[late], entries=[RESERVED])
    assert proved(uploads=[late], entries=[RESERVED, named("asset-2")])


def test_an_upload_without_a_price_needs_no_charge() -> None:
    assert proved(uploads=[AGAIN, replace(FREE, nonce="n3", asset_id="asset-3")])


def test_an_entry_that_was_seen_before_an_upload_was_sent_is_not_its_charge() -> None:
    assert proved(first_seen={"2": T + 8.1})
    assert not proved(first_seen={"2": T + 4})


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("first", "second", "booked"),
    [((8, 9), (8, 20), (8.5, 15)), ((8, 12), (11.5, 13), (8.5, 12.5))],
)
def test_each_upload_has_a_charge_of_its_own_and_time(
    first: tuple[float, float],
    second: tuple[float, float],
    booked: tuple[float, float],
    order: int,
) -> None:
    uploads = [
        replace(AGAIN, nonce=nonce, asset_id=nonce, begun_at=T + begun, answered_at=T + ended)
        for nonce, (begun, ended) in (("n3", first), ("n4", second))
    ][::order]
    entries = [RESERVED, entry(2, "upload", booked[0]), entry(3, "upload", booked[1])]
    read_at = T + 20 + LOST_UPLOAD_PATIENCE_S
    assert proved(uploads=uploads, entries=entries, read_at=read_at)
    assert not proved(uploads=uploads, entries=entries[:2], read_at=read_at)
    assert not proved(uploads=uploads, entries=entries[::2], read_at=read_at)


def test_charges_of_uploads_before_these_readings_are_not_taken_for_later_ones() -> None:
    """An upload sent right before the lost one has its own charge, seen with later ones."""
    before = replace(AGAIN, begun_at=T - 0.1, answered_at=T + 0.9)
    entries = [RESERVED, entry(2, "upload", 0.5), entry(3, "upload", -50.0)]
    assert proved(uploads=[before], entries=entries, first_seen={"1": T, "2": T + 2, "3": T - 40})


def test_without_an_entry_for_a_job_of_ours_no_nameless_one_is_an_uploads_charge() -> None:
    """All jobs may be booked without names, at the price and time of an upload."""
    entries = [replace(RESERVED, job_id=None), entry(2, "consume", 8.5 - AHEAD)]
    seen = {"1": T - 1}
    assert not proved(entries=entries, first_seen=seen)
    assert proved(entries=[entries[0], named("asset-2")], first_seen=seen)


@pytest.mark.parametrize("other", [entry(3, "storage", 8.5, "7"), entry(3, "", 8.5, "7")])
def test_any_later_entry_without_a_job_may_be_its_charge(other: LedgerEntry) -> None:
    assert not proved(entries=[*ENTRIES, other])
    assert proved(entries=[*ENTRIES, other], first_seen={"3": T - 1})
    assert proved(entries=[*ENTRIES, replace(other, job_id="of-another-buyer")])


@pytest.mark.parametrize(
    "entries",
    [[*ENTRIES, entry(3, "upload", 5.0)], [RESERVED, named("asset-2"), entry(3, "upload", 5.0)]],
)
@pytest.mark.parametrize(
    ("first_seen", "is_proved"),
    [
        ({"3": T - 50}, True),
        ({"3": T}, True),
        ({"3": T + 0.1}, False),
        ({"3": READ_AT}, False),
        ({"1": T - 50, "2": T - 50}, False),  # it is not known when the entry was seen first
    ],
)
def test_what_a_reading_had_that_was_answered_before_it_was_sent_is_not_its_charge(
    entries: list[LedgerEntry], first_seen: dict[str, float], is_proved: bool
) -> None:
    """Clocks whose offset is unknown by minutes would make it one of its time."""
    assert proved(entries=entries, first_seen=first_seen) is is_proved


@pytest.mark.parametrize(
    ("entry_type", "description", "is_proved"),
    [
        ("asset_charge", "upload of deleted-scene.png", False),
        ("adjustment", "deleted-scene.png uploaded", False),
        ("refund", "upload of deleted-scene.png", True),
        ("rebate", "upload of a.png", True),
        ("grant", "", False),
    ],
)
def test_the_words_of_a_files_name_make_no_rebate_of_a_charge(
    entry_type: str, description: str, is_proved: bool
) -> None:
    shown = replace(entry(3, entry_type, 5.0), description=description)
    assert proved(entries=[*ENTRIES, shown]) is is_proved


def test_an_entry_that_was_seen_before_hides_none_that_was_not() -> None:
    entries = [*ENTRIES, entry(3, "upload", 5.0), entry(4, "upload", 5.0)]
    assert not proved(entries=entries, first_seen={"3": T - 50})
    assert not proved(entries=entries, first_seen={"4": T - 50})
    assert proved(entries=entries, first_seen={"3": T - 50, "4": T - 50})


def test_an_answered_upload_whose_charge_may_not_be_shown_yet_explains_no_other() -> None:
    """One entry for two uploads: it may be that of the lost one, and the other's is late."""
    late = replace(AGAIN, begun_at=T, answered_at=T + 20)
    assert not proved(uploads=[late], entries=[RESERVED, CHARGED_AGAIN], read_at=READ_AT)
    assert proved(
        uploads=[late], entries=[RESERVED, CHARGED_AGAIN], read_at=T + 20 + LOST_UPLOAD_PATIENCE_S
    )
    early = replace(AGAIN, begun_at=T - 200)
    assert not proved(uploads=[early], entries=[RESERVED, CHARGED_AGAIN])


@pytest.mark.parametrize("hours", [-2, 2])
def test_its_charge_is_seen_whatever_an_earlier_clock_makes_of_its_time(hours: int) -> None:
    """The only job was bought while the clock was behind or ahead; then it was put right."""
    wrong_s = hours * 3600.0
    job = replace(JOB, held_at=T - 90 + wrong_s, accepted_at=T - 89.9 + wrong_s)
    reserved = replace(RESERVED, at=T + AHEAD - 89.95)
    entries = [reserved, named("asset-2")]
    first_seen = {"1": T - 80, "2": T + 9, "3": T + 9}
    assert proved(jobs=[job], entries=entries, first_seen=first_seen)
    entries.append(entry(3, "upload", 5.0))
    assert not proved(jobs=[job], entries=entries, first_seen=first_seen)


def test_its_charge_explains_no_earlier_upload_whose_own_charge_was_seen_before() -> None:
    """By a clock that was behind, the charge of the lost one has the time of the earlier one."""
    earlier = replace(AGAIN, begun_at=T - 3600, answered_at=T - 3599)
    reserved = replace(RESERVED, at=T + AHEAD - 3700)
    job = replace(JOB, held_at=T - 7300.5, accepted_at=T - 7299.5)
    entries = [reserved, entry(2, "upload", -3599.5), entry(3, "upload", 0.5)]
    first_seen = {"1": T - 7299, "2": T - 3500, "3": T + 9}
    assert not proved(
        uploads=[earlier], jobs=[job], entries=entries, first_seen=first_seen, since=T - 7300
    )


def test_the_entries_of_an_upload_that_was_found_make_up_for_no_charge_that_must_be_there() -> None:
    found = replace(AGAIN, nonce="n3", asset_id="asset-3", state=UploadState.FOUND)
    assert not proved(uploads=[AGAIN, found], entries=[RESERVED, named("asset-3")])


JOB_STEP, ANSWERED, CHARGED, UNCHARGED, OTHERS, READING, GAP = "jacuorg"
STEPS = st.lists(
    st.tuples(
        st.sampled_from([JOB_STEP, ANSWERED, CHARGED, UNCHARGED, OTHERS, READING, GAP]),
        st.sampled_from([0.5, 5.0, 60.0]),
        st.sampled_from([0.0, 0.0, 0.0, 7200.0, 40.0, -40.0, -7200.0]),
        st.sampled_from([0.0, 0.0, 20.0]),
    ),
    max_size=12,
)
"""What happens, how long after the step before, by how much the clock was set, and how late the
entry is listed."""


BOOL = st.booleans()


class Account:
    """A run directory and the gateway's ledger, by a clock that is set and a true one.

    The ledger may not list uploads, or list them with the ids of their assets.
    """

    def __init__(self, word: str, lists_uploads: bool, names_assets: bool) -> None:
        self.word = word
        """The type of the entry of an upload."""
        self.booked = 0
        self.lists_uploads = lists_uploads
        self.names_assets = names_assets
        self.true = self.ours = self.covered_since = T
        self.uploads: list[UploadClaim] = []
        self.jobs: list[JobClaim] = []
        self.charged: set[str] = set()
        self.listed: list[tuple[float, LedgerEntry]] = []
        self.first_seen: dict[str, float] = {}
        self.set_backs = SetBacks()
        self.step(JOB_STEP, 0.0)
        self.read()

    def wait(self, seconds: float) -> None:
        self.true += seconds
        self.ours += seconds

    def book(self, kind: str, amount: str, late_s: float, **other: str) -> None:
        self.booked += 1
        key = f"e{self.booked}"
        booked = LedgerEntry(key, kind, D(amount), self.true + AHEAD, **other)
        self.listed.append((self.true + late_s, booked))

    def read(self) -> None:
        self.set_backs.note(self.ours)
        for listed_at, each in self.listed:
            if listed_at <= self.true:
                self.first_seen.setdefault(each.key, self.ours)

    def entries(self) -> list[LedgerEntry]:
        return [each for _, each in self.listed if each.key in self.first_seen]

    def step(self, kind: str, late_s: float) -> None:
        begun, number = self.ours, self.booked
        if kind == GAP:
            self.listed = [pair for pair in self.listed if pair[1].key in self.first_seen]
            self.covered_since = self.ours
        if kind in {READING, GAP}:
            self.read()
            return
        nonce = f"n{number}-{len(self.uploads)}"
        if kind in {ANSWERED, CHARGED, UNCHARGED}:
            list(self.set_backs.watch([intended(nonce, begun)]))
        self.wait(0.1)
        if kind == JOB_STEP:
            self.book("reserve", "2", late_s, job_id=f"job-{number}")
        elif kind == OTHERS and not self.lists_uploads:
            self.book("consume", "0.5", late_s, description=f"job {uuid.UUID(int=number)}")
        elif kind != UNCHARGED and self.lists_uploads:
            text = f"asset-{nonce}" if self.names_assets else ""
            self.book(self.word, "0.5", late_s, description=text)
        self.wait(0.1)
        self.set_backs.note(self.ours)
        if kind == JOB_STEP:
            claim = replace(JOB, job_id=f"job-{number}", held_at=begun, accepted_at=self.ours)
            self.jobs.append(claim)
        elif kind != OTHERS:
            claim_of = AGAIN if kind == ANSWERED else LOST
            self.uploads.append(
                replace(
                    claim_of,
                    nonce=nonce,
                    begun_at=begun,
                    answered_at=self.ours,
                    asset_id=f"asset-{nonce}" if kind == ANSWERED else None,
                )
            )
        if kind == CHARGED:
            self.charged.add(nonce)

    def released(self) -> set[str]:
        self.wait(LOST_UPLOAD_PATIENCE_S + 1)
        self.set_backs.note(self.ours)
        self.read()
        states = lost_upload_states(
            [each for each in self.uploads if each.nonce not in self.set_backs.nonces],
            self.jobs,
            self.entries(),
            [],
            covers=lambda moment: moment >= self.covered_since,
            first_seen=self.first_seen,
            is_over=lambda _claim: True,
        )
        assert not states.undecided  # the patience of all is over
        return {claim.nonce for claim in states.not_charged}


@settings(max_examples=400)
@given(STEPS, st.sampled_from(["upload", "upload", "consume", "storage"]), BOOL, BOOL)
def test_whatever_the_clock_is_set_to_only_an_upload_that_was_not_charged_is_released(
    steps: list[tuple[str, float, float, float]],
    word: str,
    lists_uploads: bool,
    names_assets: bool,
) -> None:
    """Whatever is uploaded beside it at the same price, and whatever a charge is called.

    By a ledger that doesn't list uploads, none is.
    """
    account = Account(word, lists_uploads, names_assets)
    for kind, seconds, set_by, late_s in steps:
        account.wait(seconds)
        account.ours += set_by
        account.step(kind, late_s)
    released = account.released()
    kinds = {kind for kind, _, _, _ in steps}
    assert not released & account.charged
    is_known = word != "storage" or names_assets  # the name has the word "asset"
    if not (lists_uploads and is_known and ANSWERED in kinds):
        assert not released
    elif not kinds & {CHARGED, OTHERS, GAP} and not any(set_by for _, _, set_by, _ in steps):
        assert released == {each.nonce for each in account.uploads if each.state == LOST.state}
