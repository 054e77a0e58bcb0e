"""Globs find what the standard library's find, follow no links to folders below the first wildcard,
and are bounded."""

from __future__ import annotations

import glob
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crucible_batch.manifest import files
from crucible_batch.manifest.files import FileFault, Files
from tests.harness.case_table import each_case

JOB = "jobs:\n  - name: '{{ row.path | slug }}'\n    foreach: %s\n"
FILES = [
    "a/f.x",
    "a/b/f.x",
    "a/b/a/g.y",
    "b/.h/f.x",
    ".a/f.x",
    "a/.x",
    "ab/a/b/f.x",
    "f.x",
    "[.x",
    "a/b/c.x/d.x",
]


def found(directory: Path, pattern: str) -> list[str]:
    return sorted(files.matches(pattern, Files(directory, allow_outside=False)))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    return root


parts = st.sampled_from(
    ["*", "**", "a", "b", "a*", "*.x", "f.?", "[ab]", "[", ".*", "?", "[!a]*", "[[].x"]
)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(parts, min_size=1, max_size=5)
    .filter(lambda parts: parts.count("**") < 2)
    .map("/".join)
)
def test_it_finds_what_the_standard_library_finds(tree: Path, pattern: str) -> None:
    if not files.is_glob(pattern) or (
        "." in pattern and "**" in pattern
    ):  # hidden names are another rule
        return
    matches = {
        match
        for match in glob.iglob(pattern, root_dir=tree, recursive=True)  # noqa: PTH207
        if (tree / match).is_file()
    }
    if not pattern.startswith(".") and "/." not in pattern:
        assert found(tree, pattern) == sorted(matches)
    assert len(found(tree, pattern)) == len(set(found(tree, pattern)))


def test_hidden_files_and_folders_are_skipped(tree: Path) -> None:
    assert found(tree, "**/*.x") == ["[.x", "a/b/c.x/d.x", "a/b/f.x", "a/f.x", "ab/a/b/f.x", "f.x"]
    assert found(tree, ".*/*.x") == [".a/f.x"]


@each_case("pattern", ["**/a*/**/*.x", "**/" * 20 + "*.x"])
def test_a_second_search_of_all_folders_is_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(FileFault, match="more than one"):
        found(tmp_path, pattern)


def test_folders_of_any_depth_are_searched_without_links_to_folders(folder: Any) -> None:
    for name in ("self", "again"):
        (folder.path / name).symlink_to(".")
    (folder.path / "root").symlink_to("/")
    folder.write("/".join(f"a{n}" for n in range(12)) + "/f.x")
    began = time.process_time()
    assert len(found(folder.path, "**/*.x")) == 1
    assert folder.items(JOB % '"root/**/*.x"')[0].message.endswith(
        "is outside the manifest's directory"
    )
    assert time.process_time() - began < 20


def test_a_file_may_be_a_link_and_so_may_what_is_named_before_the_first_wildcard(
    folder: Any,
) -> None:
    folder.write("real/a.x")
    (folder.path / "link").symlink_to("real")
    (folder.path / "real/b.x").symlink_to("a.x")
    assert found(folder.path, "link/*.x") == ["link/a.x", "link/b.x"]
