"""The rules of a merge: which shards, which events, and how the merged run ended. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from crucible_batch.core.asset import Asset, AssetPhase, evolve_asset
from crucible_batch.core.budget import BUDGET_EXHAUSTED
from crucible_batch.core.events import AssetEvent, Event, Found
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Job, Phase
from crucible_batch.core.outcome import EVERYTHING, PRECEDENCE, Ending, Outcome, conclude
from crucible_batch.core.redaction import listed
from crucible_batch.core.sharding import (
    SHARD_ABANDONED,
    SHARD_UNFINISHED,
    OutstandingShards,
    ShardId,
)
from crucible_batch.errors import ExitCode, UserError

Abandoned = Collection[int] | Literal["all"]
"""The numbers of shards that did not run and never will, or all that are missing."""

_NAMED = 20
_MOST_OPTIONS = 3


@dataclass(frozen=True, slots=True)
class FoundShard:
    """A shard directory, by the terms of its runs."""

    where: str
    shard: ShardId
    plan_digest: str


@dataclass(frozen=True, slots=True)
class MergeChoice:
    """The shards to merge, by number, and those to abandon."""

    found: Mapping[int, FoundShard]
    abandoned: tuple[int, ...]

    @property
    def is_empty(self) -> bool:
        return not self.found and not self.abandoned


def choose_shards(
    found: Sequence[FoundShard],
    outstanding: OutstandingShards,
    abandoned: Abandoned,
    *,
    command: str,
) -> MergeChoice:
    """Decide which shards are merged and which are abandoned.

    ``command`` is the command without ``--abandon``, for hints. Raises ``UserError`` with the
    shards concerned if they are of different plans or of another plan than ``outstanding``, if one
    is there twice or missing, or if one that is to be abandoned was run.

        shard                         in ``abandoned``    decision
        merged before                 -                   left out
        abandoned, has a directory    -                   refused: what it spent isn't counted
        has a directory               no                  merged
        has a directory               by number           refused: its credits may be spent
        has no directory              no                  refused: it may still be running elsewhere
        has no directory              yes                 abandoned
    """
    by_number: dict[int, FoundShard] = {}
    for each in found:
        _refuse_other_plan(each, outstanding)
        first = by_number.setdefault(each.shard.number, each)
        if first is not each:
            raise UserError(
                f"shard {each.shard} is there twice: {first.where} and {each.where}",
                hint="give the directory in which it was run; the other one may be a copy",
            )
    _refuse_abandoned(by_number, outstanding)
    missing = set(outstanding.missing)
    left = {number: each for number, each in sorted(by_number.items()) if number in missing}
    given_up = _given_up(abandoned, left, outstanding)
    absent = missing - left.keys() - given_up
    if absent:
        verb, them = "are", "them"
        if len(absent) == 1:
            verb, them = "is", "it"
        options = "--abandon all"
        if len(absent) <= _MOST_OPTIONS:
            options = " ".join(f"--abandon {number}" for number in sorted(absent))
        raise UserError(
            f"{shards_text(absent)} of {len(outstanding.allowances)} {verb} missing",
            hint=f"run {them} first; if {shards_text(absent)} did not run and never will:"
            f" {command} {options}",
        )
    return MergeChoice(left, tuple(sorted(given_up)))


def _refuse_other_plan(found: FoundShard, outstanding: OutstandingShards) -> None:
    expected, count = outstanding.plan_digest[:8], len(outstanding.allowances)
    if found.plan_digest != outstanding.plan_digest:
        raise UserError(
            f"{found.where} is a shard of plan {found.plan_digest[:8]}; the shards that the main"
            f" run directory waits for are of plan {expected}",
            hint=f"merge the shards of plan {expected} only",
        )
    if found.shard.number not in outstanding.allowances or found.shard.count != count:
        raise UserError(
            f"{found.where} is shard {found.shard}; the plan has {count} shards",
            hint="its journal was edited or is damaged: restore it from a backup",
        )


def _refuse_abandoned(found: Mapping[int, FoundShard], outstanding: OutstandingShards) -> None:
    for number in sorted(outstanding.abandoned & found.keys()):
        raise UserError(
            f"shard {found[number].shard} was abandoned, and it was run in {found[number].where}:"
            " what it spent is not counted, since its allowance was returned",
            hint="run the manifest in the main run directory: jobs that were bought are found there"
            " by their keys, at no cost, and counted; leave this directory out, and move it away if"
            " it is in the main run directory",
        )


def _given_up(
    abandoned: Abandoned, found: Mapping[int, FoundShard], outstanding: OutstandingShards
) -> set[int]:
    """Return the numbers of the shards to abandon, without those that are merged already."""
    if abandoned == "all":
        return set(outstanding.missing) - found.keys()
    numbers = {int(number) for number in abandoned}
    for number in sorted(numbers - outstanding.allowances.keys()):
        raise UserError(
            f"the plan has no shard {number}: its shards are numbered from 1 to"
            f" {len(outstanding.allowances)}",
            hint="crucible-batch merge --help",
        )
    for number in sorted(numbers & found.keys()):
        raise UserError(
            f"shard {found[number].shard} can't be abandoned: it was run in"
            f" {found[number].where}, and what it spent counts",
            hint=f"leave out --abandon {number}: the shard is merged as it is, finished or not",
        )
    return numbers - outstanding.merged


def shards_text(numbers: Iterable[int]) -> str:
    """Return numbers of shards in words, such as ``shards 2, 3``."""
    named = list(map(str, sorted(numbers)))
    word = "shard"
    if len(named) > 1:
        word = "shards"
    return f"{word} {listed(named, _NAMED)}"


class KnownImages:
    """Which events about images the main journal gets: all but the discovery of what it has.

    A shard's journal begins with a ``Found`` for each image that was ready when the plan was
    divided. In the main journal, another ``Found`` for such an image would count it as one that
    this directory did not buy: its rebate would be lost, and it would count as reused.
    """

    def __init__(self, images: Iterable[Asset]) -> None:
        """``images`` are those of the main journal."""
        self._images = {image.identity: image for image in images}

    def takes(self, subject: str, event: Event) -> bool:
        """Return whether the main journal gets the event.

        To be called in the order of the merged events.
        """
        if not isinstance(event, AssetEvent):
            return True
        image = self._images.get(subject) or Asset(subject.partition(":")[2])
        is_ready = image.phase is AssetPhase.READY
        if isinstance(event, Found) and is_ready and image.asset_id == event.asset_id:
            return False
        self._images[subject] = evolve_asset(image, event)
        return True


_ALLOWANCES_USED = ErrorInfo(
    BUDGET_EXHAUSTED,
    "the allowances of the shards were used up before all jobs were started",
    hint="what the shards did not spend is available again: run the manifest, or divide what is"
    " left",
)


_CONTINUE = "run the manifest in the main run directory: it continues with these jobs"
_RANKS = {int(code): rank for rank, code in enumerate(PRECEDENCE)}


def united_stops(
    endings: Mapping[int, Ending | None], abandoned: Collection[int], *, left_out: int = 0
) -> dict[str, ErrorInfo]:
    """Return why jobs were not started, by price class, from the endings of all shards.

    If several shards have a stop for the same class, the one of the worse ending counts. A shard
    without an ending, or abandoned, counts after the others, and after it that ``left_out`` jobs
    were in no shard. That a budget was used up is stated of the allowances: of the merged run's
    budget, some may be left.
    """
    ended = [(number, ending) for number, ending in endings.items() if ending is not None]
    stops: dict[str, ErrorInfo] = {}
    for number, ending in sorted(ended, key=lambda each: (_rank(each[1]), each[0])):
        for scope, stop in stops_of_shard(number, ending).items():
            stops.setdefault(scope, stop)
    unfinished = [number for number, ending in endings.items() if ending is None]
    if unfinished:
        stops.setdefault(EVERYTHING, _unfinished(unfinished))
    for scope, stop in stops_of_abandoned(abandoned).items():
        stops.setdefault(scope, stop)
    if left_out:
        jobs = "1 job"
        if left_out > 1:
            jobs = f"{left_out} jobs"
        error = ErrorInfo(
            BUDGET_EXHAUSTED,
            f"the budget had no room for {jobs} with images when it was divided",
            hint="raise the budget, and run the manifest, or divide what is left",
        )
        stops.setdefault(EVERYTHING, error)
    return stops


def stops_of_shard(number: int, ending: Ending | None) -> Mapping[str, ErrorInfo]:
    """Return why the jobs of one shard were not started, by price class."""
    if ending is None:
        return {EVERYTHING: _unfinished([number])}
    stops = dict(ending.stops)
    for scope, stop in stops.items():
        if stop.code == BUDGET_EXHAUSTED:
            stops[scope] = _ALLOWANCES_USED
    return stops


def stops_of_abandoned(abandoned: Collection[int]) -> Mapping[str, ErrorInfo]:
    """Return why the jobs of abandoned shards were not started; empty if there are none."""
    if not abandoned:
        return {}
    error = ErrorInfo(SHARD_ABANDONED, f"{shards_text(abandoned)} did not run", hint=_CONTINUE)
    return {EVERYTHING: error}


def differing_stop(
    job: Job, price_class: str, own: Mapping[str, ErrorInfo], united: Mapping[str, ErrorInfo]
) -> ErrorInfo | None:
    """Return the stop of a job that differs from the one that ``united`` has for it, else None.

    Each job that was not started has the outcome that it had in its own shard, whatever stopped the
    others:

        its own shard             the merged run's stop of its class   outcome
        stopped by its allowance  the same                             blocked, as the class
        stopped by its allowance  another, or another was worse        blocked, by itself
        interrupted, out of time  the same                             pending, as the class
        the same, or killed       the allowance of another shard       pending, by itself
        abandoned                 anything else                        pending, by itself
    """
    if job.phase not in {Phase.READY, Phase.PREPARING}:
        return None
    mine = own.get(price_class) or own.get(EVERYTHING)
    ours = united.get(price_class) or united.get(EVERYTHING)
    if ours is not None and mine is not None and ours.code == mine.code:
        return None
    return mine


def _unfinished(numbers: Collection[int]) -> ErrorInfo:
    message = f"{shards_text(numbers)} ended before all jobs were done"
    return ErrorInfo(SHARD_UNFINISHED, message, hint=_CONTINUE)


def _rank(ending: Ending) -> int:
    """Return the place of an ending among those of shards, the worst first."""
    return _RANKS.get(ending.exit_code, len(_RANKS))


def conclude_merged(
    counts: Mapping[Outcome, int],
    stops: Mapping[str, ErrorInfo],
    endings: Iterable[Ending | None],
    *,
    left_over: bool,
    job_stops: Mapping[str, ErrorInfo] | None = None,
) -> Ending:
    """Return the ending of the merged run: the worst of its shards and of its jobs' outcomes.

    ``left_over``: a shard that was abandoned, or has no ending, has left jobs behind. ``job_stops``
    are those of ``differing_stop``, by identity.
    """
    reasons = {ExitCode(ending.exit_code) for ending in endings if ending is not None}
    reasons.discard(ExitCode.OK)
    if left_over:
        reasons.add(ExitCode.STOPPED)
    ending = conclude(counts, stops, reasons)
    return replace(ending, job_stops=job_stops or {})
