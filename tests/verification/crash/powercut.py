"""Trials with a power cut: the run directory lies on an ext4 of its own, of which only what reached
the disk is left.

The image is copied while it is mounted, right after the kill, so that whatever nobody synced is
gone; the copy is mounted, which plays its journal back, and the same command goes on there. It
takes root, and loop devices.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from tests.verification.crash.judge import Finding
from tests.verification.crash.scenes import Scene
from tests.verification.crash.trials import Boundary, Trial, boundaries_in, staged

_IMAGE_BYTES = 24 * 1024 * 1024
_OPTIONS = "loop,commit=300"  # the journal is not written by the clock, but where somebody syncs


def unplugged(trial: Trial, _chance: Random, at: Boundary) -> Iterator[Finding]:
    """The power fails at a boundary."""
    disk, after = trial.folder / "disk", trial.folder / "after.img"
    with _mounted(_new_image(trial), disk) as before:
        trial.run(at.strike(signal.SIGKILL))
        shutil.copyfile(before, after)
    with _mounted(after, disk):
        yield from trial.conclude(trial.run())


def boundaries_on_disk(scene: Scene) -> list[Boundary]:
    """Run a scene undisturbed on an ext4, where it has other effects than on a file system in
    memory."""
    with staged(scene, lambda: None) as trial, _mounted(_new_image(trial), trial.folder / "disk"):
        return boundaries_in(trial.run().trace)


def _new_image(trial: Trial) -> Path:
    """Make an empty ext4 for the run directory of a trial, to be mounted at ``disk``."""
    image = trial.folder / "before.img"
    (trial.folder / "disk").mkdir()
    trial.out = "disk/out"
    with image.open("wb") as file:
        file.truncate(_IMAGE_BYTES)
    _do("mkfs.ext4", "-q", "-F", str(image))
    return image


@contextmanager
def _mounted(image: Path, at: Path) -> Iterator[Path]:
    _do("mount", "-t", "ext4", "-o", _OPTIONS, str(image), str(at))
    try:
        yield image
    finally:
        _do("umount", str(at))


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        who = "root" if os.geteuid() == 0 else "no root"
        raise RuntimeError(
            f"a power cut takes root and loop devices; {' '.join(command)}, as {who}: {done.stderr}"
        )
