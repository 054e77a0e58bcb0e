"""A saved plan as data: its terms, its inputs, and the state of each job when it was made."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from crucible_batch.core.credits import StoredCredits
from crucible_batch.core.prices import Certainty
from crucible_batch.core.run_options import ManifestOptions
from crucible_batch.core.sharding import LearnedPrice, PlannedShard


class PlannedState(enum.StrEnum):
    """The state of a job when the plan was made."""

    NEW = "new"
    DONE = "done"
    IN_FLIGHT = "in_flight"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """The manifest. ``path`` is relative to the plan's directory."""

    name: str
    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class PlanOptions(ManifestOptions):
    """The options with which the plan was made: they needn't be given again.

    ``run_dir`` is relative to the plan's directory. ``budget`` is None if only the manifest had
    one, or none was given. ``of_features`` are the values that options of features fix, by name.
    ``scheduled_at`` is the scheduled time in UTC; None if it was not given and nothing in the plan
    depends on it.
    """

    run_id: str
    run_dir: str
    budget: StoredCredits | None
    retry_failed: bool
    only: tuple[str, ...]
    variables: Mapping[str, str]
    of_features: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlanTerms:
    """The terms of a run of the plan, those in the manifest included.

    ``budget`` None: the run needs consent.
    """

    budget: StoredCredits | None
    max_credits_per_job: StoredCredits | None
    attempts: int
    never: tuple[str, ...]
    max_credits_per_upload: StoredCredits | None = None


@dataclass(frozen=True, slots=True)
class PlanTotals:
    """The plan's totals. ``estimate`` is the sum of all prices that are known; ``spent`` and
    ``held`` are those of the run directory."""

    jobs: int
    states: Mapping[str, int]
    estimate: StoredCredits
    certainty: Certainty
    spent: StoredCredits
    held: StoredCredits


@dataclass(frozen=True, slots=True)
class PlanAccount:
    """The account in which a plan was divided: a salted fingerprint of its API key, and what only
    it can read.
    """

    fingerprint: str
    job_id: str | None = None
    asset_id: str | None = None


@dataclass(frozen=True, slots=True)
class PlanHead:
    """All of a plan but its jobs.

    ``workflows`` are the ids of those that its jobs use. ``shards`` is empty if the plan is not
    divided. ``learned`` are the prices that its shards start with. ``division`` counts the divided
    plans of the run directory, from 1, so that two of them never have the same digest. ``account``
    is that of a divided plan: all of its shards have to be run in it.
    """

    schema_version: int
    manifest: ManifestFile
    gateway: str
    options: PlanOptions
    terms: PlanTerms
    workflows: tuple[str, ...]
    totals: PlanTotals
    shards: tuple[PlannedShard, ...] = ()
    learned: tuple[LearnedPrice, ...] = ()
    division: int = 0
    account: PlanAccount | None = None


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An input image. ``path`` is relative to the manifest's directory.

    The other fields are of plans that are divided into shards, so that a shard reads only images
    that it uploads. ``asset_id`` is the gateway's id of the image if it was ready there.
    """

    path: str
    sha256: str
    asset_id: str | None = None
    byte_size: int | None = None
    mime_type: str | None = None


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One job of the plan. ``credits`` is its expected cost without uploads: 0 if nothing is to be
    bought, None if the price is unknown. ``markers`` are those of ``PlannedJob``."""

    name: str
    identity: str
    workflow_id: str
    state: PlannedState
    credits: StoredCredits | None
    params: Mapping[str, object]
    images: Mapping[str, ImageFile]
    repeat: int
    markers: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRow(PlanRow):
    """A job of a shard, with all of the planned job: its shard is run without reading tables and
    prompts again.

    ``shard`` is the number of the shard. The other fields are those of ``PlannedJob``.
    """

    shard: int
    position: int
    output: str
    prompt: str | None = None
    axes: Mapping[str, str] = field(default_factory=dict)
    row: Mapping[str, str] = field(default_factory=dict)
