"""Exported schedules of manifests that draw from files."""

from __future__ import annotations

from pathlib import Path

from crucible_batch.features.schedule.schedules import read_schedule
from tests.harness.case_table import each_case


@each_case("lists, needs", [("{hair: hair.txt}", True), ("{hair: [red], pose: [p]}", False)])
def test_lists_in_files_are_files_that_the_manifest_needs(
    tmp_path: Path, lists: str, needs: bool
) -> None:
    """In a container, a manifest alone would have no lists."""
    path = tmp_path / "m.yaml"
    path.write_text(
        'version: 1\nname: n\nworkflow: z\nschedule: {cron: "1 3 * * *"}\n'
        f"jobs: [{{name: a, prompt: x, draw: {lists}, count: 2}}]\n"
    )
    schedule = read_schedule(path)
    assert schedule is not None
    assert schedule.needs_files is needs
