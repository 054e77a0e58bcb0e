"""Manifests in stages: what a seed decides of one, its text, its plan, and which jobs it may have
bought.

The first stage are the drafts. ``edit`` is made from their outputs, of all or of those in a picks
file, and ``finish`` from those of ``edit``. Between two processes the picks and the prompts of
drafts may change.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from crucible_batch.core.events import Saved
from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.ports import Derivation
from crucible_batch.sandbox.records import Job
from tests.verification.simulation.surroundings import content, marker

PICKS = "picks.txt"
EDIT, FINISH = "edit", "finish"
_DRAFTS = ("zimage-base", "zimage-base", "zimage-sheet", "zimage-sketch")
DERIVING = "qwen-edit"


@dataclass(frozen=True, slots=True)
class Edition:
    """The manifest's folder during one process.

    ``picks`` are the lines of the picks file; None: there is none.
    """

    revisions: tuple[int, ...]
    picks: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class StagedManifest:
    """What a seed decides of a staged manifest, for all its processes.

    ``drafts`` are the workflows of the drafts.
    """

    drafts: tuple[str, ...]
    is_picked: bool
    has_finish: bool

    def text(self, edition: Edition, terms: Sequence[str]) -> str:
        pick = f"pick: {PICKS}, " if self.is_picked else ""
        return "\n".join(
            (
                "version: 1",
                "name: simulation",
                *terms,
                f"workflows: {{{DERIVING}: {{fields: {{prompt: prompt.value}}}}}}",
                "jobs:",
                *(
                    (
                        f"  - {{name: draft-{number}, workflow: {workflow}, "
                        f'prompt: "{_draft(number, revision)}"}}'
                    )
                    for number, (workflow, revision) in enumerate(
                        zip(self.drafts, edition.revisions, strict=True)
                    )
                ),
                _entry(EDIT, "draft-*", pick),
                *([_entry(FINISH, f"{EDIT}-*", "")] if self.has_finish else []),
                "",
            )
        )

    def write(self, edition: Edition, folder: Path, terms: Sequence[str]) -> Path:
        """Write the manifest, with the lines of its ``terms``, and its picks file; return the
        manifest's path."""
        path = folder / "simulation.yaml"
        path.write_text(self.text(edition, terms), encoding="utf-8")
        picks = folder / PICKS
        picks.unlink(missing_ok=True)
        if edition.picks is not None:
            picks.write_text("".join(f"{line}\n" for line in edition.picks), encoding="utf-8")
        return path


def _draft(number: int, revision: int) -> str:
    return f"picture {number} of revision {revision}"


def _entry(name: str, sources: str, pick: str) -> str:
    prompt = f"{name} {{{{ source.name }}}} {{{{ source.index }}}}"
    named = f'name: "{name}-{{{{ source.name }}}}", from: "{sources}"'
    return f'  - {{{named}, {pick}workflow: {DERIVING}, prompt: "{prompt}"}}'


# -- what a seed decides


def invent_manifest(chance: random.Random) -> StagedManifest:
    drafts = tuple(chance.choice(_DRAFTS) for _ in range(chance.randrange(1, 5)))
    return StagedManifest(drafts, is_picked=chance.random() < 0.6, has_finish=chance.random() < 0.6)


def invent_editions(
    chance: random.Random, manifest: StagedManifest, count: int
) -> tuple[Edition, ...]:
    """Draw the editions of so many processes.

    The last one is that of the calm end, with the newest prompts.
    """
    editions: list[Edition] = []
    revisions = [0] * len(manifest.drafts)
    for _ in range(count + 1):
        if editions and chance.random() < 0.15:
            revisions[chance.randrange(len(revisions))] += 1
        picks = None
        if manifest.is_picked and chance.random() < 0.7:
            picks = _picks(chance, len(manifest.drafts))
        editions.append(Edition(tuple(revisions), picks))
    return tuple(editions)


def _picks(chance: random.Random, drafts: int) -> tuple[str, ...]:
    """Draw the lines of a picks file: jobs, single outputs, and seldom a missing output."""
    lines = [
        f"draft-{number}" + chance.choice(("", "", "/0", "/1", "/5")) for number in range(drafts)
    ]
    return tuple(chance.sample(lines, chance.randrange(len(lines) + 1)))


def cost(manifest: StagedManifest, prices: Mapping[str, Decimal], upload: Decimal) -> Decimal:
    """Return what all stages cost without failures, if everything is picked."""
    outputs = sum(_outputs(workflow) for workflow in manifest.drafts)
    derived = outputs * (2 if manifest.has_finish else 1)
    drafts = sum((prices[workflow] for workflow in manifest.drafts), Decimal(0))
    return drafts + derived * (prices[DERIVING] + upload)


def _outputs(workflow: str) -> int:
    return 2 if workflow == "zimage-sheet" else 1


# -- the plan


@dataclass(frozen=True, slots=True)
class SeenDerivation:
    """The later stages of a run.

    ``jobs`` is told of each job that they lead to, by its identity.
    """

    inner: Derivation
    jobs: dict[str, PlannedJob]

    def derive(self, planned: PlannedJob, saved: Saved) -> Sequence[PlannedJob]:
        made = self.inner.derive(planned, saved)
        note(self.jobs, made)
        return made

    def counts(self, planned: PlannedJob, saved: Saved) -> bool:
        return self.inner.counts(planned, saved)

    def gives_way(self, planned: PlannedJob) -> bool:
        return self.inner.gives_way(planned)

    def arrange(self) -> None:
        self.inner.arrange()


def note(jobs: dict[str, PlannedJob], made: Sequence[PlannedJob]) -> None:
    """Put jobs at the end: the newest of those with the same name is the last."""
    for each in made:
        jobs.pop(each.identity, None)
        jobs[each.identity] = each


# -- what may be bought


@dataclass(frozen=True, slots=True)
class Expected:
    """A job of a later stage that there must be: its name, its prompt, and the digest of its
    source's bytes.
    """

    name: str
    prompt: str
    digest: str
    source: str


@dataclass
class Stages:
    """What the manifest of a seed wants, by the gateway's own jobs.

    ``jobs`` are all of them by their words.
    """

    manifest: StagedManifest
    edition: Edition
    picked: set[str] = field(default_factory=set)
    """All lines that were in a picks file in any process."""

    def edit(self, edition: Edition) -> None:
        """The manifest's folder changes."""
        self.edition = edition
        self.picked |= set(edition.picks or ())

    @staticmethod
    def word(job: Job) -> str:
        """Return what a job was bought for: a prompt, and in later stages its image's digest."""
        name = marker(job)
        return f"{name} from {job.source_sha256}" if job.source_sha256 is not None else name

    def most(self, word: str, jobs: Mapping[str, list[Job]]) -> int:
        """Return how often a job may be bought: once, if it was ever wanted."""
        name, _, digest = word.partition(" from ")
        if not digest:
            return int(name.startswith("picture "))
        stage, source, index = name.split(" ")
        if stage == EDIT and self.manifest.is_picked and not self._was_picked(source, int(index)):
            return 0
        made_by = (job for found in jobs.values() for job in found if self._may_be(job, source))
        return int(
            any(
                digest == digest_of(job, int(index))
                for job in made_by
                if int(index) < len(job.outputs)
            )
        )

    def are_from_the_present(
        self, name: str, digest: str | None, jobs: Mapping[str, list[Job]]
    ) -> bool:
        """Whether the manifest has a draft with that prompt now, or such a job is made from a job
        that it has now.

        ``digest`` is that of the image that is sent. ``jobs`` are the gateway's, by their words.
        """
        stage, source, index = name.split(" ", 2)
        if stage not in (EDIT, FINISH):
            return name in (
                _draft(number, revision) for number, revision in enumerate(self.edition.revisions)
            )
        number, _, output = source.removeprefix(f"{EDIT}-").removeprefix("draft-").partition(".")
        drafts = jobs.get(_draft(int(number), self.edition.revisions[int(number)]), [])
        sources = drafts
        if stage == FINISH:
            prompt = f"{EDIT} draft-{number} {output or 0}"
            words = (
                f"{prompt} from {digest_of(job, int(output or 0))}"
                for job in drafts
                if _has(job, int(output or 0))
            )
            sources = [job for word in words for job in jobs.get(word, [])]
        return any(digest == digest_of(job, int(index)) for job in sources if _has(job, int(index)))

    def _was_picked(self, source: str, index: int) -> bool:
        return source in self.picked or f"{source}/{index}" in self.picked

    @staticmethod
    def _may_be(job: Job, source: str) -> bool:
        """Whether a job of the gateway was bought as the source of that name, in any edition."""
        name = marker(job)
        kind, _, rest = source.partition("-")
        if kind == "draft":
            return name.startswith(f"picture {rest} of ")
        of, _, index = rest.partition(".")
        return name == f"{kind} {of} {index or 0}"

    def expected(
        self, jobs: Mapping[str, list[Job]], reported: Container[str]
    ) -> Iterator[Expected]:
        """Yield the jobs that there must be in the end: of each output of each source that has
        succeeded.

        ``reported``: the ids of the jobs in the report. If a job was bought again, its output is of
        one of them.
        """
        sources = [
            (f"draft-{number}", _alive(jobs.get(_draft(number, revision), []), reported))
            for number, revision in enumerate(self.edition.revisions)
        ]
        for stage in (EDIT, FINISH) if self.manifest.has_finish else (EDIT,):
            found: list[tuple[str, Job | None]] = []
            for source, job in sources:
                for index in range(0 if job is None else len(job.outputs)):
                    if stage == EDIT and not self._is_picked(source, index):
                        continue
                    assert job is not None
                    name = f"{stage}-{source}" + (f".{index}" if index else "")
                    prompt, digest = f"{stage} {source} {index}", digest_of(job, index)
                    yield Expected(name, prompt, digest, source)
                    found.append((name, _alive(jobs.get(f"{prompt} from {digest}", []), reported)))
            sources = found

    def _is_picked(self, source: str, index: int) -> bool:
        if not self.manifest.is_picked:
            return True
        picks = self.edition.picks or ()
        return source in picks or f"{source}/{index}" in picks

    @property
    def is_waiting(self) -> bool:
        return self.manifest.is_picked and not self.edition.picks


def _alive(jobs: Sequence[Job], reported: Container[str]) -> Job | None:
    alive = [job for job in jobs if job.error_code is None]
    return next((job for job in alive if job.job_id in reported), alive[0] if alive else None)


def _has(job: Job, index: int) -> bool:
    return index < len(job.outputs)


def digest_of(job: Job, index: int) -> str:
    return hashlib.sha256(content(job, index)).hexdigest()
