"""Run ids: the manifest's `run_id` and the option `--run-id`, which are templates that are rendered
once for a run.
"""

from __future__ import annotations

from collections.abc import Set

from crucible_batch.errors import ManifestError, UserError
from crucible_batch.manifest.job_spec import JobProblems
from crucible_batch.manifest.manifest import Manifest
from crucible_batch.manifest.template_filters import TemplateFault
from crucible_batch.manifest.templates import Templates, is_template
from crucible_batch.scheduled_time import TIME_VARIABLES

DEFAULT_RUN_ID = "default"
_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-+:")
_MAX_LENGTH = 100
_RULE = (
    f"use up to {_MAX_LENGTH} letters, digits and the characters . _ - + :, "
    "and do not begin with . or -"
)


def render_run_id(manifest: Manifest, given: str | None) -> str:
    """Return the run id of a run: that of the option ``given``, else the manifest's, else
    ``default``.

    Raises ``UserError`` if it can't be rendered or can't be part of a path; for the manifest's,
    with its place.
    """
    source = given or manifest.header.run_id
    if source is None:
        return DEFAULT_RUN_ID
    try:
        run_id = source
        if is_template(source):
            run_id = Templates().compile(source).text(manifest.variables)
    except TemplateFault as fault:
        if given:
            hint = fault.hint
            if fault.nearest:
                hint = f"did you mean {fault.nearest!r}?"
            raise UserError(f"--run-id: {fault.message}", hint=hint) from None
        faults = JobProblems()
        faults.template(manifest.site, ("run_id",), fault)
        raise ManifestError(faults.problems) from None
    if (
        0 < len(run_id) <= _MAX_LENGTH
        and not set(run_id) - _CHARACTERS
        and not run_id.startswith((".", "-"))
    ):
        return run_id
    message = f"{run_id!r} can't be a run id"
    if given:
        raise UserError(message, hint=_RULE)
    raise ManifestError([manifest.site.problem(("run_id",), message, hint=_RULE)])


def depends_on_time(manifest: Manifest, given: str | None) -> bool:
    """Return whether another scheduled time may result in another run id.

    Raises as ``render_run_id`` does.
    """
    render_run_id(manifest, given)
    source = given or manifest.header.run_id or ""
    return is_template(source) and bool(
        time_variables_in(manifest, Templates().compile(source).names)
    )


def time_variables_in(manifest: Manifest, names: Set[str]) -> Set[str]:
    """Return those of the names that are variables of the scheduled time, and not the manifest's
    ``vars``."""
    return (names & set(TIME_VARIABLES)) - manifest.vars.keys()
