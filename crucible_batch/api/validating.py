"""A manifest checked without a gateway: all that is wrong with it, or how many jobs it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from crucible_batch.api.draft import ManifestOptions, fill_plan, read_source
from crucible_batch.journal import PlanFile
from crucible_batch.manifest import MAX_BYTES, Manifest


def validate(
    manifest: str | Path,
    *,
    variables: Mapping[str, str] | None = None,
    allow_outside: bool = False,
    max_jobs: int = 100_000,
    max_manifest_bytes: int = MAX_BYTES,
) -> tuple[Manifest, int]:
    """Check a manifest without a gateway, and return it with the number of jobs that it asks for.

    Parameters are not checked against their workflows. Raises ``ManifestError`` with all that is wrong.
    """
    options = ManifestOptions(variables or {}, allow_outside, max_jobs, max_manifest_bytes)
    source = read_source(Path(manifest), options)
    with PlanFile.temporary() as draft:
        fill_plan(draft, source, "default", {})
        return source.manifest, len(draft)
