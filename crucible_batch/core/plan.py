"""A plan: the jobs of a manifest, each with its identity, in manifest order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from crucible_batch.core.credits import StoredCredits
from crucible_batch.core.gateway_types import AssetSpec, ErrorInfo
from crucible_batch.core.identity import generation_of
from crucible_batch.core.redaction import clean
from crucible_batch.core.retry_rule import RetryRule
from crucible_batch.core.sharding import LearnedPrice, ShardId

MAX_CELL = 200
"""Characters that are kept of a cell of a table. The job itself is made from the complete cell."""
MAX_COLUMN_NAME = 80
MAX_ROW = 2000
"""Characters that are kept of a row, column names included, so that a wide table doesn't fill
journals and reports."""
DERIVED_JOB_INVALID = "DERIVED_JOB_INVALID"
"""The code of a job that can't be made from an output that its source has."""

BudgetSource = Literal["command", "manifest"]
"""Where the budget of a run was set."""
NotifyOption = Literal["--allow-command", "--no-notify", "--no-notify --allow-command"]
"""The options of a run for the notifications and commands of its manifest, without which they may
prevent the next run."""


def placeholder_identity(*parts: str) -> str:
    """Return the identity of a job that is never requested.

    It is made of other text than that of a request.
    """
    return hashlib.sha256(
        "\0".join(("blocked", *parts)).encode("utf-8", "surrogatepass")
    ).hexdigest()


def row_texts(values: Mapping[str, object]) -> Mapping[str, str]:
    """Return a table row as text for reports: each value on one line, without control characters,
    and bounded.

    Columns with a longer name than ``MAX_COLUMN_NAME`` are left out, and so are all columns after
    ``MAX_ROW``.
    """
    kept: dict[str, str] = {}
    left = MAX_ROW
    for column, value in values.items():
        if len(column) > MAX_COLUMN_NAME:
            continue
        name, text = clean(column), clean(_cell(value), MAX_CELL)
        left -= len(name) + len(text)
        if left < 0:
            break
        if name:
            kept[name] = text
    return kept


_JSON = json.JSONEncoder(ensure_ascii=False)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return _JSON.encode(value)


@dataclass(frozen=True, slots=True)
class InputImage:
    spec: AssetSpec
    path: Path


@dataclass(frozen=True, slots=True)
class SourceOutput:
    """The output of another job of the run (its *source*) from which a derived job is made.

    ``name`` is the source's name, ``index`` the number of its output. ``path`` is relative to the
    run directory. It and ``sha256`` are None while there is no such output: it is expected, or its
    source has failed.
    """

    name: str
    index: int
    path: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """One job of a plan.

    ``position`` counts from 0 in manifest order. ``params`` are JSON and sent as they are;
    ``images`` maps further parameters to input images, sent as asset ids. ``output`` is a relative
    path in which ``{index}`` and ``{ext}`` are still open. ``row`` are the values of the job's
    table row, as ``row_texts`` returns them; they are not sent. ``source`` is the output from which
    a derived job is made. ``obstacle`` is why the job can't be started in any run of this plan,
    such as a source that failed; None for all others. ``markers`` are what stands in the identity
    for parameters whose values follow from it, such as a derived seed. ``entry`` is the index of
    the job's entry in the manifest, 0 if that is not known.
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
    row: Mapping[str, str] = field(default_factory=dict)
    source: SourceOutput | None = None
    obstacle: ErrorInfo | None = None
    markers: Mapping[str, object] = field(default_factory=dict)
    entry: int = 0

    @property
    def content(self) -> Mapping[str, object]:
        """The parameters as the identity is taken of them."""
        return {**self.params, **self.markers}

    @property
    def generation(self) -> int:
        """How often the same content was asked for before, since what came was rejected."""
        return generation_of(self.identity)

    @property
    def is_expected(self) -> bool:
        """Whether it would be made from an output that isn't there: it counts in an estimate, and
        is not in a plan.
        """
        return self.source is not None and self.source.sha256 is None

    @property
    def source_name(self) -> str | None:
        """The name of the job from whose output a derived job is made."""
        return None if self.source is None else self.source.name

    @property
    def digests(self) -> tuple[str, ...]:
        """The digests of its distinct images, sorted."""
        return tuple(sorted({image.spec.sha256 for image in self.images.values()}))


@dataclass(frozen=True, slots=True)
class RunTerms:
    """The terms of a run: its manifest, its limits and its retry rule.

    ``ceiling`` and ``upload_ceiling`` are the declared limits of the price of one job and one
    upload. ``plan_digest`` is that of the saved plan that the run follows, if any. ``sidecars`` and
    ``embed``: provenance is written beside the outputs, and into them. ``properties`` are the names
    of the properties of features that are written into them. ``scheduled_at`` is the scheduled
    time, if templates of the jobs use it. ``shard`` is the part of the saved plan that the run
    follows, None for all of it; ``budget`` is then its allowance. ``learned`` are the
    prices that were known when the plan was divided into shards. ``budget_source`` is where the
    budget was set, None without a budget and for runs of older releases. ``notify_option`` is the
    option that the next run has to repeat, None if the run did not have one.
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
    scheduled_at: datetime | None = None
    shard: ShardId | None = None
    learned: tuple[LearnedPrice, ...] = ()
    budget_source: BudgetSource | None = None
    notify_option: NotifyOption | None = None
    properties: tuple[str, ...] = ()

    @property
    def rule(self) -> RetryRule:
        return RetryRule(self.attempts, self.never)
