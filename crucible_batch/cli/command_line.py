"""The current command line as text, to show which command continues or repeats a run."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

from crucible_batch.errors import UserError
from crucible_batch.shell_command import shell_command

_HERE_ONLY = {"--dry-run", "-n", "--forget-refunds"}
_HOST = re.compile(r"(--[a-z-]+=)?file://[^/]", re.IGNORECASE)
_PASSWORD = re.compile(r"(://[^:@/]*:).*@")


def again(*more: str, instead_of: str | None = None) -> str:
    """Return the current command, quoted for a shell, with further arguments.

    Those of ``more`` that it has already are not repeated. ``instead_of`` replaces the command name
    (``run`` if ``plan`` was typed). Options that apply only to this call (``--dry-run``,
    ``--forget-refunds``) are left out, and the password of a proxy is masked: the text may end up
    in a log or a mail.
    """
    words = [word for word in _typed() if word not in _HERE_ONLY]
    if instead_of is not None and words:
        words[0] = instead_of
    words += [word for word in more if word not in words]
    return shlex.join(["crucible-batch", *words])


def refuse_hosts() -> None:
    """Raise ``UserError`` for a ``file://`` URL with a host: as a ``Path``, it is one without."""
    if any(_HOST.match(word) for word in sys.argv[1:]):
        raise UserError(
            "a file:// address has a host, or is not absolute",
            hint="the path begins with a third slash: file:///ABSOLUTE/PATH; nothing was spent",
        )


def _typed() -> list[str]:
    """Return the words of the command line, with the password of a proxy masked."""
    words = sys.argv[1:]
    for at, word in enumerate(words):
        if word.startswith("--proxy=") or words[at - 1 : at] == ["--proxy"]:
            words[at] = _PASSWORD.sub(r"\1***@", word)
    return words


def merge_command(run_dir: str | Path) -> str:
    """Return the command that merges the shards of a run directory."""
    return f"{shell_command('merge', run_dir)}   # once all shards have ended"
