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
            "64.0 MiB are free on the disk of the outputs; 64.0 MiB are reserved for jobs in flight",
        ),
        (0, 10_000 * MIB, "0.0 MiB are free on the disk of the outputs; 64.0 MiB are reserved for jobs in flight"),
        (10 * MIB, 200 * MIB, None),
        (9 * MIB, 200 * MIB, "9.0 MiB are free on the disk of the outputs; 10.0 MiB are reserved for jobs in flight"),
        (0, 0, None),
    ],
)
def test_a_reserve_is_kept_and_of_a_small_disk_a_twentieth(
    monkeypatch: pytest.MonkeyPatch, free: int, total: int, words: str | None
) -> None:
    disk = SimpleNamespace(f_bavail=free // 4096, f_frsize=4096, f_blocks=total // 4096)
    monkeypatch.setattr(disk_space.os, "statvfs", lambda _path: disk)
    said = disk_space.DiskSpace(Path("anywhere")).shortage()
    assert (said and (said.code, said.message)) == (words and ("DISK_NEARLY_FULL", words))


def test_a_disk_that_cant_be_asked_says_nothing(tmp_path: Path) -> None:
    assert disk_space.DiskSpace(tmp_path / "nowhere").shortage() is None
    assert os.statvfs(tmp_path).f_blocks > 0


def test_an_ample_disk_is_not_asked_for_each_job_and_a_scarce_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    now, asked, free = [0.0], [], [2000 * MIB]

    def statvfs(path: Path) -> SimpleNamespace:
        asked.append(path)
        return SimpleNamespace(f_bavail=free[0] // 4096, f_frsize=4096, f_blocks=10_000 * MIB // 4096)

    monkeypatch.setattr(disk_space.os, "statvfs", statvfs)
    there = disk_space.DiskSpace(Path("anywhere"), lambda: now[0])
    assert [there.shortage() for _ in range(9)] == [None] * 9
    assert len(asked) == 1
    now[0], free[0] = 0.3, 100 * MIB
    assert [there.shortage() for _ in range(9)] == [None] * 9
    assert len(asked) == 10
    free[0] = 10 * MIB
    assert there.shortage() is not None
