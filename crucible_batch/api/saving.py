"""A plan saved: the terms, the grounds and the jobs of a draft, written to a file that ``run`` follows."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from crucible_batch.api.asked import Asked
from crucible_batch.api.standing import journal_of, plan_rows
from crucible_batch.core.answers import Workflow
from crucible_batch.core.plan import RunTerms
from crucible_batch.core.prices import PriceBook
from crucible_batch.core.retry import HOPELESS_CODES
from crucible_batch.core.saved_plan import ManifestFile, PlanHead, PlannedPrice, PlanOptions, PlanTerms, PlanTotals
from crucible_batch.journal import PlanFile
from crucible_batch.manifest import Manifest
from crucible_batch.plans import PLAN_VERSION, write_saved_plan


@dataclass(frozen=True, slots=True)
class TextFiles:
    """The prompt files and tables that a manifest has read: as it names them, with the SHA-256 of each."""

    found: dict[str, str] = field(default_factory=dict)

    def note(self, text: str, path: Path) -> None:
        """Take in a file that is about to be read; one that can't be is left to whoever reads it."""
        if text not in self.found and path.is_file():
            with path.open("rb") as file:
                self.found[text] = hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class Grounds:
    """What a plan is made on, apart from its jobs. ``workflows`` and ``files`` fill up while the jobs are made."""

    source: Manifest
    terms: RunTerms
    gateway: str
    workflows: dict[str, Workflow] = field(default_factory=dict)
    files: TextFiles = field(default_factory=TextFiles)

    @property
    def held_to(self) -> PlanTerms:
        """What a run is held to; codes that are hopeless anyway are no term of this plan."""
        terms = self.terms
        never = tuple(sorted(terms.never - HOPELESS_CODES))
        return PlanTerms(terms.budget, terms.ceiling, terms.attempts, never, terms.upload_ceiling)

    @property
    def lists(self) -> dict[str, tuple[str, ...] | None]:
        """Each workflow's parameter names, sorted: the gateway's order means nothing."""
        return {
            workflow_id: None if workflow.fields is None else tuple(sorted(workflow.fields))
            for workflow_id, workflow in sorted(self.workflows.items())
        }

    def manifest_at(self, path: str) -> ManifestFile:
        files = dict(sorted(self.files.found.items()))
        return ManifestFile(self.source.name, path, self.source.sha256, files)


def save_plan(
    target: Path,
    asked: Asked,
    grounds: Grounds,
    draft: PlanFile,
    *,
    run_dir: Path,
    prices: tuple[PlannedPrice, ...],
    totals: PlanTotals,
    book: PriceBook,
    force: bool,
) -> str:
    """Write the plan and return its digest; ``book`` gives the expected prices of its jobs.

    Raises ``UserError`` where it can't be written, or may not be.
    """
    source = grounds.source
    base = os.path.dirname(os.path.realpath(target))  # noqa: PTH120 - realpath gives text
    with journal_of(run_dir) as journal:
        head = PlanHead(
            schema_version=PLAN_VERSION,
            manifest=grounds.manifest_at(_relative(source.directory / source.path.name, base)),
            gateway=grounds.gateway,
            options=_options(asked, _relative(run_dir, base)),
            terms=grounds.held_to,
            workflows=grounds.lists,
            prices=prices,
            totals=totals,
            # Read before the jobs are: what a run does meanwhile may be in their states already, and never missing.
            events=0 if journal is None else journal.last_number(),
        )
        rows = plan_rows(draft, journal, grounds.terms, asked.choice, base=source.directory, prices=book)
        return write_saved_plan(target, head, rows, force=force)


def _relative(path: Path, base: str) -> str:
    directory = os.path.realpath(path.parent)
    return Path(os.path.relpath(Path(directory, path.name), base)).as_posix()


def _options(asked: Asked, run_dir: str) -> PlanOptions:
    return PlanOptions(
        run_id=asked.terms.run_id,
        run_dir=run_dir,
        budget=asked.budget,
        retry_failed=asked.retry_failed,
        only=asked.only,
        variables=dict(asked.variables),
        allow_outside=asked.allow_outside,
        max_jobs=asked.max_jobs,
        max_manifest_bytes=asked.max_manifest_bytes,
    )
