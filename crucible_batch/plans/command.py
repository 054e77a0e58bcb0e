"""The command that makes a saved plan anew, under the same options."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from crucible_batch.core.credits import format_credits
from crucible_batch.core.saved_plan import DEFAULT_MAX_MANIFEST_BYTES, PlanHead

DEFAULT_MAX_JOBS = 100_000


def plan_command(head: PlanHead, plan: Path, *, manifest: Path, run_dir: Path) -> str:
    """Return it as a line to paste. The paths are those that lead there from where one is now."""
    return shlex.join(["crucible-batch", "plan", str(manifest), *_options(head, run_dir), "-o", str(plan)])


def _options(head: PlanHead, run_dir: Path) -> Iterator[str]:
    options = head.options
    if options.budget is not None:
        yield from ("--budget", format_credits(options.budget))
    if options.run_id != "default":
        yield from ("--run-id", options.run_id)
    if run_dir != Path("outputs", head.manifest.name, options.run_id):
        yield from ("--out-dir", str(run_dir))
    for pattern in options.only:
        yield from ("--only", pattern)
    for name, value in options.variables.items():
        yield from ("--var", f"{name}={value}")
    if options.retry_failed:
        yield "--retry-failed"
    if options.allow_outside:
        yield "--allow-outside"
    if options.max_jobs != DEFAULT_MAX_JOBS:
        yield from ("--max-jobs", str(options.max_jobs))
    if options.max_manifest_bytes != DEFAULT_MAX_MANIFEST_BYTES:
        yield from ("--max-manifest-size", str(options.max_manifest_bytes))
