"""A gateway that answers two keys with one job: its picture is one job's; the other is in doubt,
its credits held.
"""

from __future__ import annotations

import json
from collections import Counter

import httpx
import pytest

from crucible_batch.core.attempt import Attempt, AttemptStatus
from crucible_batch.core.events import Accepted
from crucible_batch.core.identity import idempotency_key
from crucible_batch.core.job import Job
from crucible_batch.engine.history import JobIdOwners
from crucible_batch.gateway import client

SHORT_JOBS = True

ONE = "{name: a, prompt: one}"
TWO = f"{ONE}\n{{name: b, prompt: two}}"


class Confused:
    """Answers each submit, once it has taken effect, with the job of the first."""

    def __init__(self) -> None:
        self.first: str | None = None

    async def __call__(self, request: httpx.Request, send) -> httpx.Response:
        answer = await send()
        if not request.url.path.endswith("/generate"):
            return answer
        body = json.loads(await answer.aread())
        self.first = self.first or body["data"]["job_id"]
        body["data"]["job_id"] = self.first
        return httpx.Response(answer.status_code, json=body)


def judged(bench, result) -> None:
    rows = {row.name: row for row in result.jobs()}
    assert (result.exit_code, {name: row.status for name, row in rows.items()}) == (
        5, {"a": "succeeded", "b": "unknown"}
    )  # fmt: skip
    assert rows["b"].error.code == "JOB_OF_ANOTHER_KEY"
    assert (rows["b"].job_id, rows["b"].outputs) == (None, [])
    assert result.report.credits.held > 0
    assert bench.outputs() == ["a/0.png"]


@pytest.mark.parametrize("remembered", [4096, 0], ids=["by-the-client", "by-the-journal"])
async def test_one_job_for_two_keys_is_the_first_ones_alone(
    start, tampered, monkeypatch, remembered
):
    monkeypatch.setattr(client, "REMEMBERED_JOBS", remembered)
    async with start() as bench:
        judged(
            bench,
            await bench.run(bench.manifest(TWO), concurrency=1, transport=tampered(Confused())),
        )


async def test_one_job_for_the_keys_of_two_runs_is_the_first_ones_alone(start, tampered):
    confused = Confused()
    async with start() as bench:
        assert (await bench.run(bench.manifest(ONE), transport=tampered(confused))).exit_code == 0
        judged(bench, await bench.run(bench.manifest(TWO), transport=tampered(confused)))
        # In doubt, it is sent again under its key: the answer is no other, nor is what is made of
        # it.
        judged(bench, await bench.run(bench.manifest(TWO), transport=tampered(confused)))
        healed = await bench.run(bench.manifest(TWO))
        await bench.agree(healed)
    assert Counter(row.status for row in healed.jobs()) == {"succeeded": 2}


class Known:
    """A journal that knows these acceptances; and the books that call back."""

    def __init__(self, **owners: str) -> None:
        self._owners = owners
        self.entered = []

    def accepted_as(self, job_id: str) -> list[str]:
        return [self._owners[job_id]] if job_id in self._owners else []

    def on_entry(self, callback) -> None:
        self.entered.append(callback)


def job_of(identity: str, *earlier: str) -> Job:
    attempts = [
        Attempt(number, idempotency_key(identity, number), 1.0, AttemptStatus.FAILED, job_id)
        for number, job_id in enumerate(earlier, 1)
    ]
    number = len(attempts) + 1
    newest = Attempt(number, idempotency_key(identity, number), 1.0)
    return Job(identity, attempt=number, attempts=(*attempts, newest))


def test_an_id_is_claimed_once_whether_it_is_durable_or_not():
    known = Known(j1="a", j2="b")
    owners = JobIdOwners(known, known)
    assert not owners.claim(job_of("b"), "J1")
    assert owners.claim(job_of("a"), "j1")
    assert owners.claim(job_of("c"), "j3")
    assert not owners.claim(job_of("d"), "j3")
    assert owners.claim(job_of("c"), "j3")
    assert not owners.claim(job_of("e", "j4"), "J4")


def test_what_is_durable_is_left_to_the_journal():
    known = Known()
    owners = JobIdOwners(known, known)
    assert owners.claim(job_of("c"), "j3")
    (entered,) = known.entered
    entered("c", Accepted(at=1.0, job_id="J3", credits=1, reused=False))
    assert owners.claim(job_of("d"), "j3")
