"""What an export needs of the notifications of a manifest."""

from __future__ import annotations

from pathlib import Path

from crucible_batch.features.schedule.schedules import read_schedule
from tests.harness.case_table import each_case


@each_case(
    "entry, needs_files, variables",
    [
        ('{on: [failure], command: ["./tell.sh"]}', True, ()),
        ("{on: [failure], command: [/usr/bin/logger]}", False, ()),
        ("{on: [failure], command: [logger]}", False, ()),
        ('{on: [failure], apprise: "file:urls"}', True, ()),
        ('{on: [failure], apprise: "file:/etc/urls"}', False, ()),
        (
            '{on: [failure], webhook: "env:HOOK", secret: "env:HOOK_SECRET"}',
            False,
            ("HOOK", "HOOK_SECRET"),
        ),
    ],
)
def test_files_and_variables_of_notifications_are_known(
    tmp_path: Path, entry: str, needs_files: bool, variables: tuple[str, ...]
) -> None:
    path = tmp_path / "n.yaml"
    head = "version: 1\nname: n\nworkflow: zimage-base\nbudget: {credits: 5}\n"
    path.write_text(
        f'{head}schedule: {{cron: "15 3 * * *"}}\nnotify: [{entry}]\n'
        "jobs: [{name: a, prompt: a}]\n"
    )
    found = read_schedule(path)
    assert found is not None
    assert (found.needs_files, found.variables) == (needs_files, variables)
    assert found.has_command == ("command" in entry)
