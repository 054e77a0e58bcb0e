"""Which assets may go: every row of the table."""

from __future__ import annotations

import pytest

from crucible_batch.core.asset import (
    Asset,
    AssetPhase,
    KeepReason,
    is_candidate,
    keep_reason,
    may_need_images,
)
from crucible_batch.core.job import Job, Phase
from tests.harness.case_table import each_case

OURS = Asset("ff", AssetPhase.READY, asset_id="as_1")
FOUND = Asset("ff", AssetPhase.READY, asset_id="as_1", found=True)
INTENDED = Asset("ff", AssetPhase.INTENDED, nonce="n")


@each_case(
    "asset, needed, shared, found_too, reason",
    [
        (INTENDED, False, False, True, KeepReason.IN_DOUBT),
        (FOUND, False, False, False, KeepReason.FOUND),
        (FOUND, True, True, False, KeepReason.FOUND),
        (FOUND, False, False, True, None),
        (FOUND, True, False, True, KeepReason.NEEDED),
        (FOUND, False, True, True, KeepReason.SHARED),
        (OURS, True, False, False, KeepReason.NEEDED),
        (OURS, True, True, False, KeepReason.NEEDED),
        (OURS, False, True, False, KeepReason.SHARED),
        (OURS, False, False, False, None),
        (Asset("ff", AssetPhase.CREATED, asset_id="as_1"), False, False, False, None),
    ],
)
def test_a_row_of_the_table(
    asset: Asset, needed: bool, shared: bool, found_too: bool, reason: KeepReason | None
) -> None:
    assert is_candidate(asset)
    assert keep_reason(asset, needed=needed, shared=shared, found_too=found_too) is reason


@pytest.mark.parametrize("asset", [Asset("ff"), Asset("ff", AssetPhase.FAILED)])
def test_what_the_gateway_does_not_have_is_no_candidate(asset: Asset) -> None:
    assert not is_candidate(asset)


@each_case("phase", list(Phase))
def test_only_a_job_that_has_ended_for_good_needs_no_image(phase: Phase) -> None:
    assert may_need_images(Job("ff", phase=phase), retired=False) is (
        phase not in {Phase.SUCCEEDED, Phase.FAILED}
    )


@each_case("phase", list(Phase))
def test_a_retired_job_that_holds_nothing_needs_none_either(phase: Phase) -> None:
    settled = {Phase.SUCCEEDED, Phase.FAILED, Phase.READY}
    assert may_need_images(Job("ff", phase=phase), retired=True) is (phase not in settled)
