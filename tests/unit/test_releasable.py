"""``.ci/releasable``, which refuses a release that its files do not describe."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from crucible_batch import __version__

ROOT = Path(__file__).parents[2]
TAG = f"v{__version__}"
ADDRESS = "https://github.com/ada/crucible-batch"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what it reads, in which all is as it should be."""
    for name in (".ci/releasable", "crucible_batch/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n## {__version__} - 2027-01-01\n")
    (tmp_path / "pyproject.toml").write_text(f'[project.urls]\nSource = "{ADDRESS}"\n')
    return tmp_path


def refusal(project: Path, tag: str = TAG, address: str = ADDRESS) -> str:
    done = subprocess.run(
        [project / ".ci" / "releasable", tag, address], capture_output=True, text=True, check=False
    )
    assert (done.returncode == 0) == (done.stderr == "")
    return done.stderr


def test_a_release_that_is_described_is_accepted(project: Path) -> None:
    assert refusal(project) == ""


def test_a_tag_that_is_not_the_version_is_refused(project: Path) -> None:
    assert "the tag is v9.9.9" in refusal(project, tag="v9.9.9")


def test_another_repository_such_as_a_fork_is_refused(project: Path) -> None:
    assert "does not have Source" in refusal(project, address="https://github.com/eve/fork")


def test_a_version_without_a_section_in_the_changelog_is_refused(project: Path) -> None:
    (project / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n")
    assert f"no section {__version__}" in refusal(project)
