"""Runs in this process: a bench with a sandbox, in a loop that skips the time in which all wait."""

from tests.harness.bench import (
    collected_between_tests,
    pytest_asyncio_loop_factories,
    start,
    store,
    tally,
    tampered,
    watcher,
)

__all__ = [
    "collected_between_tests",
    "pytest_asyncio_loop_factories",
    "start",
    "store",
    "tally",
    "tampered",
    "watcher",
]
