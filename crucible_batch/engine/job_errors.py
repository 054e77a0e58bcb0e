"""Errors of a job that the gateway does not report itself, or not completely."""

from __future__ import annotations

from dataclasses import replace

from crucible_batch.core.gateway_types import ErrorInfo, JobSnapshot
from crucible_batch.core.job import Job
from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.redaction import clean
from crucible_batch.errors import JOB_OF_ANOTHER_KEY, GatewayError

JOB_TIMEOUT = "JOB_TIMEOUT"
WORKFLOW_NOT_FOUND = "WORKFLOW_NOT_FOUND"
KEY_MAY_BE_FORGOTTEN = "KEY_MAY_BE_FORGOTTEN"


def job_of_another_key(job_id: str) -> GatewayError:
    """Return the error of a submit whose answer names the job of another submit of ours."""
    return GatewayError(
        f"the gateway answered with job {job_id}, "
        "which it had returned for another idempotency key",
        code=JOB_OF_ANOTHER_KEY,
        hint=(
            "report both keys to the gateway's operator; its outputs are not used here, "
            "and the credits stay held"
        ),
        in_doubt=True,
    )


def job_of_another_request(planned: PlannedJob, record: JobSnapshot) -> GatewayError:
    """Return the error of a submit whose answer names a job of another workflow, or with other
    parameters."""
    theirs = f"of workflow {clean(record.workflow_id)}, and not {planned.workflow_id}"
    if record.workflow_id in {"", planned.workflow_id}:
        theirs = "with other parameters"
    return GatewayError(
        f"the gateway answered with job {record.job_id} {theirs}",
        code=JOB_OF_ANOTHER_KEY,
        hint=(
            "run the same command again, which asks under the same key; "
            "if that doesn't help, report the job to the gateway's operator. "
            "Its outputs are not used here, and the credits stay held"
        ),
        in_doubt=True,
    )


def job_timed_out(job_id: str) -> ErrorInfo:
    """Return the reason for ending a run in which a job did not end within the job timeout."""
    return ErrorInfo(
        JOB_TIMEOUT,
        f"job {job_id} has not ended within the job timeout; its credits stay held",
        hint="run the same command again later, or with a longer --job-timeout",
    )


def key_reused_with_images(error: ErrorInfo, *, in_doubt: bool) -> ErrorInfo:
    """Return the error of a reused key with a hint for a job with images.

    The key depends on the images' bytes, the request on their asset ids. After an asset was deleted
    and uploaded again, a gateway that compares requests finds the same key with another body.
    ``in_doubt``: the job is an unanswered submit of this run directory, which the gateway has
    received.
    """
    hint = (
        "the job was bought before, with its image as another asset, which was deleted since; "
        "nothing was charged now. To get its outputs, use the run directory that bought it, "
        "or its receipts.jsonl; --retry-failed --resubmit-unknown buys it again"
    )
    if in_doubt:
        hint = (
            "the earlier submit has reached the gateway, with its image as another asset, "
            "which was deleted since: nothing was charged now, "
            "and the credits of the earlier submit stay held. Its outputs can't be requested "
            "with this key; with another --run-id, the job is bought again"
        )
    return replace(error, hint=hint)


def key_too_old_error(job: Job) -> ErrorInfo:
    """Return the error of a submit in doubt whose key is too old to be sent again."""
    return ErrorInfo(
        KEY_MAY_BE_FORGOTTEN,
        "an earlier submit was never answered, and the gateway may have forgotten its "
        "idempotency key: submitted again, the job could be paid for twice",
        hint=(
            "search for the job with crucible-batch check; if it is missing there, "
            f"--resubmit-unknown submits it again (key {job.current.key})"
        ),
    )
