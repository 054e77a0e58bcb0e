"""The order of the tests in several workers: first those that mostly wait, beside which there is other work to do."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

# Directories whose tests mostly wait for commands. All others keep a core busy.
_WAITING = (
    "tests/verification/crash/",
    "tests/acceptance/",
    "tests/integration/cli/",
    "tests/integration/view/",
    "tests/verification/pricing/",
)


def dealt(items: Sequence[pytest.Item], workers: int) -> list[pytest.Item]:
    """Return ``items`` in an order in which the share of each worker, an equal part of the list, begins with waiting.

    Otherwise the longest waits come last, when there is no other work. All tests of a file are in one share, in order.
    """
    files = [list(group) for _, group in itertools.groupby(items, key=_file)]
    waiting = [file for file in files if _file(file[0]).startswith(_WAITING)]
    others = [file for file in files if not _file(file[0]).startswith(_WAITING)]
    shares = [list(itertools.chain.from_iterable(waiting[start::workers])) for start in range(workers)]
    for file in others:
        min(shares, key=len).extend(file)
    return list(itertools.chain.from_iterable(shares))


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]
