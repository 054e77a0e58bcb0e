"""Which features there are: the folder of each can be deleted, and all other tests pass.

A test that needs a feature is in ``tests/features/<name>``. Where a test of the core uses one
beside its own subject, or a table has a row for each, it asks here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from crucible_batch.features import exists
from crucible_batch.features.needs import NEEDS

_TESTS = Path(__file__).parents[1]

COMMANDS = {
    "agents": ("agent skill", "agent mcp"),
    "check": ("check",),
    "control": ("ctl",),
    "export": ("export",),
    "machines": ("worker",),
    "periods": ("budget show", "budget release"),
    "prune": ("prune",),
    "redo": ("reject",),
    "schedule": ("schedule list", "schedule export"),
    "shards": ("merge",),
    "spend": ("spend",),
    "stages": ("pick",),
    "view": ("view",),
}
"""The commands of each feature that has some."""
CODES = {
    "derive": ("NOT_DERIVED",),
    "check": ("DIFFERENCE", "OUTPUT_REPLACED", "OUTPUT_UNREADABLE"),
    "export": ("NOT_EXPORTED",),
    "redo": ("REDO_LIMIT", "SAME_OUTPUT", "FIXED_SEED"),
    "stages": ("PICK_NOT_FOUND",),
}
"""The codes of the table that only a feature gives."""
KEYS = {
    "after": ("after",),
    "draw": ("draw", "count", "seed"),
    "extends": ("extends",),
    "derive": ("derive",),
    "notify": ("notify",),
    "periods": ("account", "per"),
    "quality": ("checks",),
    "redo": ("rejects", "redo"),
    "schedule": ("schedule",),
    "seeds": ("seeds",),
    "sheets": ("sheet",),
    "spend": ("tags",),
    "stages": ("from", "pick"),
    "synthetic": ("mark",),
}
"""The keys of manifests that each feature adds."""
OPTIONS = {
    "machines": ("--divide", "--export", "--image", "--job-definition", "--job-queue", "--on"),
    "markdown": ("--markdown",),
    "notify": ("--notification",),
    "redo": ("--rejects",),
    "sample": ("--first", "--sample"),
    "schedule": ("--catch-up", "--if-running"),
    "shards": ("--probe", "--shard", "--shards"),
}
"""The options that a feature adds to commands of others."""
TOGETHER = ("agents", "control", "notify", "periods", "prices", "shards", "telemetry")
"""The features whose order in one run is tested in ``tests/features/together``."""


def has_feature(name: str) -> bool:
    """Return whether a feature was not deleted, and neither was one that it needs."""
    return exists(name)


def features_of(path: Path) -> set[str]:
    """Return the features that a file of tests may use, by its folders:
    ``features/check/with_view`` is of both, and of what they can't do without.
    """
    folders = path.relative_to(_TESTS).parts[:-1]
    if len(folders) < 2 or folders[0] != "features":
        return set()
    if folders[1] == "together":
        return set(TOGETHER)
    named = {folders[1]}.union(
        *(folder.split("_")[1:] for folder in folders[2:] if folder.startswith("with_"))
    )
    return named.union(*(NEEDS.get(name, ()) for name in named))


def commands_of_features() -> list[str]:
    return [
        command for name, commands in COMMANDS.items() if has_feature(name) for command in commands
    ]


def deleted_commands() -> set[str]:
    """Return the commands that some pages still print, though their feature was deleted."""
    return _of_deleted(COMMANDS)


def deleted_codes() -> set[str]:
    """Return the codes that stay in the table, though the feature that gives them was deleted."""
    return _of_deleted(CODES)


def deleted_keys() -> set[str]:
    return _of_deleted(KEYS)


def deleted_options() -> set[str]:
    """Return the options that some pages still print, though their feature was deleted."""
    return _of_deleted(OPTIONS)


def _of_deleted(table: Mapping[str, Sequence[str]]) -> set[str]:
    return {each for name, listed in table.items() if not has_feature(name) for each in listed}
