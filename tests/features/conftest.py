"""Fixtures of all kinds, since the folder of a feature holds all of its tests, and which folders
are collected."""

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
from tests.harness.features import features_of, has_feature

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


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out the tests of several features of which one was deleted: ``shards/with_periods``,
    and ``together``.
    """
    return None if all(map(has_feature, features_of(collection_path / "tests"))) else True
