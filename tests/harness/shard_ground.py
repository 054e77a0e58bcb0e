"""Ground for merges: a main run directory whose plan was divided, and shard directories made by
hand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from crucible_batch.core.events import Event, Failed, Saved, Succeeded
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.identity import idempotency_key
from crucible_batch.core.outcome import Ending, RunStatus
from crucible_batch.core.plan import PlannedJob, RunTerms
from crucible_batch.core.sharding import OutstandingShards, ShardId
from crucible_batch.journal import Binding, Journal, PlanFile
from crucible_batch.object_url import ObjectUrl
from crucible_batch.outputs import Receipts
from crucible_batch.runs.paths import plan_folder, state_directory_of
from crucible_batch.runs.shard_notes import note_shards
from tests.harness.job_events import accepted_event, held_event, saved_event
from tests.harness.replacing import replace
from tests.harness.run_terms import run_terms

BINDING = Binding("campaign", "default", "https://gateway.example")
DIGEST = "ab12cd34" + "0" * 56
OK = Ending(RunStatus.SUCCEEDED, 0)
Story = tuple[str, Sequence[Event]]


def planned(number: int) -> PlannedJob:
    name = f"job-{number}"
    identity = hashlib.sha256(name.encode()).hexdigest()
    return PlannedJob(
        position=number,
        identity=identity,
        name=name,
        workflow_id="w",
        params={"prompt.text": name},
        output=f"{name}/{{index}}{{ext}}",
    )


def content_of(number: int) -> bytes:
    return f"picture of job {number}".encode()


def saved(
    number: int, at: float, *, path: str | None = None, content: bytes | None = None
) -> Saved:
    data = content_of(number) if content is None else content
    return saved_event(
        0,
        f"job-{number}/0.png" if path is None else path,
        at=at,
        sha256=hashlib.sha256(data).hexdigest(),
        byte_size=len(data),
    )


def bought(number: int, at: float, price: str = "2") -> list[Event]:
    """A job that was held and accepted."""
    key = idempotency_key(planned(number).identity, 1)
    return [
        held_event(8, at=at, key=key, shape="s", images=False),
        accepted_event(price, f"gateway-{number}", at=at + 0.1),
    ]


def done(number: int, at: float, price: str = "2", *, path: str | None = None) -> Story:
    ends = [Succeeded(at=at + 0.2, outputs=1), saved(number, at + 0.3, path=path)]
    return planned(number).identity, [*bought(number, at, price), *ends]


def failed(number: int, at: float) -> Story:
    error = ErrorInfo("GENERATION_FAILED", "it failed")
    return planned(number).identity, [*bought(number, at), Failed(at=at + 0.2, error=error)]


def in_flight(number: int, at: float) -> Story:
    return planned(number).identity, bought(number, at)


@dataclass(frozen=True)
class ShardGround:
    """A main run directory in ``home``, with ``jobs`` jobs, divided into ``count`` shards of 20
    credits each."""

    home: Path
    jobs: int = 8
    count: int = 4
    digest: str = DIGEST

    @property
    def main(self) -> Path:
        return self.home / "outputs" / "campaign" / "default"

    @property
    def terms(self) -> RunTerms:
        manifest = self.home / "campaign.yaml"
        return run_terms(100, manifest_name="campaign", manifest_path=str(manifest), attempts=1)

    def divide(
        self, stories: Iterable[Story] = (), *, budget: str | None = "100", ending: Ending = OK
    ) -> None:
        """Make the main run directory, with what an earlier run did in it."""
        with Journal.open(self.main, BINDING, now=1.0) as journal:
            with PlanFile.temporary() as plan:
                plan.fill(planned(number) for number in range(self.jobs))
                journal.adopt(plan)
            if stories := list(stories):
                run = journal.begin_run(self.terms, now=1.0)
                journal.restore(stories)
                journal.end_run(run, ending, now=2.0)
            allowances = {number: Decimal(20) for number in range(1, self.count + 1)}
            total = None if budget is None else Decimal(budget)
            note_shards(journal, OutstandingShards(self.digest, allowances, budget=total))

    def folder(self, number: int) -> Path:
        return self.main / "shards" / self.digest[:8] / f"{number}-of-{self.count}"

    def numbers_of(self, shard: int) -> list[int]:
        return [number for number in range(self.jobs) if number % self.count == shard - 1]

    def shard(
        self,
        number: int,
        stories: Iterable[Story] | None = None,
        *,
        ending: Ending | None = OK,
        at: Path | None = None,
        digest: str | None = None,
        binding: Binding = BINDING,
        first: Iterable[Story] = (),
    ) -> Path:
        """Make a shard directory.

        By default it has done all of its jobs. ``first`` are events before those.
        """
        directory = self.folder(number) if at is None else at
        stories = [
            *first,
            *(
                [done(job, 10.0 + job) for job in self.numbers_of(number)]
                if stories is None
                else stories
            ),
        ]
        terms = replace(
            self.terms,
            budget=Decimal(20),
            plan_digest=digest or self.digest,
            shard=ShardId(number, self.count),
        )
        with Journal.open(directory, binding, now=1.0) as journal:
            with PlanFile.temporary() as plan:
                plan.fill(planned(job) for job in self.numbers_of(number))
                journal.adopt(plan)
            run = journal.begin_run(terms, now=10.0 + number)
            journal.restore(stories)
            if ending is not None:
                journal.end_run(run, ending, now=100.0 + number)
        for _, events in stories:
            for event in events:
                if isinstance(event, Saved):
                    self.write(directory, event)
        return directory

    def write(self, directory: Path, output: Saved) -> None:
        target = directory / output.path
        target.parent.mkdir(parents=True, exist_ok=True)
        for number in range(self.jobs):
            if hashlib.sha256(content_of(number)).hexdigest() == output.sha256:
                target.write_bytes(content_of(number))

    def all_shards(self) -> list[Path]:
        return [self.shard(number) for number in range(1, self.count + 1)]

    def receipts(self) -> list[object]:
        return list(Receipts(self.main).read())


def state_of_shard(main: Path, digest: str, number: int, count: int) -> Path:
    """Return the directory of this machine in which a shard with a log in ``main`` runs."""
    state = state_directory_of(ObjectUrl.of_directory(main))
    return plan_folder(state, digest) / ShardId(number, count).folder


def snapshot(directory: Path) -> dict[str, bytes]:
    """The files of a run directory, without those of its shards and its journal."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.relative_to(directory).parts[0] not in {".crucible", "shards"}
    }


def events_of(directory: Path) -> list[tuple[str, Event]]:
    with Journal.read(directory) as journal:
        return list(journal.events())
