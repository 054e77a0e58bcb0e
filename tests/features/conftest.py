"""Fixtures of all kinds, since the folder of a feature holds all of its tests, and which folders are collected."""

from __future__ import annotations

from pathlib import Path

from tests.harness.bench import (
    collected_between_tests,
    pytest_asyncio_loop_factories,
    start,
    store,
    tally,
    tampered,
    watcher,
)
from tests.harness.commands import (
    cli,
    gateway,
    lonely_cli,
    one_command_tree,
    report_of,
    slow_cli,
    slow_gateway,
)

__all__ = [
    "cli",
    "collected_between_tests",
    "gateway",
    "lonely_cli",
    "one_command_tree",
    "pytest_asyncio_loop_factories",
    "report_of",
    "slow_cli",
    "slow_gateway",
    "start",
    "store",
    "tally",
    "tampered",
    "watcher",
]

FEATURES = Path(__file__).parents[2] / "crucible_batch" / "features"


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out the tests of two features of which one has been deleted: ``shards/with_periods``, ``with_a_b``."""
    word, _, others = collection_path.name.partition("_")
    if word != "with" or not collection_path.is_dir():
        return None
    return True if any(not (FEATURES / other).is_dir() for other in others.split("_")) else None
