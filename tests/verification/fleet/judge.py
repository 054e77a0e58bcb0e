"""What must hold of every play: the invariants of one machine, by the gateway's ledger and the
files on the disk.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from decimal import Decimal

from crucible_batch.errors import ExitCode
from tests.verification.fleet.play import Story

ZERO = Decimal(0)
_LEVEL = {"reserve": 1, "upload": 1, "refund": -1, "rebate": -1}


def judge(story: Story) -> list[str]:
    """Return the invariants that did not hold, each as a sentence."""
    broken = [*story.complaints, *_ledger(story), *_purchases(story)]
    if not (story.run_dir / "report.json").is_file():
        return [*broken, "there is no report"]
    return [*broken, *_report(story)]


def _ledger(story: Story) -> list[str]:
    """The budget is not exceeded at any row."""
    level = ZERO
    for entry in story.entries:
        level += _LEVEL.get(entry.entry_type, 0) * entry.amount
        if level > story.scenario.budget:
            return [f"{level} of {story.scenario.budget} credits are gone after {entry.entry_type}"]
    return []


def _spent(story: Story) -> Decimal:
    return sum((_LEVEL.get(entry.entry_type, 0) * entry.amount for entry in story.entries), ZERO)


def _purchases(story: Story) -> list[str]:
    """Each key is charged once, and no job is bought again unless its attempt before has failed."""
    broken: list[str] = []
    keys = Counter(job.idempotency_key for job in story.jobs)
    broken += [f"key {key} was charged {count} times" for key, count in keys.items() if count > 1]
    live = Counter(str(job.params) for job in story.jobs if job.error_code is None)
    broken += [f"{params} was bought {count} times" for params, count in live.items() if count > 1]
    tries = Counter(str(job.params) for job in story.jobs)
    most = story.scenario.attempts
    return broken + [
        f"{params} was tried {count} times" for params, count in tries.items() if count > most
    ]


def _report(story: Story) -> list[str]:
    """The report has all jobs, and the ledger's figures; what was bought is on the disk."""
    broken: list[str] = []
    report = json.loads((story.run_dir / "report.json").read_text(encoding="utf-8"))
    credits, counts = report["credits"], report["counts"]
    spent = _spent(story)
    if Decimal(credits["spent"]) != spent or Decimal(credits["held"]) != 0:
        broken.append(
            f"the report has {credits['spent']} spent and {credits['held']} held, "
            f"the ledger {spent}"
        )
    if counts["total"] != story.scenario.jobs or len(report["jobs"]) != story.scenario.jobs:
        broken.append(f"the report has {counts['total']} of {story.scenario.jobs} jobs")
    bought = {job.idempotency_key: job for job in story.jobs}
    for row in report["jobs"]:
        reason = _why_not(row, story, spent)
        if reason:
            broken.append(f"{row['name']} ends {row['status']}: {reason}")
        for output in row["outputs"]:
            path = story.run_dir / output["path"]
            if (
                not path.is_file()
                or hashlib.sha256(path.read_bytes()).hexdigest() != output["sha256"]
            ):
                broken.append(f"{output['path']} is missing or damaged")
        if row["status"] == "succeeded" and (
            row["idempotency_key"] not in bought or not row["outputs"]
        ):
            broken.append(f"{row['name']} has succeeded without a purchase or an output")
    live = sum(job.error_code is None for job in story.jobs)
    if counts["succeeded"] != live:
        broken.append(
            f"{live} jobs were bought, {counts['succeeded']} have succeeded by the report"
        )
    expected = {ExitCode.OK, ExitCode.SOME_FAILED, ExitCode.OUT_OF_CREDITS}
    if not story.endings or story.endings[-1] not in expected:
        broken.append(f"the run ended with {story.endings}")
    return broken


def _why_not(row: dict[str, object], story: Story, spent: Decimal) -> str | None:
    """Why a job has not succeeded although the weather was calm; None if there is a good reason."""
    match row["status"]:
        case "succeeded":
            return None
        case "failed":
            return (
                None if "fail" in story.scenario.gateway_faults else "no job failed at the gateway"
            )
        case "blocked":
            left = (
                story.scenario.budget - spent
            )  # each submit holds the ceiling, of which less may be left
            return None if left < story.scenario.ceiling else f"{left} credits were left"
        case _:
            return "nothing may stay so"
