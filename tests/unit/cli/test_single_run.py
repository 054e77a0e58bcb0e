"""``run`` without the feature that schedules runs: one run of the request, whose command can be
repeated.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.cli import run_session
from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.options import DisplayMode
from crucible_batch.cli.single_run import run_once
from crucible_batch.errors import ManifestError
from crucible_batch.runs import failed_starts
from crucible_batch.runs.request import RunRequest
from crucible_batch.settings import Settings
from tests.harness.case_table import each_case

MANIFEST = "version: 1\nname: nightly\n{run_id}jobs: [{{name: fox, prompt: a fox, workflow: w}}]\n"


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The runs that would be made."""
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(
        run_session, "run_and_show", lambda *_given, **options: found.append(options)
    )
    monkeypatch.setattr(sys, "argv", ["crucible-batch", "run", "nightly.yaml"])
    monkeypatch.chdir(tmp_path)
    return found


def run(request: RunRequest) -> str | None:
    output = CommandOutput("run", json=False, quiet=True, verbose=False)
    run_once(output, request, Settings(None), DisplayMode.NONE)
    return output.subject


@each_case(
    "run_id, depends",
    [("", False), ("run_id: spring\n", False), ('run_id: "{{ date }}"\n', True)],
)
def test_the_command_names_the_time_on_which_the_run_id_depends(
    tmp_path: Path, shown: list[dict[str, Any]], run_id: str, depends: bool
) -> None:
    (tmp_path / "nightly.yaml").write_text(MANIFEST.format(run_id=run_id))
    subject = run(RunRequest(Path("nightly.yaml")))
    run_made = shown.pop()
    assert run_made["command"].startswith("crucible-batch run nightly.yaml")
    assert ("--scheduled-at" in run_made["command"]) is depends
    assert subject is not None
    assert subject.startswith("nightly/")


def test_a_manifest_that_cannot_be_read_is_recorded_as_a_failed_start(
    tmp_path: Path, shown: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded: list[object] = []
    monkeypatch.setattr(failed_starts, "remember", lambda _file, run: recorded.append(run))
    with pytest.raises(ManifestError):
        run(RunRequest(Path("missing.yaml")))
    assert len(recorded) == 1
    assert shown == []
