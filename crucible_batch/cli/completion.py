"""What the Tab key offers for arguments: run directories, workflows, error codes. Never a word of complaint.

And what zsh has to be told besides, so that it offers anything at the first Tab.
"""

# ruff: noqa: PLC0415 - --help loads this module, and only the Tab key needs more

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path

_MOST = 200
_PATIENCE_S = 1.0
"""Who presses Tab waits no longer than this for the gateway."""
_ZSH_ENDS = "\ncompdef %(complete_func)s %(prog_name)s\n"
_ZSH_ENDS_BETTER = """
if [ "$funcstack[1]" = "_%(prog_name)s" ]; then
  %(complete_func)s "$@"
else
  compdef %(complete_func)s %(prog_name)s
fi
"""


def mend_zsh() -> None:
    """Have the script that is shown or installed for zsh complete at a shell's first Tab too.

    zsh reads the file at that Tab, as a function's body, and Typer's only defines what the next Tab calls. Its scripts
    are no part of its API: where they are others by now, they stay as they are.
    """
    scripts = getattr(importlib.import_module("typer._completion_shared"), "_completion_scripts", {})
    if _ZSH_ENDS in scripts.get("zsh", ""):
        scripts["zsh"] = scripts["zsh"].replace(_ZSH_ENDS, _ZSH_ENDS_BETTER)


def run_directories(incomplete: str) -> list[str]:
    """Offer the run directories under ``outputs/`` and those that begin as typed; with none the shell offers files."""
    try:
        places = [*Path().glob("outputs/*/*/.crucible"), *_typed(incomplete)]
        found = {str(place.parent) for place in places if place.is_dir()}
    except (OSError, ValueError):
        return []
    return _beginning(incomplete, found)


def _typed(incomplete: str) -> Iterable[Path]:
    """Look at what stands where the typing has got to, and one level below; its last part may be half a name."""
    parent, _, beginning = incomplete.rpartition("/")
    if not parent and not incomplete.startswith("/"):
        parent = "."
    for entry in sorted(Path(parent or "/").iterdir()):
        if entry.name.startswith(beginning) and entry.is_dir():
            yield entry / ".crucible"
            yield from sorted(entry.glob("*/.crucible"))


def workflow_ids(incomplete: str) -> list[str]:
    """Offer the account's workflows, if the gateway says at once which there are."""
    import asyncio

    from crucible_batch.api import connect

    async def ask() -> list[str]:
        async with asyncio.timeout(_PATIENCE_S), connect() as client:
            return [each.workflow_id for each in (await client.workflows()).workflows]

    try:
        return _beginning(incomplete, asyncio.run(ask()))
    except Exception:  # noqa: BLE001 - no key, no gateway, no time: whatever it is, no traceback into a half-typed line
        return []


def error_codes(incomplete: str) -> list[str]:
    """Offer the error codes of our own."""
    from crucible_batch.error_codes import CODES, HTTP

    return _beginning(incomplete, [code.name for code in CODES if code.name != HTTP])


def _beginning(incomplete: str, words: Iterable[str]) -> list[str]:
    return sorted(word for word in words if word.startswith(incomplete) and word.isprintable())[:_MOST]
