"""A plan: the jobs of a manifest, each with its identity, in manifest order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from crucible_batch.domain.credits import StoredCredits
from crucible_batch.domain.gateway_types import AssetSpec


@dataclass(frozen=True, slots=True)
class InputImage:
    """An input image and its path on disk."""

    spec: AssetSpec
    path: Path


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """One job of a plan.

    ``position`` counts from 0 in manifest order. ``params`` are JSON and sent as they are; ``images`` maps further
    parameters to input images, sent as asset ids. ``output`` is a relative path in which ``{index}`` and ``{ext}`` are
    still open.
    """

    position: int
    identity: str
    name: str
    workflow_id: str
    params: Mapping[str, object]
    images: Mapping[str, InputImage] = field(default_factory=dict)
    prompt: str | None = None
    axes: Mapping[str, str] = field(default_factory=dict)
    repeat: int = 1
    output: str = "{name}/{index}{ext}"

    @property
    def digests(self) -> tuple[str, ...]:
        """The digests of its distinct images, sorted."""
        return tuple(sorted({image.spec.sha256 for image in self.images.values()}))


@dataclass(frozen=True, slots=True)
class RunTerms:
    """The terms of a run: its manifest, its limits and its retry rule.

    ``ceiling`` and ``upload_ceiling`` are the declared limits of the price of one job and one upload. ``plan_digest``
    is that of the saved plan that the run follows, if any. ``sidecars`` and ``embed``: provenance is written beside the
    outputs, and into them.
    """

    manifest_name: str
    manifest_path: str
    manifest_sha256: str
    run_id: str
    budget: StoredCredits | None
    ceiling: StoredCredits | None
    attempts: int
    never: frozenset[str]
    plan_digest: str | None = None
    sidecars: bool = True
    embed: bool = False
    upload_ceiling: StoredCredits | None = None
