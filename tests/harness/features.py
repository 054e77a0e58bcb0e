"""Which features there are: the folder of each can be deleted, and all other tests pass.

A test that needs a feature is in ``tests/features/<name>``. Where a test of the core uses one beside its own subject,
or a table has a row for each, it asks here.
"""

from __future__ import annotations

from pathlib import Path

_FEATURES = Path(__file__).parents[2] / "crucible_batch" / "features"

COMMANDS = {
    "agents": ("agent skill", "agent mcp"),
    "check": ("check",),
    "control": ("ctl",),
    "periods": ("budget show", "budget release"),
    "prune": ("prune",),
    "schedule": ("schedule list", "schedule export"),
    "shards": ("merge",),
    "stages": ("pick",),
    "view": ("view",),
}
"""The commands of each feature that has some."""
TOGETHER = ("agents", "control", "notify", "periods", "prices", "shards", "telemetry")
"""The features whose order in one run is tested in ``tests/features/together``."""


def has_feature(name: str) -> bool:
    return (_FEATURES / name).is_dir()


def commands_of_features() -> list[str]:
    return [command for name, commands in COMMANDS.items() if has_feature(name) for command in commands]
