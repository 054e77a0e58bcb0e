"""A person who types what a command has printed, in one shell, as it stands."""

from __future__ import annotations

import re
import subprocess

from tests.harness.commands import Cli
from tests.harness.forked_commands import forking_script


def printed_commands(out: str, *labels: str) -> list[str]:
    """The commands that stand under one of the labels, in order.

    A line without a label belongs to the one above.
    """
    found, label = [], ""
    for line in out.splitlines():
        match = re.match(r"^ {2}(\S+(?: \S+)*)?\s+(\S.*)$", line)
        if match is None:
            continue
        label = (match[1] or label).strip()
        if label in labels and re.match(r"(crucible-batch|cd) ", match[2]):
            found.append(match[2])
    return found


def typed(
    cli: Cli, out: str, *labels: str, then_run: bool = False, then: str = ""
) -> subprocess.CompletedProcess[str]:
    """Type the printed commands, with ``then_run`` also the next one of the last of them, and
    ``then`` at the end."""
    commands = printed_commands(out, *(labels or ("next",)))
    assert commands, out
    lines = ["set -e", *commands]
    if then_run:
        lines[-1] += ' | tee "$TRANSCRIPT"'
        lines.append('next=$(sed -n "s/^  next  *//p" "$TRANSCRIPT" | head -n 1)')
        lines.append(
            'case "$next" in "crucible-batch run "*) eval "$next --budget 20" ;; *) exit 99 ;; esac'
        )
    return in_shell(cli, "\n".join([*lines, then]))


def in_shell(cli: Cli, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script that finds the command ``crucible-batch``.

    It has a file for a transcript, ``$TRANSCRIPT``.
    """
    tools = cli.cwd / ".tools"
    tools.mkdir(exist_ok=True)
    forking_script(tools)
    environment = {**cli.environment, "TRANSCRIPT": str(tools / "transcript")}
    environment["PATH"] = f"{tools}:{environment['PATH']}"
    return subprocess.run(
        ["/bin/sh", "-c", script],
        check=False,
        cwd=cli.cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
