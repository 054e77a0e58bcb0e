"""Shell completion of arguments: run directories, workflows, error codes. On errors there are no completions."""

# ruff: noqa: PLC0415 - --help loads this module; only completion needs the rest

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path

_MAX_OFFERED = 200
_GATEWAY_TIMEOUT_S = 1.0
_ZSH_END = "\ncompdef %(complete_func)s %(prog_name)s\n"
_ZSH_END_FIXED = """
if [ "$funcstack[1]" = "_%(prog_name)s" ]; then
  %(complete_func)s "$@"
else
  compdef %(complete_func)s %(prog_name)s
fi
"""


def mend_zsh() -> None:
    """Fix Typer's zsh script, which completes nothing on the first Tab of a shell.

    zsh runs the file as a function on the first Tab; Typer's script only defines the function for the next Tab. If a
    version of Typer has a different script, it is not changed: the scripts are not part of Typer's API.
    """
    scripts = getattr(importlib.import_module("typer._completion_shared"), "_completion_scripts", {})
    if _ZSH_END in scripts.get("zsh", ""):
        scripts["zsh"] = scripts["zsh"].replace(_ZSH_END, _ZSH_END_FIXED)


def run_directories(incomplete: str) -> list[str]:
    """Return run directories under ``outputs/`` and at the typed path; if there are none, the shell completes files."""
    try:
        places = [*Path().glob("outputs/*/*/.crucible"), *_typed(incomplete)]
        # The folder of all runs of a manifest may have a lock there, and no journal.
        found = {str(place.parent) for place in places if (place / "journal.sqlite3").is_file()}
    except (OSError, ValueError):
        return []
    return _beginning(incomplete, found)


def _typed(incomplete: str) -> Iterable[Path]:
    """Yield the hidden folders at the typed path and one level below; the last part may be incomplete."""
    parent, _, beginning = incomplete.rpartition("/")
    if not parent and not incomplete.startswith("/"):
        parent = "."
    for entry in sorted(Path(parent or "/").iterdir()):
        if entry.name.startswith(beginning) and entry.is_dir():
            yield entry / ".crucible"
            yield from sorted(entry.glob("*/.crucible"))


def workflow_ids(incomplete: str) -> list[str]:
    """Return the account's workflows, if the gateway answers within ``_GATEWAY_TIMEOUT_S``."""
    import asyncio

    from crucible_batch.api.connecting import connect

    async def ask() -> list[str]:
        async with asyncio.timeout(_GATEWAY_TIMEOUT_S), connect() as client:
            return [each.workflow_id for each in await client.workflows()]

    try:
        return _beginning(incomplete, asyncio.run(ask()))
    except Exception:  # noqa: BLE001 - a half-typed command line must not show a traceback
        return []


def error_codes(incomplete: str) -> list[str]:
    from crucible_batch.error_codes import CODES, HTTP

    return _beginning(incomplete, [code.name for code in CODES if code.name != HTTP])


def _beginning(incomplete: str, words: Iterable[str]) -> list[str]:
    return sorted(word for word in words if word.startswith(incomplete) and word.isprintable())[:_MAX_OFFERED]
