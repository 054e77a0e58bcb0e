"""Commands for users to run next, as shown in messages, on a run's page and in a saved plan."""

from __future__ import annotations

import shlex
from pathlib import Path

DEFAULT_RUN_ID = "default"


def shell_command(verb: str, *words: str | Path) -> str:
    """Return a crucible-batch command, with its words quoted for a shell."""
    return shlex.join(["crucible-batch", verb, *map(str, words)])


def run_command(manifest: str | Path, *more: str, run_id: str = DEFAULT_RUN_ID, out_dir: Path | None = None) -> str:
    """Return the command that runs a manifest in a run directory. ``out_dir=None`` means the default directory."""
    options = [] if run_id == DEFAULT_RUN_ID else ["--run-id", run_id]
    options += [] if out_dir is None else ["--out-dir", str(out_dir)]
    return shell_command("run", manifest, *options, *more)
