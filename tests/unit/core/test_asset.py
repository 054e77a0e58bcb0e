"""An image's life: each row of the table at the head of ``core/asset.py``, and what a new run makes
of it.
"""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.core.asset import (
    Asset,
    AssetCommand,
    AssetPhase,
    AwaitReady,
    CreateIntent,
    FindAsset,
    PutBytes,
    decide_asset,
    evolve_asset,
    resume_asset,
)
from crucible_batch.core.events import (
    AssetEvent,
    BecameReady,
    Created,
    Deleted,
    Found,
    Lost,
    NotCreated,
    Uploaded,
)
from crucible_batch.core.gateway_types import ErrorInfo
from tests.harness.case_table import each_case
from tests.harness.job_events import intended_event

SHA = "ab" * 32
INTENDED = intended_event("0.5")
CREATED = Created(at=1.0, asset_id="a1", credits=Decimal("0.5"))
UPLOADED = Uploaded(at=1.0)
READY = BecameReady(at=1.0)
FOUND = Found(at=1.0, asset_id="a2")
NOT_CREATED = NotCreated(at=1.0, error=ErrorInfo("X", "x"))
LOST = Lost(at=1.0, nonce="n")
DELETED = Deleted(at=1.0, rebate=Decimal("0.5"))

ROWS: list[tuple[list[AssetEvent], AssetPhase, AssetCommand | None]] = [
    ([], AssetPhase.ABSENT, FindAsset()),
    ([FOUND], AssetPhase.READY, None),
    ([INTENDED], AssetPhase.INTENDED, CreateIntent()),
    ([NOT_CREATED], AssetPhase.FAILED, None),
    ([INTENDED, CREATED], AssetPhase.CREATED, PutBytes()),
    ([INTENDED, NOT_CREATED], AssetPhase.FAILED, None),
    ([INTENDED, LOST], AssetPhase.ABSENT, FindAsset()),
    ([INTENDED, CREATED, UPLOADED], AssetPhase.UPLOADED, AwaitReady()),
    ([INTENDED, CREATED, DELETED], AssetPhase.ABSENT, FindAsset()),
    ([INTENDED, CREATED, UPLOADED, READY], AssetPhase.READY, None),
    ([INTENDED, CREATED, UPLOADED, DELETED], AssetPhase.ABSENT, FindAsset()),
    ([INTENDED, CREATED, UPLOADED, READY, DELETED], AssetPhase.ABSENT, FindAsset()),
    ([FOUND, DELETED], AssetPhase.ABSENT, FindAsset()),
]


def after(events: list[AssetEvent]) -> Asset:
    asset = Asset(SHA)
    for event in events:
        asset = evolve_asset(asset, event)
    return asset


@each_case("events, phase, wanted", ROWS)
def test_a_row_of_the_table(
    events: list[AssetEvent], phase: AssetPhase, wanted: AssetCommand | None
) -> None:
    asset = after(events)
    assert (asset.phase, decide_asset(asset)) == (phase, wanted)


@each_case(
    "events, phase, in_doubt",
    [
        ([], AssetPhase.ABSENT, False),
        ([INTENDED], AssetPhase.INTENDED, True),
        ([INTENDED, CREATED], AssetPhase.CREATED, True),
        ([INTENDED, CREATED, UPLOADED], AssetPhase.UPLOADED, True),
        ([INTENDED, CREATED, UPLOADED, READY], AssetPhase.READY, False),
        ([INTENDED, NOT_CREATED], AssetPhase.ABSENT, False),
    ],
)
def test_a_new_run_takes_an_image_up(
    events: list[AssetEvent], phase: AssetPhase, in_doubt: bool
) -> None:
    asset = resume_asset(after(events))
    assert (asset.phase, asset.in_doubt) == (phase, in_doubt)
    assert resume_asset(asset) == asset


def test_what_was_in_doubt_is_not_any_more_once_its_fate_is_known() -> None:
    for ending in ([CREATED, UPLOADED], [LOST], [NOT_CREATED], [CREATED, DELETED]):
        asset = resume_asset(after([INTENDED]))
        for event in ending:
            asset = evolve_asset(asset, event)
        assert not asset.in_doubt


def test_an_intent_is_known_by_its_own_nonce_and_an_asset_by_its_own_id() -> None:
    again = after([INTENDED, LOST, intended_event(1, at=2.0, nonce="other")])
    assert (again.nonce, again.asset_id, again.error) == ("other", None, None)
    assert after([INTENDED, CREATED, UPLOADED, READY]).asset_id == "a1"
    assert after([INTENDED, CREATED, DELETED]).asset_id is None


@given(
    st.lists(
        st.sampled_from([INTENDED, CREATED, UPLOADED, READY, FOUND, NOT_CREATED, LOST, DELETED]),
        max_size=8,
    )
)
def test_nothing_is_wished_only_where_it_is_ready_or_failed_and_no_run_leaves_it_so(
    events: list[AssetEvent],
) -> None:
    asset = after(events)
    assert (decide_asset(asset) is None) == (asset.phase in {AssetPhase.READY, AssetPhase.FAILED})
    assert decide_asset(resume_asset(asset)) is not None or asset.phase is AssetPhase.READY
    assert asset.identity == f"asset:{SHA}"
