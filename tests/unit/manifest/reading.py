"""Reads manifests that mean harm, and says what came of each: ``python reading.py KIND FOLDER``, or
from, to and seeds.

It is a process of its own, so that its peak of memory is theirs, and it looks over its own
shoulder: whatever opens a socket, starts a process or writes to a file that has a name is told of
(``sys.addaudithook``).
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.process import peak_mb
from crucible_batch.errors import ManifestError
from crucible_batch.runs.draft import validate
from tests.unit.manifest import corpus

_CHANGES = (
    "socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system",
    "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.chmod", "os.chown", "os.link",
    "os.symlink", "os.truncate", "os.putenv", "shutil.", "pty.", "urllib.", "http.", "ftplib.",
    "smtplib.", "webbrowser.",
)  # fmt: skip


_LONG_S, _AGAIN = 1.0, 3
_SMALL_BYTES = 50_000


class Watch:
    """What was done that reading a manifest has no need of.

    A file without a name is nobody else's business.
    """

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.is_on = False

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.is_on and (event.startswith(_CHANGES) or (event == "open" and _writes(*arguments))):
            self.seen.append(f"{event} {arguments!r}")


def _writes(path: object, _mode: object, flags: object) -> bool:
    if not isinstance(path, str | bytes) or not isinstance(flags, int):
        return False  # a descriptor, which was opened before
    return (
        bool(flags & (os.O_WRONLY | os.O_RDWR)) and not Path(os.fsdecode(path)).is_dir()
    )  # a file without a name


def outcome(path: Path) -> str:
    """Say how a manifest ended: ``taken``, ``refused``, or an exception, which must not be."""
    try:
        validate(path)
    except ManifestError as error:
        return (
            "refused"
            if error.problems and all(len(str(problem)) < 4000 for problem in error.problems)
            else "mute"
        )
    except BaseException as error:  # whatever it is, it is what is looked for
        return f"{type(error).__name__}: {error}"
    return "taken"


def timed(path: Path) -> tuple[str, float]:
    """Say how a manifest ended, and how many seconds of the processor that took."""
    began = time.process_time()
    ended = outcome(path)
    return ended, time.process_time() - began


def told(manifests: Iterable[tuple[str, bytes]], folder: Path) -> Iterator[dict[str, object]]:
    tempfile.gettempdir()  # finds out by writing there
    watch, path = Watch(), folder / "manifest.yaml"
    sys.addaudithook(watch)
    for name, content in manifests:
        path.write_bytes(content)
        watch.seen, watch.is_on = [], True
        ended, took = timed(path)
        for _ in range(
            _AGAIN if took > _LONG_S else 0
        ):  # a machine that does something else beside makes it longer
            took = min(took, timed(path)[1])
        watch.is_on = False
        yield {"name": name, "outcome": ended, "seconds": took, "did": watch.seen}


def mutants(first: int, last: int) -> Iterator[tuple[str, bytes]]:
    """Yield a mutant a seed; every other one is of the one before, so that they get further from
    what is sound."""
    content = corpus.SOUND
    for seed in range(first, last):
        content = corpus.mutated(content if seed % 2 else corpus.SOUND, seed)
        yield f"mutant {seed}", content


def main(kind: str, folder: str, first: str = "0", last: str = "0") -> None:
    """Print an object a manifest, and the peak of memory at the end."""
    manifests = {
        "refused": corpus.refused,
        "small": lambda: (
            (name, text) for name, text in corpus.refused() if len(text) < _SMALL_BYTES
        ),
        "any": corpus.any_outcome,
        "mutants": lambda: mutants(int(first), int(last)),
    }[kind]()
    for name, text in corpus.FILES.items():
        Path(folder, name).write_text(text)
    for line in told(manifests, Path(folder)):
        print(json.dumps(line))
    print(json.dumps({"peak_mb": peak_mb()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
