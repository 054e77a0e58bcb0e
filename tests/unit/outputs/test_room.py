"""How much of a disk is left alone."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from crucible_batch.outputs import disk_space

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("free", "total", "words"),
    [
        (64 * MIB, 10_000 * MIB, None),
        (
            64 * MIB - 4096,
            10_000 * MIB,
            (
                "64.0 MiB are free on the disk of the outputs; "
                "64.0 MiB are reserved for jobs in flight"
            ),
        ),
        (
            0,
            10_000 * MIB,
            "0.0 MiB are free on the disk of the outputs; 64.0 MiB are reserved for jobs in flight",
        ),
        (10 * MIB, 200 * MIB, None),
        (
            9 * MIB,
            200 * MIB,
            "9.0 MiB are free on the disk of the outputs; 10.0 MiB are reserved for jobs in flight",
        ),
        (0, 0, None),
    ],
)
def test_a_reserve_is_kept_and_of_a_small_disk_a_twentieth(
    monkeypatch: pytest.MonkeyPatch, free: int, total: int, words: str | None
) -> None:
    disk = SimpleNamespace(f_bavail=free // 4096, f_frsize=4096, f_blocks=total // 4096)
    monkeypatch.setattr(disk_space.os, "statvfs", lambda _path: disk)
    said = disk_space.space_shortage(Path("anywhere"))
    assert (said and (said.code, said.message)) == (words and ("DISK_NEARLY_FULL", words))


def test_a_disk_that_cant_be_asked_says_nothing(tmp_path: Path) -> None:
    assert disk_space.space_shortage(tmp_path / "nowhere") is None
    assert os.statvfs(tmp_path).f_blocks > 0
