"""The lines about outputs that checks have rejected, as ``reject`` writes a person's.

    NAME/INDEX gGENERATION DIGITS [REASON]      hero-3/0 g0 3fa9c1d2e4b5 blank: one colour

``DIGITS`` are the first 12 of the SHA-256 of the output as the gateway sent it.
"""

from __future__ import annotations

import logging
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from crucible_batch.core.redaction import clean

logger = logging.getLogger(__name__)

REJECTS_FILE = "rejects.txt"
"""The name of the file in the run directory."""
_DIGITS = 12
_MOST_BYTES = 16 * 1024 * 1024
_LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class Rejection:
    """A rejected output. ``digest`` is the SHA-256 of its bytes as the gateway sent them."""

    name: str
    index: int
    digest: str
    reason: str
    generation: int = 0

    @property
    def output(self) -> str:
        """The line without its reason."""
        return f"{self.name}/{self.index} g{self.generation} {self.digest[:_DIGITS]}"

    @property
    def line(self) -> str:
        words = " ".join(clean(self.reason, _LONGEST_REASON).split())
        return f"{self.output} {words}"

    def is_in(self, text: str) -> bool:
        """Whether a line of the text is about the same bytes of the same job."""
        return any(
            line == self.output or line.startswith(f"{self.output} ") for line in text.splitlines()
        )


def rejects_file(run_dir: Path) -> Path:
    """Return the file of a run's rejections."""
    return run_dir / REJECTS_FILE


def add_rejection(file: Path, rejection: Rejection) -> bool:
    """Add a line about an output, unless the file has one, and return when it is durable.

    Blocking. Links are not followed, since the directory may be another person's. False if the file
    can't be written, which is logged: the mark is in the journal, and the next run tries again.
    """
    try:
        with os.fdopen(_opened(file), "r+b") as opened:
            text = opened.read(_MOST_BYTES).decode("utf-8", "replace")
            if rejection.is_in(text):
                return True
            start = "\n" if text and not text.endswith("\n") else ""
            opened.seek(0, os.SEEK_END)
            opened.write(f"{start}{rejection.line}\n".encode())
            opened.flush()
            os.fsync(opened.fileno())
    except OSError as error:
        logger.warning("%s can't be written: %s", file, error.strerror)
        return False
    return True


def _opened(file: Path) -> int:
    """Open a regular file for reading and writing. Raises ``OSError``."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(file, flags, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(22, "not a regular file")
    return descriptor
