"""The events of shards are collected and checked, and then added to the main journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from crucible_batch.core.asset import ASSET_PREFIX
from crucible_batch.core.credits import Credits
from crucible_batch.core.events import Event
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Job, Phase
from crucible_batch.core.outcome import Ending, Outcome, outcome_of
from crucible_batch.core.plan import RunTerms
from crucible_batch.core.prices import PriceBook, workflow_class
from crucible_batch.core.sharding import OutstandingShards
from crucible_batch.features import found
from crucible_batch.features.shards.directories import ShardDirectory
from crucible_batch.features.shards.merge_rule import (
    KnownImages,
    MergeChoice,
    conclude_merged,
    differing_stop,
    stops_of_abandoned,
    stops_of_shard,
    united_stops,
)
from crucible_batch.journal import (
    Journal,
    MergedEvents,
    copy_gateway_ledger,
    note_sent_elsewhere,
)
from crucible_batch.runs.outstanding_shards import ShardJournalError, shard_errors
from crucible_batch.runs.report_note import forget_report
from crucible_batch.runs.run_journal import ledger_of
from crucible_batch.runs.shard_notes import note_shards

DAMAGED = "it was edited or is damaged: restore it from a backup; nothing was merged"


@dataclass(frozen=True, slots=True)
class ShardMerge:
    """A merge into a main journal that is open for writing. ``shards`` are ordered by number."""

    journal: Journal
    shards: Sequence[ShardDirectory]
    events: MergedEvents
    outstanding: OutstandingShards
    choice: MergeChoice

    def gather(self) -> dict[int, float]:
        """Collect the events of all shards; return the time of the latest one of each, by number.

        A shard without events is not in it. Raises ``ShardJournalError`` if a shard has events of a
        job that it or the main plan doesn't have, or that another shard has too. Reads one journal
        at a time.
        """
        times: dict[int, float] = {}
        planned = frozenset(self.journal.identities())
        for shard in self.shards:
            with shard_errors(shard.path), Journal.read(shard.path) as journal:
                claimed = self.events.claim(shard.number, journal.identities())
                if claimed is not None:
                    raise ShardJournalError(
                        f"{shard.path} has a job that shard {self.events.source_of(claimed)} has"
                        f" too: {claimed[:16]}",
                        hint=DAMAGED,
                    )
                latest = self.events.add(shard.number, self._own(journal, shard, planned))
            if latest is not None:
                times[shard.number] = latest
        return times

    def _own(
        self, journal: Journal, shard: ShardDirectory, planned: Collection[str]
    ) -> Iterator[tuple[str, Event]]:
        for subject, event in journal.events():
            if not subject.startswith(ASSET_PREFIX):
                if self.events.source_of(subject) != shard.number:
                    raise ShardJournalError(
                        f"the journal in {shard.path} has events of a job that its shard doesn't"
                        f" have: {subject[:16]}",
                        hint=DAMAGED,
                    )
                if subject not in planned:
                    raise ShardJournalError(
                        f"{shard.path} has a job that is not in the plan of the main run directory:"
                        f" {subject[:16]}",
                        hint="name the directory in which the plan was divided: --out-dir DIR",
                    )
            yield subject, event

    def add(self, relocated: Iterable[tuple[str, Event]], times: Mapping[int, float]) -> None:
        """Add the events of the shards, their run and the note of their merge, in one transaction.

        ``times`` are those of ``gather``.
        """
        with self.journal.transaction():
            known = KnownImages(self.journal.assets())
            budget = self._budget()
            self.journal.restore(
                (subject, (event,)) for subject, event in self.events if known.takes(subject, event)
            )
            self.journal.restore((subject, (event,)) for subject, event in relocated)
            for shard in self.shards:
                with shard_errors(shard.path), Journal.read(shard.path) as journal:
                    copy_gateway_ledger(journal, self.journal)
                    note_sent_elsewhere(journal, self.journal)
                    _copy_notes(journal, self.journal)
            if self.shards:
                self._add_run(replace(_terms(self.shards), budget=budget), times)
            merged = self.outstanding.merged | self.choice.found.keys() | set(self.choice.abandoned)
            abandoned = self.outstanding.abandoned | set(self.choice.abandoned)
            note_shards(
                self.journal,
                replace(self.outstanding, merged=frozenset(merged), abandoned=abandoned),
            )
            forget_report(self.journal)

    def _budget(self) -> Credits:
        """Return the plan's budget.

        If it wasn't noted, it is what was committed when the plan was divided, and all allowances.
        """
        if self.outstanding.budget is not None:
            return self.outstanding.budget
        prices = None
        if self.shards:
            prices = PriceBook.of(self.shards[0].terms)
        return sum(self.outstanding.allowances.values(), ledger_of(self.journal, prices).committed)

    def _add_run(self, terms: RunTerms, times: Mapping[int, float]) -> None:
        started = min(shard.started_at for shard in self.shards)
        ends = (shard.finished_at or times.get(shard.number, started) for shard in self.shards)
        endings = {shard.number: shard.ending for shard in self.shards}
        stops = united_stops(endings, self.choice.abandoned, left_out=self.outstanding.left_out)
        number = self.journal.begin_run(terms, now=started)
        left = self._count(terms, stops, endings)
        ending = conclude_merged(
            left.counts,
            stops,
            endings.values(),
            left_over=left.is_left_over,
            job_stops=left.job_stops,
        )
        self.journal.end_run(number, ending, now=max(started, *ends))

    def _count(
        self, terms: RunTerms, stops: Mapping[str, ErrorInfo], endings: Mapping[int, Ending | None]
    ) -> _Outcomes:
        """Count the outcomes, and collect the stops of single jobs.

        New jobs that no shard had are not counted.
        """
        found = _Outcomes()
        found.counts[Outcome.BLOCKED] = self.outstanding.left_out
        own_stops = {number: stops_of_shard(number, ending) for number, ending in endings.items()}
        of_abandoned = stops_of_abandoned(self.choice.abandoned)
        for planned, job in self.journal.jobs(terms.rule):
            price_class = workflow_class(planned.workflow_id)
            shard = self.events.source_of(planned.identity)
            own = of_abandoned
            if shard is not None:
                own = own_stops[shard]
            stop = differing_stop(job, price_class, own, stops)
            all_stops = stops
            if stop is not None:
                found.job_stops[job.identity] = stop
                all_stops = {**stops, job.identity: stop}
            if shard is None and _is_new(job):
                found.is_left_over |= bool(self.choice.abandoned)
                continue
            outcome, _ = outcome_of(job, price_class, all_stops)
            found.counts[outcome] += 1
            is_cut = shard is not None and endings[shard] is None
            found.is_left_over |= is_cut and outcome not in {Outcome.SUCCEEDED, Outcome.FAILED}
        return found


@dataclass(slots=True)
class _Outcomes:
    """``is_left_over`` and ``job_stops`` are those of ``conclude_merged``."""

    counts: Counter[Outcome] = field(default_factory=Counter)
    is_left_over: bool = False
    job_stops: dict[str, ErrorInfo] = field(default_factory=dict)


def _terms(shards: Sequence[ShardDirectory]) -> RunTerms:
    """Return the plan's terms, by those of a shard.

    The merged run is continued by its manifest, not by its plan.
    """
    terms = shards[0].terms
    here = (
        shard.terms.manifest_path for shard in shards if Path(shard.terms.manifest_path).is_file()
    )
    return replace(
        terms,
        manifest_path=next(here, terms.manifest_path),
        plan_digest=None,
        shard=None,
        sidecars=any(shard.terms.sidecars for shard in shards),
    )


def _copy_notes(shard: Journal, main: Journal) -> None:
    """Copy what features note in the journals of runs, and read from the main one."""
    for module in found("merged_notes"):
        for name in module.NAMES:
            value = shard.noted(name)
            if value is not None:
                main.note(name, value)


def _is_new(job: Job) -> bool:
    return job.phase is Phase.READY and not job.attempts
