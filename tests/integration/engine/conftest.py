"""Runs in this process: a bench with a sandbox, in a loop that skips the time in which all wait."""

import pytest

from crucible_batch.engine import runner as runner_module
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


@pytest.fixture
def runners(monkeypatch):
    """The runners that were made, to press Ctrl-C on."""
    made = []
    original = runner_module.Runner.__init__

    def init(self, **parts):
        original(self, **parts)
        made.append(self)

    monkeypatch.setattr(runner_module.Runner, "__init__", init)
    return made
