"""The ``validate`` command: checks one or more manifests."""

from __future__ import annotations

from collections.abc import Sequence

from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.render.errors import problem_json, show_error
from crucible_batch.cli.terminal import Json, say
from crucible_batch.cli.units import counted
from crucible_batch.core.redaction import clean
from crucible_batch.errors import ExitCode, ManifestError, UserError
from crucible_batch.runs.draft import validate_request
from crucible_batch.runs.request import RunRequest


def validate_all(output: CommandOutput, requests: Sequence[RunRequest]) -> None:
    """Check all manifests and show their problems. Exit code 2 if there are any."""
    results: list[Json] = []
    invalid = 0
    for request in requests:
        path = request.manifest
        try:
            manifest, jobs = validate_request(request)
        except UserError as error:
            invalid += 1
            problems = error.problems if isinstance(error, ManifestError) else ()
            show_error(output.err, error)
            problem_list: list[Json] = [problem_json(problem) for problem in problems]
            results.append({"path": str(path), "ok": False, "problems": problem_list})
            continue
        results.append({"path": str(path), "ok": True, "name": manifest.name, "jobs": jobs})
        if not output.quiet:
            say(
                output.out, ("✓ ", "good"), clean(str(path)), (f"  {counted(jobs, 'job')}", "quiet")
            )
            for warning in manifest.warnings:
                say(output.out, ("  note  ", "warn"), clean(str(warning)))
    output.data = {"manifests": results}
    if invalid:
        message = f"{invalid} of {len(requests)} manifests can't be run"
        output.blame(ManifestError.code, message, exit_code=ExitCode.USER_ERROR)
