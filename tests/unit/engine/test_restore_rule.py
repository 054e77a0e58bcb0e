"""Restoring by itself: what a job that the gateway doesn't know counts at."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from crucible_batch.core.attempt import AttemptStatus
from crucible_batch.core.events import Accepted, JobEvent, Saved
from crucible_batch.core.gateway_types import AssetSpec, JobSnapshot, JobStatus
from crucible_batch.core.identity import idempotency_key
from crucible_batch.core.job import Job, evolve, replay
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.plan import InputImage, PlannedJob
from crucible_batch.core.prices import shape_of
from crucible_batch.core.receipts import Receipt, receipt_for
from crucible_batch.engine.restore import (
    _MAY_LACK_ATTEMPTS,
    RestoredJobs,
    _intact_outputs,
    _Rebuilder,
    _RebuiltJob,
    restore,
)
from crucible_batch.errors import GatewayError, OtherAccountError
from crucible_batch.outputs import OutputStore, Receipts
from crucible_batch.runs import start
from crucible_batch.runs.account import DirectoryAccount
from tests.harness.case_table import each_case
from tests.harness.histories import lives
from tests.harness.job_events import held_event, saved_event
from tests.harness.replacing import replace

D = Decimal
PLANNED = PlannedJob(0, "job", "job", "w", {})


async def no_pause(_seconds: float) -> None:
    """Let no time pass."""


class Gateway:
    """Knows the jobs of ``prices``, by their ids."""

    def __init__(self, **prices: str) -> None:
        self.prices = prices

    async def job(self, job_id: str, **_before_retry: object) -> JobSnapshot:
        return JobSnapshot(job_id, JobStatus.SUCCEEDED, D(self.prices[job_id]))


@pytest.mark.parametrize("prices", [("9", "2"), ("2", "9")])
async def test_a_job_that_is_unknown_counts_at_the_highest_price_of_its_shape(
    prices: tuple[str, str],
) -> None:
    planned = PLANNED
    gateway = Gateway(a=prices[0], b=prices[1])
    rebuilder = rebuilder_for(gateway)
    for job_id in ("a", "b"):
        attempt: Any = SimpleNamespace(job_ids=(job_id,))
        assert await rebuilder._found(planned, attempt) is not None
    shape = shape_of(planned)
    held = held_event(1, price_class=shape.price_class, shape=shape.digest)
    assert rebuilder.least_price([held], D(4)) == 9
    other = replace(held, shape="another")
    assert [rebuilder.least_price([other], ceiling) for ceiling in (D(4), None)] == [4, None]


class Knows(Gateway):
    """A gateway that has a record of each job, or an error."""

    def __init__(self, **records: JobSnapshot | GatewayError) -> None:
        super().__init__()
        self.records = records

    async def job(self, job_id: str, **_before_retry: object) -> JobSnapshot:
        found = self.records[job_id]
        if isinstance(found, GatewayError):
            raise found
        return found


def record(
    job_id: str, status: JobStatus = JobStatus.SUCCEEDED, workflow_id: str = "w"
) -> JobSnapshot:
    return JobSnapshot(job_id, status, D(2), workflow_id=workflow_id)


def rebuilder_for(gateway: Gateway, owner: str = "job") -> _Rebuilder:
    owners: Any = SimpleNamespace(owner=lambda _job_id: owner)
    unused: Any = SimpleNamespace()
    return _Rebuilder(gateway, owners, unused, no_pause)  # type: ignore[arg-type]


NOT_FOUND = GatewayError("not found", code="JOB_NOT_FOUND", status=404)


@each_case(
    "owner, answer, is_found, is_known",
    [
        ("job", record("a"), True, True),
        ("other job", record("a"), False, False),
        ("job", record("a", workflow_id="other"), False, False),
        ("job", NOT_FOUND, True, False),
    ],
)
async def test_a_claim_counts_by_the_gateways_record_of_a_job_that_no_other_job_claims(
    owner: str, answer: JobSnapshot | GatewayError, is_found: bool, is_known: bool
) -> None:
    found = await rebuilder_for(Knows(a=answer), owner)._found(
        PLANNED, SimpleNamespace(job_ids=("a",))
    )  # type: ignore[arg-type]
    assert (found is not None, found is not None and found.record is not None) == (
        is_found,
        is_known,
    )


async def test_an_error_of_the_gateway_does_not_show_that_a_job_is_unknown() -> None:
    gateway = Knows(a=GatewayError("not now", code="HTTP_503", status=503))
    attempt: Any = SimpleNamespace(job_ids=("a",))
    with pytest.raises(GatewayError, match="not now"):
        await rebuilder_for(gateway)._found(PLANNED, attempt)


@each_case(
    "job_ids, counting",
    [
        ("failed unknown done other", "failed unknown done"),
        ("running done", "running done"),  # a later attempt is known, so its record is old
        ("running unknown", "running"),
        ("unknown unknown2", "unknown unknown2"),
        ("done failed", "done"),
    ],
)
async def test_attempts_count_in_their_order_up_to_the_first_that_has_not_failed(
    job_ids: str, counting: str
) -> None:
    gateway = Knows(
        failed=record("failed", JobStatus.FAILED),
        running=record("running", JobStatus.RUNNING),
        done=record("done"),
        other=record("other"),
        unknown=NOT_FOUND,
        unknown2=NOT_FOUND,
    )
    claims: list[Any] = [SimpleNamespace(job_ids=(job_id,)) for job_id in job_ids.split()]
    checked = await rebuilder_for(gateway)._checked(PLANNED, claims)
    assert [each.job_id for each in checked] == counting.split()


class Lagging(Knows):
    """Answers 404 to the first ``stray`` requests."""

    stray = 4

    async def job(self, job_id: str, **before_retry: object) -> JobSnapshot:
        self.stray -= 1
        if self.stray >= 0:
            raise NOT_FOUND
        return await super().job(job_id, **before_retry)


@pytest.mark.parametrize(("stray", "is_known"), [(4, True), (5, False)])
async def test_the_fifth_404_in_a_row_is_believed(stray: int, is_known: bool) -> None:
    gateway = Lagging(a=record("a"))
    gateway.stray = stray
    claim: Any = SimpleNamespace(job_ids=("a",))
    found = await rebuilder_for(gateway)._found(PLANNED, claim)
    assert found is not None
    assert (found.record is not None) == is_known


@each_case(
    "answer, follows",
    [
        (record("a", JobStatus.FAILED), True),
        (NOT_FOUND, True),  # a later attempt of the receipts shows that it has failed
        (record("a", JobStatus.RUNNING), True),  # an old record: the gateway knows a later attempt
        (record("a"), False),
    ],
)
async def test_the_attempt_in_flight_has_failed_if_receipts_name_a_later_one(
    answer: JobSnapshot | GatewayError, follows: bool
) -> None:
    events = [held_event(1), Accepted(at=1.0, job_id="a", credits=D(2), reused=False)]
    job = replay(Job("job"), events)
    later: Any = SimpleNamespace(claim=SimpleNamespace(number=2, at=2.0), record=record("b"))
    ended = await rebuilder_for(Knows(a=answer))._end_of_attempt(job, [later])
    assert (ended is not None) == follows
    if ended is not None:
        assert replay(job, ended).attempt == 2


@each_case(
    "numbers, records, follows",
    [
        ([1], [record("a")], True),
        ([1], [None], False),  # its key is sent again
        ([1, 2], [None, record("b")], True),  # a later attempt shows that it was accepted
        ([2], [record("b")], False),
    ],
)
async def test_a_submit_in_doubt_is_settled_by_what_the_gateway_or_a_later_attempt_shows(
    numbers: list[int], records: list[JobSnapshot | None], follows: bool
) -> None:
    job = replay(Job("job"), [held_event(1)])
    checked: list[Any] = [
        SimpleNamespace(claim=SimpleNamespace(number=number, at=2.0), record=found)
        for number, found in zip(numbers, records, strict=True)
    ]
    ended = await rebuilder_for(Knows())._end_of_attempt(job, checked)
    assert (ended is not None) == follows


@each_case(
    "path, index, is_true, is_used",
    [
        ("a/0.png", 0, True, True),
        ("a/0.png", 0, False, False),
        ("a/1.png", 0, True, False),
        ("other/0.png", 0, True, False),
        ("../a/0.png", 0, True, False),
        ("a/1.png", 1, True, False),  # the job has one output
    ],
)
async def test_a_receipt_can_only_name_the_file_that_the_plan_would_write(
    path: str, index: int, is_true: bool, is_used: bool
) -> None:
    async def intact(_saved: Saved) -> bool:
        return is_true

    saved = saved_event(index, path)
    receipt = SimpleNamespace(saved=saved, outputs=1)
    planned = replace(PLANNED, output="a/{index}.png")
    found = [
        each async for each in _intact_outputs(planned, [receipt], SimpleNamespace(is_true=intact))
    ]  # type: ignore[arg-type, list-item]
    assert found == ([saved] if is_used else [])


# -- whose directory it is, over the passes that a plan with stages needs


@pytest.mark.parametrize(
    ("is_proven", "same_account", "expected"),
    [(False, False, [False, True]), (False, True, [True, True]), (True, False, [True, True])],
    ids=["by the first stage", "by the user", "by the key"],
)
async def test_an_account_that_is_proven_is_proven_for_the_next_stage(
    is_proven: bool,
    same_account: bool,
    expected: list[bool],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    taken: list[bool] = []

    async def restored(*_given: object, is_ours: bool, **_named: object) -> RestoredJobs:
        taken.append(is_ours)
        return RestoredJobs(jobs=2 - len(taken), is_ours=True)

    account = DirectoryAccount("fingerprint", is_proven=is_proven)
    monkeypatch.setattr(start, "refuse_other_account", AsyncMock(return_value=account))
    monkeypatch.setattr(start, "restore", restored)
    await start.restore_run(
        MagicMock(),
        OutputStore(tmp_path),
        MagicMock(),
        MagicMock(),
        ceiling=None,
        same_account=same_account,
        plan_again=lambda: True,
    )
    assert taken == expected


@each_case(
    "records, was_ours, outcome",
    [
        ({"a": record("a"), "b": NOT_FOUND}, False, "ours"),
        ({"a": NOT_FOUND, "b": NOT_FOUND}, True, "ours"),
        ({"a": NOT_FOUND, "b": NOT_FOUND}, False, "refused"),
    ],
)
async def test_one_job_that_the_gateway_knows_proves_whose_directory_it_is(
    records: dict[str, JobSnapshot | GatewayError],
    was_ours: bool,
    outcome: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    directory = tmp_path_factory.mktemp("out")
    receipts = Receipts(directory)
    plan = [PlannedJob(place, name, name, "w", {}) for place, name in enumerate("ab")]
    for planned in plan:
        receipts.add(
            Receipt(
                identity=planned.identity,
                key=idempotency_key(planned.identity, 1),
                attempt=1,
                job_id=planned.identity,
                credits=D(2),
                outputs=1,
                at=1.0,
            )
        )
    receipts.close()
    journal: Any = MagicMock()
    journal.receipted.return_value = 0
    journal.jobs.return_value = iter([(planned, Job(planned.identity)) for planned in plan])
    restored = restore(
        journal,
        receipts,
        OutputStore(directory),
        Knows(**records),
        ceiling=D(3),
        is_ours=was_ours,
        pause=no_pause,
    )
    if outcome == "refused":
        with pytest.raises(OtherAccountError):
            await restored
    else:
        assert await restored == RestoredJobs(jobs=2, is_ours=True)


# -- a journal that another machine has continued from


def records_of(job: Job) -> dict[str, JobSnapshot]:
    """Return the gateway's records of the jobs that were accepted."""
    statuses = {AttemptStatus.FAILED: JobStatus.FAILED, AttemptStatus.ACCEPTED: JobStatus.RUNNING}
    return {
        attempt.job_id: JobSnapshot(
            attempt.job_id,
            statuses.get(attempt.status, JobStatus.SUCCEEDED),
            attempt.credits,
            workflow_id="w",
        )
        for attempt in job.attempts
        if attempt.job_id is not None
    }


@given(lives(), st.integers(0, 30))
def test_what_another_machine_continued_is_restored_from_wherever_this_one_stopped(
    life: tuple[Job, list[JobEvent]], stopped_at: int
) -> None:
    fresh, happened = life
    happened = [
        replace(event, job_id=f"j{place}") if isinstance(event, Accepted) else event
        for place, event in enumerate(happened)
    ]
    here, lived = replay(fresh, happened[:stopped_at]), fresh
    receipts: list[Receipt] = []
    for event in happened:
        lived = evolve(lived, event)
        if (receipt := receipt_for(lived, event)) is not None:
            receipts.append(receipt)
    assume(here.phase in _MAY_LACK_ATTEMPTS)
    by_job = SimpleNamespace(owner=lambda _job_id: fresh.identity, of=lambda _identity: receipts)
    rebuilder = _Rebuilder(
        Knows(**records_of(lived)),
        by_job,
        SimpleNamespace(is_true=AsyncMock(return_value=True)),
        no_pause,
    )  # type: ignore[arg-type]
    image = InputImage(AssetSpec("a" * 64, 1, "image/png", "a.png"), Path("a.png"))
    planned = PlannedJob(
        0, fresh.identity, "job", "w", {}, {"image.image": image} if fresh.has_images else {}
    )
    rebuilt = asyncio.run(rebuilder._rebuild_job(planned, here))
    known = {attempt.job_id for attempt in here.attempts}
    lacks = [
        attempt
        for attempt in lived.attempts
        if attempt.job_id is not None and attempt.job_id not in known
    ]
    assert (rebuilt is not None) == bool(lacks)
    if isinstance(rebuilt, _RebuiltJob):
        continued, ledger = replay(here, rebuilt.events), Ledger()
        for event in (*happened[:stopped_at], *rebuilt.events):
            ledger.apply(fresh.identity, event)
        assert not ledger.is_contradictory(fresh.identity)
        accepted = [attempt.job_id for attempt in continued.attempts if attempt.job_id is not None]
        assert accepted == [
            attempt.job_id for attempt in lived.attempts if attempt.job_id is not None
        ]
