"""Commands for users to run next, as shown in messages, on a run's page and in a saved plan."""

from __future__ import annotations

import shlex
from pathlib import Path

DEFAULT_RUN_ID = "default"
DEFAULT_DIRECTORY = Path("outputs")
"""The directory that runs are written to and read from unless another one is named."""
_INSTALLED_FROM = "."
"""What pip installs. No index has a release yet, so anybody could take the name there; the first
release makes it ``crucible-batch``: ``docs/releasing.md``."""


def shell_command(verb: str, *words: str | Path) -> str:
    """Return a crucible-batch command, with its words quoted for a shell."""
    return shlex.join(["crucible-batch", verb, *map(str, words)])


def install_command(extra: str) -> str:
    """Return the command that installs the program with one of its extras."""
    return f"pip install '{_INSTALLED_FROM}[{extra}]'"


def install_hint(extra: str) -> str:
    return f"install it, in a clone of crucible-batch: {install_command(extra)}"


def quoted(word: str | Path) -> str:
    return shlex.quote(str(word))


def run_command(
    manifest: str | Path,
    *more: str,
    run_id: str = DEFAULT_RUN_ID,
    scheduled_at: str | None = None,
    out_dir: str | Path | None = None,
    notify_option: str | None = None,
) -> str:
    """Return the command that runs a manifest in a run directory.

    ``out_dir=None`` means the default directory. ``scheduled_at`` is needed if templates of the
    jobs use it: at another time, the command would buy other jobs. ``notify_option`` is the option
    for notifications that the earlier run had (``RunTerms``).
    """
    options: list[str] = []
    if run_id != DEFAULT_RUN_ID:
        options += ["--run-id", run_id]
    if scheduled_at is not None:
        options += ["--scheduled-at", scheduled_at]
    if out_dir is not None:
        options += ["--out-dir", str(out_dir)]
    if notify_option is not None:
        options += notify_option.split()
    return shell_command("run", manifest, *options, *more)


def with_option(command: str, option: str, value: str) -> str:
    """Return the command with this option, unless it has it with any value."""
    words = shlex.split(command)
    if any(word.partition("=")[0] == option for word in words):
        return command
    return shlex.join([*words, option, value])


def with_flag(command: str, flag: str) -> str:
    """Return the command with an option that takes no value, unless it has it."""
    if flag in command.split():
        return command
    return f"{command} {flag}"


def without_option(command: str, *options: str) -> str:
    """Return the command without options that take a value, each time that one is given."""
    kept = []
    is_value = False
    for word in shlex.split(command):
        is_option = word.partition("=")[0] in options
        if not is_option and not is_value:
            kept.append(word)
        is_value = word in options
    return shlex.join(kept)


def with_budget(command: str, budget: str) -> str:
    """Return the command with ``budget`` instead of its own budget options."""
    return with_option(without_option(command, "--budget", "--max-cost"), "--budget", budget)
