"""Globs find what the standard library's find, look at each folder once, follow no link to one, and are bounded."""

from __future__ import annotations

import glob
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crucible_batch.manifest import files
from crucible_batch.manifest.files import FileFault, Files
from tests.case_table import each_case

JOB = "jobs:\n  - name: '{{ row.path | slug }}'\n    foreach: %s\n"
FILES = ["a/f.x", "a/b/f.x", "a/b/a/g.y", "b/.h/f.x", ".a/f.x", "a/.x", "ab/a/b/f.x", "f.x", "[.x", "a/b/c.x/d.x"]


def found(directory: Path, pattern: str, most: int = 1000, *, outside: bool = False) -> list[str]:
    return sorted(files.matches(pattern, Files(directory, allow_outside=outside), most))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    return root


parts = st.sampled_from(
    ["*", "**", "a", "b", "a*", "*.x", "f.?", "[ab]", "[", ".*", ".h", "?", "a**", "[!a]*", "[[].x"]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(parts, min_size=1, max_size=5).map("/".join).filter(files.is_glob))
def test_it_finds_what_the_standard_library_finds(tree: Path, pattern: str) -> None:
    files = {match for match in glob.iglob(pattern, root_dir=tree, recursive=True) if (tree / match).is_file()}  # noqa: PTH207
    assert found(tree, pattern) == sorted(files)
    assert len(found(tree, pattern)) == len(set(found(tree, pattern)))


@each_case("pattern", ["**/*.x", "**/a*/" * 12 + "*.x", "**/" * 20 + "*.x", "*/*/*/*.x", "*/**/f.x"])
def test_no_link_to_a_folder_is_followed_and_each_folder_is_looked_at_once(tmp_path: Path, pattern: str) -> None:
    folder = tmp_path
    for depth in range(20):
        folder = folder / f"a{depth}"
        folder.mkdir()
        (folder / "f.x").write_text("x")
        (folder / "self").symlink_to(".")
        (folder / "up").symlink_to("..")
        (folder / "root").symlink_to("/")
    place = Files(tmp_path, allow_outside=True)
    matches = list(files.matches(pattern, place, 1000))
    assert not [match for match in matches if {"self", "up", "root"} & set(match.split("/"))]
    assert place.walked <= 20 * 5 + 1


def test_it_ends_in_seconds_whatever_lies_beside_the_manifest(folder: Any) -> None:
    for name in ("self", "again"):
        (folder.path / name).symlink_to(".")
    (folder.path / "root").symlink_to("/")
    folder.write("/".join(f"a{n}" for n in range(12)) + "/f.x")
    began = time.process_time()
    for pattern in ("**/*.x", "**/a*/" * 12 + "*.x", "root/**/*.x", "**/root/**/*.x"):
        folder.items(JOB % f'"{pattern}"')
    assert time.process_time() - began < 20


def test_a_file_may_be_a_link_and_so_may_what_is_named_before_the_first_wildcard(folder: Any) -> None:
    folder.write("real/a.x")
    (folder.path / "link").symlink_to("real")
    (folder.path / "real/b.x").symlink_to("a.x")
    assert found(folder.path, "link/*.x") == ["link/a.x", "link/b.x"]
    assert found(folder.path, "*/*.x") == ["real/a.x", "real/b.x"]


def test_what_is_looked_through_is_bounded_over_all_globs_and_said_at_its_place(
    folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_WALKED", 25)
    for number in range(20):
        folder.write(f"p/{number}.x")
    one = "  - {name: '{{ row.stem }}', foreach: p/1*.x}\n"
    assert len(folder.jobs(f"jobs:\n{one}", max_jobs=11)) == 11
    problem = folder.problem(f"jobs:\n{one}  - {{name: 'b{{{{ row.stem }}}}', foreach: p/*.x}}\n", max_jobs=12)
    assert problem.message == "'p/*.x': there are more than 25 files and folders to search"
    assert (problem.place.line, problem.field) == (6, "jobs[1].foreach")
    assert problem.hint is not None


def test_more_jobs_permit_more_to_look_through(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_WALKED", 5)
    for number in range(20):
        folder.write(f"p/{number}.x")
    assert len(found(folder.path, "p/*", most=20)) == 20
    with pytest.raises(FileFault, match="more than 18 files and folders"):
        found(folder.path, "p/*", most=9)


def test_a_tree_of_any_depth_is_walked(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=descriptor)
        inner = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(os.open("f.x", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
    os.close(descriptor)
    try:
        assert found(tmp_path, "**/*.x") == ["d/" * 1500 + "f.x"]
    finally:  # pytest removes what is left of older runs by a function that calls itself for each folder
        subprocess.run(["rm", "-r", str(tmp_path / "d")], check=True)


def test_a_folder_that_cannot_be_looked_into_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    scan = os.scandir

    def scandir(path: str) -> Any:
        if path.endswith("sub"):
            raise OSError(36, "File name too long")
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(FileFault, match="the folder 'sub' can't be read: File name too long"):
        found(tmp_path, "**/*.x")
