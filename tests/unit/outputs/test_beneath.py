"""Folders below a run directory: no link leads out of them."""

from __future__ import annotations

import errno
import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from crucible_batch.outputs.safe_fs import folder_of


@pytest.fixture(autouse=True)
def _nothing_stays_open() -> Iterator[None]:
    gc.collect()  # what earlier tests left is closed now, and not during this one
    before = len(list(Path("/dev/fd").iterdir()))
    yield
    assert len(list(Path("/dev/fd").iterdir())) == before


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    for folder in ("run/a/b", "elsewhere/b"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "elsewhere/0.png").write_bytes(b"a secret")
    (tmp_path / "elsewhere/b/0.png").write_bytes(b"a secret")
    return tmp_path / "run"


def write(run_dir: Path, path: str) -> None:
    with folder_of(run_dir, path, make=True) as folder:
        os.close(folder.open(Path(path).name, os.O_WRONLY | os.O_CREAT | os.O_EXCL))


@pytest.mark.parametrize("path", ["0.png", "a/0.png", "a/b/0.png", "a/new/0.png", "new/new/0.png"])
def test_a_file_below_is_made_with_its_folders(run_dir: Path, path: str) -> None:
    write(run_dir, path)
    assert (run_dir / path).read_bytes() == b""


def test_the_run_directory_itself_is_made_and_may_be_reached_by_a_link(
    tmp_path: Path, run_dir: Path
) -> None:
    write(tmp_path / "fresh/run", "a/0.png")
    (tmp_path / "link").symlink_to(run_dir)
    write(tmp_path / "link", "a/0.png")
    assert (run_dir / "a/0.png").exists()


@pytest.mark.parametrize("target", ["../elsewhere", "../nowhere", "b", "link"])
@pytest.mark.parametrize("make", [True, False])
@pytest.mark.parametrize("path", ["link/0.png", "link/b/0.png", "a/link/0.png", "a/link/new/0.png"])
def test_a_link_on_the_way_is_refused_wherever_it_leads(
    run_dir: Path, target: str, make: bool, path: str
) -> None:
    for place in (run_dir, run_dir / "a"):
        (place / "link").symlink_to(target)
    with pytest.raises(OSError, match=r"."), folder_of(run_dir, path, make=make):
        pass
    with pytest.raises(OSError, match=r".") as caught, folder_of(run_dir, path, make=True):
        pass
    assert caught.value.errno == errno.ELOOP
    assert sorted(path.name for path in run_dir.parent.iterdir()) == ["elsewhere", "run"]


@pytest.mark.parametrize(
    "path", ["../elsewhere/0.png", "a/../../elsewhere/0.png", "/etc/passwd", "a/../0.png", "a\0/x"]
)
def test_a_path_that_leads_out_is_refused(run_dir: Path, path: str) -> None:
    with pytest.raises(OSError, match="leads out") as caught, folder_of(run_dir, path, make=True):
        pass
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("name", ["", ".", "..", "b/0.png", "../../elsewhere/0.png"])
def test_what_is_done_in_a_folder_takes_single_names_only(run_dir: Path, name: str) -> None:
    with folder_of(run_dir, "a/x") as folder:
        for act in (
            folder.stat,
            folder.digest,
            folder.read,
            folder.unlink,
            lambda name: folder.link(name, "y"),
            lambda name: folder.link("y", name),
            lambda name: folder.replace("y", name),
        ):
            with pytest.raises(OSError, match="not a single name"):
                act(name)


def test_a_link_in_place_of_the_file_is_neither_read_nor_written_through(run_dir: Path) -> None:
    (run_dir / "a/0.png").symlink_to("../../elsewhere/0.png")
    with folder_of(run_dir, "a/0.png") as folder:
        assert folder.digest("0.png") is None
        for flags in (
            os.O_RDONLY,
            os.O_WRONLY,
            os.O_WRONLY | os.O_CREAT,
            os.O_WRONLY | os.O_CREAT | os.O_EXCL,
        ):
            with pytest.raises(OSError, match=r"."):
                folder.open("0.png", flags)
    assert (run_dir.parent / "elsewhere/0.png").read_bytes() == b"a secret"


def test_a_folder_that_is_swapped_for_a_link_meanwhile_stays_where_it_was(run_dir: Path) -> None:
    with folder_of(run_dir, "a/0.png") as folder:
        (run_dir / "a").rename(run_dir / "moved")
        (run_dir / "a").symlink_to("../elsewhere")
        os.close(folder.open("1.png", os.O_WRONLY | os.O_CREAT))
        folder.unlink("0.png")
    assert (run_dir / "moved/1.png").exists()
    assert sorted(path.name for path in (run_dir.parent / "elsewhere").iterdir()) == ["0.png", "b"]


def test_a_directory_whose_name_is_longer_is_another(tmp_path: Path) -> None:
    for folder in ("m", "m-secrets"):
        (tmp_path / folder / "a").mkdir(parents=True)
        (tmp_path / folder / "a/x.png").write_bytes(b"x")
    (tmp_path / "m/link").symlink_to(tmp_path / "m-secrets/a")
    with folder_of(tmp_path / "m", "a/x.png") as folder:
        assert folder.stat("x.png") is not None
    for path in ("../m-secrets/a/x.png", str(tmp_path / "m-secrets/a/x.png"), "link/x.png"):
        with pytest.raises(OSError, match=r"."), folder_of(tmp_path / "m", path):
            pass
