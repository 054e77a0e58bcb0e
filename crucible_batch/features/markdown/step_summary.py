"""The summary of a step of GitHub Actions: a Markdown file that ``GITHUB_STEP_SUMMARY`` names.

GitHub shows it on the page of the workflow's run. Commands of one step share the file, so each adds
to it. GitHub shows nothing of a file above 1 MiB, so what does not fit is cut.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Mapping

from crucible_batch.core.redaction import clean_path

logger = logging.getLogger(__name__)

VARIABLE = "GITHUB_STEP_SUMMARY"
MOST_BYTES = 1024 * 1024
CUT = "\n\n*The rest is left out: the summary of a step has at most 1 MiB.*\n"
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def add_to_summary(text: str, environ: Mapping[str, str]) -> None:
    """Append Markdown to the summary of the step, if there is one. If that fails, log it: the
    result of the command is another matter.
    """
    path = environ.get(VARIABLE)
    if not path:
        return
    try:
        is_complete = _append(path, text)
    except OSError as error:
        logger.warning(
            "the step summary %s can't be written: %s", clean_path(path), error.strerror or error
        )
        return
    if not is_complete:
        logger.warning("the step summary is cut: it has at most 1 MiB")


def _append(path: str, text: str) -> bool:
    """Append text as far as there is room for it; return whether that is all of it."""
    # Another kind of file could block, or be one that a link leads to.
    with os.fdopen(os.open(path, _FLAGS, 0o644), "ab") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a file")
        if status.st_size:
            text = f"\n{text}"
        content = text.encode("utf-8", "replace")
        fitting = fitted(content, status.st_size)
        file.write(fitting)
    return len(fitting) == len(content)


def fitted(content: bytes, size: int) -> bytes:
    """Return what is added to a file of ``size`` bytes: complete lines, and one that states it if
    some are left out.

    For that line, there is always room: a file without it would seem to be complete.
    """
    cut = CUT.encode()
    room = MOST_BYTES - len(cut) - size
    if len(content) <= room:
        return content
    if room < 0:
        return b""  # it has the line already
    kept = content[:room]
    return kept[: kept.rfind(b"\n") + 1].rstrip(b"\n") + cut
