"""Fills the seed of each job of a manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

from crucible_batch.core.identity import Json
from crucible_batch.errors import Problem
from crucible_batch.features.seeds.manifest_keys import SeedRule, own_seeds
from crucible_batch.features.seeds.rule import (
    MARKER,
    derived_seed,
    is_named_seed,
    seed_parameters,
)
from crucible_batch.manifest import JobSpec
from crucible_batch.manifest.manifest import ManifestEntry
from crucible_batch.manifest.source_map import SourceNode

_KEY = "seeds"
_SHOWN = 12


class SeedFiller:
    """What the planner needs to fill the seeds: a ``ParameterFiller``."""

    marker: Mapping[str, Json] = MARKER

    def __init__(
        self,
        seeds: SeedRule | None,
        site: SourceNode,
        entries: Sequence[ManifestEntry],
    ) -> None:
        self._seeds = seeds
        self._site = site
        self._entries = entries
        rules = [seeds, *(own_seeds(each.job) for each in entries)]
        self._named = {rule.parameter for rule in rules if rule is not None}
        """What is named for some jobs: that it was filled shows nothing about the others."""

    def parameter(
        self, spec: JobSpec, listed: Sequence[str] | None, given: Set[str], former: str | None
    ) -> str | Problem | None:
        seeds, _ = self._of(spec)
        if seeds is None or seeds.is_off:
            return None
        named = seeds.parameter
        if former in self._named:
            former = None
        candidates = seed_parameters(listed or ())
        name = _chosen(named, former, listed, candidates)
        if listed is None and name is None:
            # No such job is sent. A seed that is given is a mistake whatever the workflow lists.
            name = next((each for each in sorted(given) if is_named_seed(each)), None)
            if name is None:
                return None
        if name is None:
            return self._unclear(spec, named, listed or (), candidates)
        if name in given:
            return self._given_twice(spec, name)
        return name

    def value(self, identity: str) -> Json:
        return derived_seed(identity)

    def problem(self, spec: JobSpec, message: str) -> Problem:
        _, site = self._of(spec)
        return site.problem((_KEY,), message, hint=_name_another(spec))

    def _of(self, spec: JobSpec) -> tuple[SeedRule | None, SourceNode]:
        """Return the rule for a job's seed, and the part of the manifest that has it."""
        entry = self._entries[spec.entry]
        own = own_seeds(entry.job)
        if own is not None:
            return own, entry.site
        return self._seeds, self._site

    def _unclear(
        self, spec: JobSpec, named: str | None, listed: Sequence[str], candidates: Sequence[str]
    ) -> Problem:
        workflow = f"workflow {spec.workflow_id!r}"
        if named is not None:
            message = f"{workflow} has no parameter {named!r}"
        elif len(candidates) > 1:
            message = f"{workflow} has several seeds: {', '.join(candidates)}"
        elif listed:
            message = f"{workflow} lists no seed, only {', '.join(listed[:_SHOWN])}"
        else:
            message = f"{workflow} does not list its parameters, so its seed is not known"
        return self.problem(spec, message)

    def _given_twice(self, spec: JobSpec, name: str) -> Problem:
        _, site = self._of(spec)
        return spec.problem(
            f"params.{name}",
            f"sets {name!r}, which `{_KEY}` fills ({site.place((_KEY,))})",
            hint=f"remove one of them; `{_KEY}: none` in an entry keeps the seeds of its params",
        )


def _chosen(
    named: str | None, former: str | None, listed: Sequence[str] | None, candidates: Sequence[str]
) -> str | None:
    """Return the parameter to fill; None if it is not clear.

    That of the run directory's former plan stays: with another one, all jobs would be bought again.
    """
    for name in (named, former):
        if name is not None and (not listed or name in listed):
            return name
    return candidates[0] if len(candidates) == 1 else None


def _name_another(spec: JobSpec) -> str:
    return (
        f"name the parameter: {_KEY}: {{field: ...}}; or fill none for the entry:"
        f" {_KEY}: none; crucible-batch workflows {spec.workflow_id} lists what it takes"
    )
