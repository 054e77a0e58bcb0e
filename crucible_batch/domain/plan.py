"""A plan: the jobs that a manifest asks for, each with its identity, in manifest order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from crucible_batch.domain.credits import StoredCredits
from crucible_batch.domain.gateway_types import AssetSpec


@dataclass(frozen=True, slots=True)
class InputImage:
    """An input image: what it is, and where it was found."""

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
        """The distinct images that it needs, in a stable order."""
        return tuple(sorted({image.spec.sha256 for image in self.images.values()}))


@dataclass(frozen=True, slots=True)
class RunTerms:
    """What a run is held to: whose it is, what it may spend, how failures are tried again.

    ``ceiling`` and ``upload_ceiling`` are the most that one job and one upload may cost, where that is declared.
    ``plan_digest`` names the saved plan that it follows, if it follows one. ``sidecars`` and ``embed`` say where the
    provenance of its outputs is written down: beside them, and in them.
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
