"""Entries whose jobs are derived: what ``expand`` asks of an expander."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from crucible_batch.errors import Problem
from crucible_batch.manifest import JobSpec, Manifest, expand, load_manifest
from crucible_batch.manifest.job_template import ExpansionContext, JobTemplate, MadeJob
from crucible_batch.manifest.manifest import ManifestEntry
from crucible_batch.manifest.models import JobEntry

JOBS = """
version: 1
name: test
workflow: z
jobs:
  - {name: first, prompt: p, repeat: 2}
  - {name: later, prompt: q}
  - {name: last, prompt: r}
"""


class Derived(JobEntry):
    """An entry whose jobs are made by a feature."""

    @property
    def is_derived(self) -> bool:
        return True


class Recording:
    """An expander that makes two jobs of each entry, and records what it is asked."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self._context: ExpansionContext

    def begin(self, context: ExpansionContext) -> None:
        self.steps.append("begin")
        self._context = context

    def jobs(self, entry: ManifestEntry) -> Iterator[MadeJob]:
        for number in (1, 2):
            text = f"{entry.job.name}-{number}"
            named = entry.job.model_copy(update={"name": text})
            template = JobTemplate(self._context, replace(entry, job=named))
            self.steps.append(f"make {text}")
            for combination in template.combinations():
                yield template.make(None, combination, 1)

    def note(self, job: JobSpec) -> None:
        self.steps.append(f"note {job.name}")


def growing(folder: Path, **options: int) -> Manifest:
    path = folder / "m.yaml"
    path.write_text(JOBS)
    manifest = load_manifest(path, **options)
    first, later, last = manifest.jobs
    derived = Derived(**later.job.model_dump(exclude_unset=True))
    return replace(manifest, jobs=(first, replace(later, job=derived), last))


def test_a_manifest_may_grow_if_an_entry_is_derived(tmp_path: Path) -> None:
    manifest = growing(tmp_path)
    assert manifest.may_grow
    assert not load_manifest(manifest.path).may_grow


def test_an_expander_makes_its_jobs_in_their_place_and_is_told_of_all(tmp_path: Path) -> None:
    expander = Recording()
    names = [
        item.name
        for item in expand(growing(tmp_path), expander=expander)
        if isinstance(item, JobSpec)
    ]
    assert names == ["first-1", "first-2", "later-1", "later-2", "last"]
    assert expander.steps == [
        "begin", "note first-1", "note first-2",
        "make later-1", "note later-1", "make later-2", "note later-2", "note last",
    ]  # fmt: skip


def test_derived_jobs_count_towards_the_limit(tmp_path: Path) -> None:
    expander = Recording()
    *made, last = expand(growing(tmp_path, max_jobs=4), expander=expander)
    assert len(made) == 4
    assert isinstance(last, Problem)
    assert "more than 4 jobs" in last.message
    assert "note last" not in expander.steps
