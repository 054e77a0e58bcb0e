"""The command line itself, as something to show: what to type to go on, or to try again."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

_HERE_ONLY = {"--dry-run", "-n"}


def again(*more: str, instead_of: str | None = None, argv: Sequence[str] | None = None) -> str:
    """Return the command that is running, ready to be pasted, with ``more`` behind it where that is not there yet.

    ``instead_of`` is another word for the command (``run`` where ``plan`` was typed). What only suits this call is
    left out.
    """
    words = [word for word in (sys.argv[1:] if argv is None else argv) if word not in _HERE_ONLY]
    if instead_of is not None and words:
        words[0] = instead_of
    words += [word for word in more if word not in words]
    return shlex.join(["crucible-batch", *words])
