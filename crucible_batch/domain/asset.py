"""An asset as a value: an input image on its way to the gateway, and what is to be done next.

    phase      command       events that lead on
    ABSENT     FindAsset     Found -> READY; Intended -> INTENDED; NotCreated -> FAILED (this run)
    INTENDED   CreateIntent  Created -> CREATED; NotCreated -> FAILED; Lost -> ABSENT
    CREATED    PutBytes      Uploaded -> UPLOADED; Deleted -> ABSENT
    UPLOADED   AwaitReady    BecameReady -> READY; Deleted -> ABSENT
    READY      -             Deleted -> ABSENT
    FAILED     -             (a new run: ABSENT)

An intent has no idempotency key, and its upload URL comes once, in the answer. So an asset that a journal shows as
INTENDED or CREATED is ``in_doubt``: it is looked for by its nonce before anything is bought again.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import TypeAlias, assert_never

from crucible_batch.domain.credits import ZERO, Credits
from crucible_batch.domain.events import (
    AssetEvent,
    BecameReady,
    Created,
    Deleted,
    Found,
    Intended,
    Lost,
    NotCreated,
    Uploaded,
)
from crucible_batch.domain.gateway_types import ErrorInfo

ASSET_PREFIX = "asset:"
"""Before the digest, in the names under which assets' events stand in the journal; a job's are bare digests."""


class AssetPhase(enum.StrEnum):
    """How far an asset is; the table is at the head of this file."""

    ABSENT = "absent"
    INTENDED = "intended"
    CREATED = "created"
    UPLOADED = "uploaded"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Asset:
    """One distinct input image, named by the digest of its bytes.

    ``found``: it was at the gateway already, uploaded by another run. ``charged`` is what this directory paid for it.
    """

    sha256: str
    phase: AssetPhase = AssetPhase.ABSENT
    asset_id: str | None = None
    nonce: str | None = None
    in_doubt: bool = False
    error: ErrorInfo | None = None
    found: bool = False
    charged: Credits = ZERO

    @property
    def identity(self) -> str:
        """The name under which its events stand in the journal."""
        return ASSET_PREFIX + self.sha256


@dataclass(frozen=True, slots=True)
class FindAsset:
    """Use an asset that is there already, or decide to buy an intent."""


@dataclass(frozen=True, slots=True)
class CreateIntent:
    """Buy the intent; where it is in doubt, look for it by its nonce first."""


@dataclass(frozen=True, slots=True)
class PutBytes:
    """Send the bytes; where their URL is lost, give the asset back for its rebate."""


@dataclass(frozen=True, slots=True)
class AwaitReady:
    """Wait until the gateway shows it as ready."""


AssetCommand: TypeAlias = FindAsset | CreateIntent | PutBytes | AwaitReady


def decide_asset(asset: Asset) -> AssetCommand | None:
    """Say what the asset wants next; None where it is ready, or failed in this run."""
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
    """Return the asset after ``event``."""
    match event:
        case Intended(nonce=nonce):
            return Asset(asset.sha256, AssetPhase.INTENDED, nonce=nonce)
        case Created(asset_id=asset_id, credits=charged):
            return replace(asset, phase=AssetPhase.CREATED, asset_id=asset_id, charged=charged)
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
        case _:
            assert_never(event)


def resume_asset(asset: Asset) -> Asset:
    """Return the asset as a new run takes it up: what was under way is in doubt, what failed may be tried again."""
    match asset.phase:
        case AssetPhase.INTENDED | AssetPhase.CREATED | AssetPhase.UPLOADED:
            return replace(asset, in_doubt=True)
        case AssetPhase.FAILED:
            return Asset(asset.sha256)
        case _:
            return asset
