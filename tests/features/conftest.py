"""Fixtures of all kinds, since the folder of a feature holds all of its tests, and which folders are collected."""

from __future__ import annotations

from collections.abc import Sequence
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
from tests.harness.features import TOGETHER, has_feature

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
    """Leave out a folder of tests of several features of which one was deleted: ``shards/with_periods``, ``with_a_b``.

    Without a feature of ``TOGETHER``, the order of its effects among the others is not tested.
    """
    word, _, others = collection_path.name.partition("_")
    if collection_path.parent == Path(__file__).parent and collection_path.name == "together":
        needed: Sequence[str] = TOGETHER
    elif word == "with" and collection_path.is_dir():
        needed = others.split("_")
    else:
        return None
    return None if all(map(has_feature, needed)) else True
