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


_BUDGET_OPTIONS = ("--budget", "--max-cost")


def with_budget(command: str, budget: str) -> str:
    """Return a command with that budget in place of its own."""
    words = shlex.split(command)
    found: list[str] = []
    while words:
        word = words.pop(0)
        name, has_value, _ = word.partition("=")
        if name not in _BUDGET_OPTIONS:
            found.append(word)
            continue
        if not has_value:
            del words[:1]
        if "--budget" not in found:
            found += ["--budget", budget]
    return shlex.join(found if "--budget" in found else [*found, "--budget", budget])
