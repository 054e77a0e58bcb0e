"""File systems without hard links, mounted for real: all that is bought is saved, or nothing is
bought.

It takes root, exFAT by the kernel or by FUSE, and FAT by a FUSE that renames over no file
(``apt-get install exfatprogs exfat-fuse dosfstools fusefat``).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crucible_batch.runs.directory import try_directory

COMMAND = str(Path(sys.executable).with_name("crucible-batch"))
IMAGE_BYTES = 96 * 1024 * 1024


def do(*command: str | Path) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{command} as user {os.geteuid()}: {done.stdout} {done.stderr}")
    return done.stdout.strip()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    (tmp_path / "disk").mkdir()
    return image


@contextmanager
def attached(image: Path) -> Iterator[str]:
    device = do("losetup", "--find", "--show", image)
    try:
        yield device
    finally:
        do("losetup", "--detach", device)


@pytest.fixture
def exfat(image: Path) -> Iterator[Path]:
    disk = image.with_name("disk")
    do("mkfs.exfat", image)
    with attached(image) as device:
        if "exfat" in Path("/proc/filesystems").read_text().split():
            do("mount", "-t", "exfat", device, disk)
        else:
            do("mount.exfat-fuse", "-o", "rw", device, disk)
        yield disk
        do("umount", disk)


@pytest.fixture
def fat(image: Path) -> Iterator[Path]:
    disk = image.with_name("disk")
    do("mkfs.vfat", "-F", "32", image)
    do("fusefat", "-o", "rw+", image, disk)
    yield disk
    do("umount", disk)


def run(disk: Path, *args: str) -> dict[str, object]:
    """Run a command there, and return what it says last. The demo needs no gateway but its own."""
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    done = subprocess.run(
        [COMMAND, *args, "--json"],
        cwd=disk,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_without_hard_links_all_that_is_bought_is_saved_and_found_again(exfat: Path) -> None:
    (exfat / "a").write_bytes(b"")
    with pytest.raises(PermissionError):
        (exfat / "b").hardlink_to(exfat / "a")
    try_directory(exfat)
    out = exfat / "out"
    first = run(exfat, "demo", "--no-open", "--out-dir", str(out))
    assert (first["exit_code"], first["error"]) == (0, None)
    pictures = sorted(path for kind in ("png", "jpg", "webp") for path in out.glob(f"*/*.{kind}"))
    assert len(pictures) == 30
    assert all(picture.stat().st_size > 100 for picture in pictures)
    assert all(picture.with_name(f"{picture.name}.json").is_file() for picture in pictures)
    assert not list(out.rglob(".crucible-part-*"))
    assert run(exfat, "check", "--outputs", str(out))["exit_code"] == 0
    shutil.copyfile(pictures[1], pictures[0])  # another picture in its place
    assert run(exfat, "check", "--outputs", str(out))["exit_code"] == 7
    assert run(exfat, "report", str(out))["exit_code"] == 0


def test_where_no_output_could_get_its_name_nothing_is_bought(fat: Path) -> None:
    told = run(fat, "demo", "--no-open", "--out-dir", str(fat / "out"))
    assert told["exit_code"] == 2
    assert "can't store outputs" in str(told["error"])
    assert [path.name for path in (fat / "out").rglob("*") if path.is_file()] == ["lock"]
