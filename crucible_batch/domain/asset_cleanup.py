"""Which assets a run directory may delete at the gateway.

its journal shows           needed by         verdict
no id (absent, failed)      -                 no candidate
an intent without answer    -                 stays: the next run settles it
found: another's upload     -                 stays, unless found ones are asked for
any id                      a job here        stays
any id                      a job elsewhere   stays
any id                      nobody            goes
"""

from __future__ import annotations

import enum

from crucible_batch.domain.asset import Asset, AssetPhase
from crucible_batch.domain.job import Job, Phase


class KeepReason(enum.StrEnum):
    """Why an asset stays."""

    IN_DOUBT = "in_doubt"
    FOUND = "found"
    NEEDED = "needed"
    SHARED = "shared"


def is_candidate(asset: Asset) -> bool:
    """Whether the gateway has, or may have, something to delete."""
    return asset.asset_id is not None or asset.phase is AssetPhase.INTENDED


def keep_reason(asset: Asset, *, needed: bool, shared: bool, found_too: bool) -> KeepReason | None:
    """Say why a candidate stays, by the table at the head of this file; None where it may go."""
    if asset.asset_id is None:
        return KeepReason.IN_DOUBT
    if asset.found and not found_too:
        return KeepReason.FOUND
    if needed:
        return KeepReason.NEEDED
    return KeepReason.SHARED if shared else None


def may_need_images(job: Job, *, retired: bool) -> bool:
    """Whether a job may ask for its images again. A retired one that holds nothing is never started."""
    return not job.is_settled and not (retired and job.phase is Phase.READY)
