"""An asset as a value: an input image at the gateway, its phase and its next command.

    phase      command       events that change the phase
    ABSENT     FindAsset     Found -> READY; Intended -> INTENDED; NotCreated -> FAILED (this run)
    INTENDED   CreateIntent  Created -> CREATED; NotCreated -> FAILED; Lost -> ABSENT
    CREATED    PutBytes      Uploaded -> UPLOADED; Deleted -> ABSENT
    UPLOADED   AwaitReady    BecameReady -> READY; Deleted -> ABSENT
    READY      -             Deleted -> ABSENT
    FAILED     -             (a new run: ABSENT)

An intent has no idempotency key, and its upload URL comes only in its answer. So an asset that an
earlier run left as INTENDED or CREATED is ``in_doubt``: it is looked up by its nonce before
anything is bought again.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import assert_never

from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.core.events import (
    AssetEvent,
    BecameReady,
    Created,
    Deleted,
    Found,
    Intended,
    Lost,
    NotCharged,
    NotCreated,
    Uploaded,
)
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Job, Phase

ASSET_PREFIX = "asset:"
"""The prefix of the digest in the subject of an asset's events; a job's subject is a digest alone.
"""


class AssetPhase(enum.StrEnum):
    ABSENT = "absent"
    INTENDED = "intended"
    CREATED = "created"
    UPLOADED = "uploaded"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Asset:
    """One distinct input image, identified by the digest of its bytes.

    ``found``: it was at the gateway already, uploaded by another run. ``charged`` is this
    directory's cost, ``assumed`` if the answer that named it was lost.
    """

    sha256: str
    phase: AssetPhase = AssetPhase.ABSENT
    asset_id: str | None = None
    nonce: str | None = None
    in_doubt: bool = False
    error: ErrorInfo | None = None
    found: bool = False
    charged: Credits = ZERO
    assumed: bool = False

    @property
    def identity(self) -> str:
        """The subject of its events in the journal."""
        return ASSET_PREFIX + self.sha256


@dataclass(frozen=True, slots=True)
class FindAsset:
    """Use an existing asset, or decide to buy an intent."""


@dataclass(frozen=True, slots=True)
class CreateIntent:
    """Buy the intent; if it is in doubt, look it up by its nonce first."""


@dataclass(frozen=True, slots=True)
class PutBytes:
    """Send the bytes; if their URL is lost, delete the asset for its rebate."""


@dataclass(frozen=True, slots=True)
class AwaitReady:
    """Wait until the gateway shows it as ready."""


AssetCommand = FindAsset | CreateIntent | PutBytes | AwaitReady


def decide_asset(asset: Asset) -> AssetCommand | None:
    """Return the asset's next command, None if it is ready or failed in this run."""
    match asset.phase:
        case AssetPhase.ABSENT:
            return FindAsset()
        case AssetPhase.INTENDED:
            return CreateIntent()
        case AssetPhase.CREATED:
            return PutBytes()
        case AssetPhase.UPLOADED:
            return AwaitReady()
        case AssetPhase.READY | AssetPhase.FAILED:
            return None


def evolve_asset(asset: Asset, event: AssetEvent) -> Asset:
    match event:
        case Intended(nonce=nonce):
            return Asset(asset.sha256, AssetPhase.INTENDED, nonce=nonce)
        case Created(asset_id=asset_id, credits=charged, assumed=assumed):
            return replace(
                asset, phase=AssetPhase.CREATED, asset_id=asset_id, charged=charged, assumed=assumed
            )
        case Uploaded():
            return replace(asset, phase=AssetPhase.UPLOADED, in_doubt=False)
        case BecameReady():
            return replace(asset, phase=AssetPhase.READY, in_doubt=False)
        case Found(asset_id=asset_id):
            return Asset(asset.sha256, AssetPhase.READY, asset_id=asset_id, found=True)
        case NotCreated(error=error):
            return Asset(asset.sha256, AssetPhase.FAILED, error=error)
        case Deleted() | Lost():
            return Asset(asset.sha256)
        case NotCharged():
            return asset
        case _:
            assert_never(event)


def resume_asset(asset: Asset) -> Asset:
    """Return the asset as a new run resumes it: an unfinished upload is in doubt, a failed one may
    be retried.
    """
    match asset.phase:
        case AssetPhase.INTENDED | AssetPhase.CREATED | AssetPhase.UPLOADED:
            return replace(asset, in_doubt=True)
        case AssetPhase.FAILED:
            return Asset(asset.sha256)
        case _:
            return asset


class KeepReason(enum.StrEnum):
    IN_DOUBT = "in_doubt"
    FOUND = "found"
    NEEDED = "needed"
    SHARED = "shared"


def is_candidate(asset: Asset) -> bool:
    """Whether the gateway has, or may have, an asset that a cleanup can delete."""
    return asset.asset_id is not None or asset.phase is AssetPhase.INTENDED


def keep_reason(asset: Asset, *, needed: bool, shared: bool, found_too: bool) -> KeepReason | None:
    """Return why a cleanup keeps a candidate, None if it deletes it.

    asset                       needed by         decision
    unanswered intent           -                 keep: the next run resolves it
    found: another's upload     -                 keep, unless ``found_too``
    any id                      a job here        keep
    any id                      a job elsewhere   keep (``shared``)
    any id                      no job            delete
    """
    if asset.asset_id is None:
        return KeepReason.IN_DOUBT
    if asset.found and not found_too:
        return KeepReason.FOUND
    if needed:
        return KeepReason.NEEDED
    return KeepReason.SHARED if shared else None


def may_need_images(job: Job, *, retired: bool) -> bool:
    """Whether a job may need its images again.

    A retired job that holds nothing is never started.
    """
    return not job.is_settled and not (retired and job.phase is Phase.READY)
