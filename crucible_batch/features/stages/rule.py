"""Derived jobs: jobs that are made from the outputs of other jobs, their sources.

    the source          its output          the derived job
      not finished      expected            not in the plan; counted by ``plan`` as a possible cost
      has saved it      saved               planned: its identity has the digest of the output
      has saved it      saved, not usable   blocked, DERIVED_JOB_INVALID
      has failed        missing             blocked, SOURCE_FAILED
      is blocked        missing             blocked, SOURCE_FAILED
      has succeeded     picked, not there   blocked, PICK_NOT_FOUND

A blocked job is in the plan for the report only: it has no events, is never bought, and the next
run decides again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Job, Phase

SOURCE_FAILED = "SOURCE_FAILED"
PICK_NOT_FOUND = "PICK_NOT_FOUND"

_FAILED = {Phase.FAILED, Phase.UNAVAILABLE, Phase.VANISHED}


def missing_outputs(
    name: str, job: Job, expected: Sequence[int], *, is_picked: bool
) -> Iterator[tuple[int, ErrorInfo]]:
    """Yield the outputs from which no job can be made, each with the error of that job.

    The table above has the cases. ``name`` and ``job`` are the source's, ``expected`` the outputs
    that are wanted of it before it has run. ``is_picked``: these were chosen by their numbers.
    """
    if job.phase in _FAILED:
        wanted = expected
        if job.expected is not None and not is_picked:
            wanted = range(job.expected)
        code = None
        if job.error is not None:
            code = job.error.code
        error = source_failed(name, code)
        yield from ((index, error) for index in wanted if index not in job.outputs)
    elif job.phase is Phase.SUCCEEDED and is_picked:
        count = len(job.outputs)
        outputs = "1 output" if count == 1 else f"{count} outputs"
        message = f"{name} has {outputs}, numbered from 0"
        hint = "correct the picks file, and run the same command again"
        yield from (
            (index, ErrorInfo(PICK_NOT_FOUND, f"there is no output {index}: {message}", hint))
            for index in expected
            if index not in job.outputs
        )


def source_failed(name: str, code: str | None) -> ErrorInfo:
    message = f"the job {name}, from whose output it is made, has no such output"
    if code is not None:
        message += f" ({code})"
    return ErrorInfo(
        SOURCE_FAILED,
        message,
        hint="run the same command with --retry-failed to try failed jobs again",
    )
