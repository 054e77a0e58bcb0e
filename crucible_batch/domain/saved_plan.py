"""A saved plan as data: under which terms, on what grounds, and each of its jobs as they stood when it was made."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from crucible_batch.domain.credits import StoredCredits
from crucible_batch.domain.prices import Certainty


class PlannedState(enum.StrEnum):
    """How far a job was when the plan was made."""

    NEW = "new"
    DONE = "done"
    IN_FLIGHT = "in_flight"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """The manifest. ``path`` is relative to the plan's directory; ``files`` maps every text file that the manifest
    reads (prompts and tables, as it names them) to its SHA-256."""

    name: str
    path: str
    sha256: str
    files: Mapping[str, str] = field(default_factory=dict)


DEFAULT_MAX_MANIFEST_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What was said when the plan was made, so that nobody need say it again.

    ``run_dir`` is relative to the plan's directory. ``budget`` is None where only the manifest had one, or nobody.
    """

    run_id: str
    run_dir: str
    budget: StoredCredits | None
    retry_failed: bool
    only: tuple[str, ...]
    variables: Mapping[str, str]
    allow_outside: bool
    max_jobs: int
    max_manifest_bytes: int = DEFAULT_MAX_MANIFEST_BYTES


@dataclass(frozen=True, slots=True)
class PlanTerms:
    """What a run of the plan is held to, the manifest's own words included. ``budget`` None: it has to ask first."""

    budget: StoredCredits | None
    max_credits_per_job: StoredCredits | None
    attempts: int
    never: tuple[str, ...]
    max_credits_per_upload: StoredCredits | None = None


@dataclass(frozen=True, slots=True)
class PlannedPrice:
    """What was known of a price: ``each`` is exact, a lower bound, an upper bound or None, by ``certainty``.

    ``price_class`` is ``workflow:ID``, or ``upload``. ``count`` is how many are to be bought.
    """

    price_class: str
    count: int
    certainty: Certainty
    each: StoredCredits | None


@dataclass(frozen=True, slots=True)
class PlanTotals:
    """The plan in figures. ``estimate`` sums up the prices that are not unknown; ``spent`` and ``held`` are those of
    the run directory."""

    jobs: int
    states: Mapping[str, int]
    estimate: StoredCredits
    certainty: Certainty
    spent: StoredCredits
    held: StoredCredits


@dataclass(frozen=True, slots=True)
class PlanHead:
    """All of a plan but its jobs.

    ``workflows`` maps each workflow to the parameters that it listed, None where it didn't say. ``events`` is how many
    events the run directory's journal had: what came later is either the plan's own doing or another run's.
    """

    schema_version: int
    manifest: ManifestFile
    gateway: str
    options: PlanOptions
    terms: PlanTerms
    workflows: Mapping[str, tuple[str, ...] | None]
    prices: tuple[PlannedPrice, ...]
    totals: PlanTotals
    events: int


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An input image. ``path`` is relative to the manifest's directory."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One job of the plan. ``credits`` is what it is expected to cost, uploads aside: 0 where nothing is to be bought,
    None where the price isn't known."""

    name: str
    identity: str
    workflow_id: str
    state: PlannedState
    credits: StoredCredits | None
    params: Mapping[str, object]
    images: Mapping[str, ImageFile]
    repeat: int
