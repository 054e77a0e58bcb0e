"""The workflows of ``.github/``: what they run is pinned, and has no more rights than it needs.

``make lint`` also runs zizmor on them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.harness.pinned_actions import assert_actions_are_pinned

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / ".github" / "workflows").iterdir())


def jobs(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    return found


JOBS = [
    pytest.param(job, id=f"{path.stem}: {name}")
    for path in FILES
    for name, job in jobs(path).items()
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_actions_are_pinned_by_commits_that_the_page_lists(path: Path) -> None:
    assert_actions_are_pinned(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_workflow_has_no_rights_but_those_of_its_jobs(path: Path) -> None:
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["permissions"] == {}


@pytest.mark.parametrize("job", JOBS)
def test_a_job_that_runs_code_of_ours_may_only_read(job: dict[str, Any]) -> None:
    checkouts = [
        step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout@")
    ]
    for step in checkouts:
        assert step["with"]["persist-credentials"] is False
    if checkouts:
        assert job["permissions"] == {"contents": "read"}
    else:
        commands = "\n".join(step.get("run", "") for step in job["steps"])
        assert not re.search(r"\b(pip|uv|npm|apt-get|python3?|make|docker run)\b", commands)


def test_the_job_that_publishes_has_an_environment_and_one_right_and_installs_nothing() -> None:
    (release,) = [path for path in FILES if path.name == "release.yml"]
    job = jobs(release)["publish"]
    assert job["environment"] == "pypi"
    assert job["permissions"] == {"id-token": "write"}
    assert [step["uses"].split("@")[0] for step in job["steps"]] == [
        "actions/download-artifact",
        "pypa/gh-action-pypi-publish",
    ]
