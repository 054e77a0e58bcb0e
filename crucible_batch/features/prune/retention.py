"""Which runs are pruned: by age, by count for each manifest, and by the size of all runs together.

Pure.

a run is kept if           it is running, or can't be read
                           it ended otherwise than with exit code 0 or 1
                           it has held credits, or jobs of unknown outcome
                           it has shards that aren't merged, or is one
                           it has no report of its newest run
                           it is one of the newest N of its manifest (N is 1 without ``keep``)
otherwise it is pruned if  an earlier pruning of it was interrupted
                           it ended more than ``older_than_s`` ago
                           it is the oldest left, while all runs together exceed ``max_bytes``
                           neither age nor size was given, so that all but the newest N go
"""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

_FINISHED = frozenset({0, 1})
"""The exit codes after which the same command has nothing left to do without a further decision of
the user.
"""


class KeepCause(enum.StrEnum):
    """Why a run is kept whatever the criteria are. The values are written to ``--json``."""

    UNREADABLE = "unreadable"
    RUNNING = "running"
    UNFINISHED = "unfinished"
    HELD = "held"
    UNKNOWN = "unknown"
    SHARDS = "shards"
    UNREPORTED = "unreported"
    NEWEST = "newest"


class PruneCause(enum.StrEnum):
    """Why a run is pruned. The values are written to ``--json``."""

    INTERRUPTED = "interrupted"
    AGE = "age"
    COUNT = "count"
    SIZE = "size"


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the decision on a run directory depends on.

    ``manifest`` identifies the manifest, together with the gateway. ``ended_at`` is in seconds
    since the epoch. ``byte_size`` is the size of the files that would be deleted. ``is_pruned``: an
    earlier pruning has begun or ended. ``has_shards``: it has shards that are not merged, or is the
    directory of a shard.
    """

    manifest: str
    run_id: str
    ended_at: float
    byte_size: int = 0
    exit_code: int | None = 0
    is_running: bool = False
    is_readable: bool = True
    has_held: bool = False
    has_unknown: bool = False
    has_shards: bool = False
    is_reported: bool = True
    is_pruned: bool = False


@dataclass(frozen=True, slots=True)
class RetentionRules:
    """The criteria.

    ``keep`` runs of each manifest are kept in any case; None means one, and that it wasn't given.
    """

    older_than_s: float | None = None
    keep: int | None = None
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class PruneDecision:
    """The decision on a run: it is pruned if ``prune`` is set.

    Neither is set if no criterion applies to it.
    """

    prune: PruneCause | None = None
    keep: KeepCause | None = None


def decide_pruning(
    runs: Sequence[RunFacts], rules: RetentionRules, *, now: float
) -> list[PruneDecision]:
    """Return the decision on each run, in the order of ``runs``."""
    newest = _newest(runs, rules.keep or 1)
    decisions: list[PruneDecision] = []
    for at, run in enumerate(runs):
        cause = protection(run)
        if cause is None and at in newest:
            cause = KeepCause.NEWEST
        if cause is not None:
            decisions.append(PruneDecision(keep=cause))
        else:
            decisions.append(PruneDecision(_cause(run, rules, now)))
    if rules.max_bytes is not None:
        _prune_by_size(runs, decisions, rules.max_bytes)
    return decisions


def _prune_by_size(
    runs: Sequence[RunFacts], decisions: list[PruneDecision], max_bytes: int
) -> None:
    """Decide to prune the oldest runs that may be pruned, until those that are left fit."""
    left = sum(
        run.byte_size
        for run, decision in zip(runs, decisions, strict=True)
        if decision.prune is None
    )
    for at in sorted(range(len(runs)), key=lambda at: runs[at].ended_at):
        if left <= max_bytes:
            break
        if decisions[at] == PruneDecision() and runs[at].byte_size:
            decisions[at] = PruneDecision(PruneCause.SIZE)
            left -= runs[at].byte_size


def protection(run: RunFacts) -> KeepCause | None:
    """Return why a run is kept whatever other runs there are; None if it may be pruned."""
    if not run.is_readable:
        return KeepCause.UNREADABLE
    if run.is_running:
        return KeepCause.RUNNING
    if run.has_shards:
        return KeepCause.SHARDS
    if run.exit_code not in _FINISHED:
        return KeepCause.UNFINISHED
    if run.has_unknown:
        return KeepCause.UNKNOWN
    if run.has_held:
        return KeepCause.HELD
    if not run.is_reported:
        return KeepCause.UNREPORTED
    return None


def _newest(runs: Sequence[RunFacts], count: int) -> set[int]:
    """Return the positions of the ``count`` newest runs of each manifest, except pruned ones."""
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for at, run in enumerate(runs):
        if run.is_readable and not run.is_pruned:
            groups[run.manifest].append(at)
    return {
        at
        for group in groups.values()
        for at in sorted(group, key=lambda at: -runs[at].ended_at)[:count]
    }


def _cause(run: RunFacts, rules: RetentionRules, now: float) -> PruneCause | None:
    """Return why a run that nothing protects is pruned, except for the size of all runs."""
    cause: PruneCause | None = None
    if run.is_pruned:
        if run.byte_size:
            cause = PruneCause.INTERRUPTED
    elif rules.older_than_s is not None:
        if now - run.ended_at > rules.older_than_s:
            cause = PruneCause.AGE
    elif rules.keep is not None and rules.max_bytes is None:
        cause = PruneCause.COUNT
    return cause
