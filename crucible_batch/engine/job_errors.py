"""Errors of a job that the gateway does not report itself."""

from __future__ import annotations

from crucible_batch.domain.gateway_types import ErrorInfo
from crucible_batch.errors import JOB_OF_ANOTHER_KEY, GatewayError

JOB_TIMEOUT = "JOB_TIMEOUT"


def of_another(job_id: str) -> GatewayError:
    return GatewayError(
        f"the gateway answered with job {job_id}, which it gave for another key before",
        code=JOB_OF_ANOTHER_KEY,
        hint="ask its operator about both keys; nothing of that job is taken for this one, whose credits stay held",
        in_doubt=True,
    )


def timed_out(job_id: str) -> ErrorInfo:
    return ErrorInfo(
        JOB_TIMEOUT,
        f"job {job_id} has not ended within the job timeout; its credits stay held",
        hint="run the same command again later, or with a longer --job-timeout",
    )
