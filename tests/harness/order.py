"""The order of the tests in several workers: each worker always has tests that wait beside those
that compute.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import pytest

_WAITING = ("tests/verification/crash/", "tests/acceptance/")
"""Folders whose tests mostly wait for commands that they start by themselves."""
_COMMANDS = {"cli", "slow_cli", "lonely_cli"}
"""Fixtures that start commands. Tests that use none of them keep a core busy."""


def dealt(items: Sequence[pytest.Item], workers: int) -> list[pytest.Item]:
    """Return ``items`` in an order in which the share of each worker, an equal part of the list,
    mixes both kinds.

    While some workers wait, the others compute, from the start to the end. All tests of a file are
    in one share.
    """
    files = [list(group) for _, group in itertools.groupby(items, key=_file)]
    shares: list[list[list[pytest.Item]]] = [[] for _ in range(workers)]
    for file in sorted(files, key=len, reverse=True):
        min(shares, key=lambda share: sum(map(len, share))).append(file)
    return [item for share in shares for file in _mixed(share) for item in file]


def _mixed(share: list[list[pytest.Item]]) -> list[list[pytest.Item]]:
    waiting = [file for file in share if _is_waiting(file)]
    computing = [file for file in share if not _is_waiting(file)]
    return [
        file
        for _, file in sorted(
            [*_placed(waiting), *_placed(computing)], key=lambda placed: placed[0]
        )
    ]


def _placed(files: list[list[pytest.Item]]) -> Iterator[tuple[float, list[pytest.Item]]]:
    """Give each file with the part of the tests that are before it, from 0 to 1."""
    before, total = 0, sum(map(len, files))
    for file in files:
        yield before / total, file
        before += len(file)


def _is_waiting(file: list[pytest.Item]) -> bool:
    return _file(file[0]).startswith(_WAITING) or any(_COMMANDS & _fixtures(item) for item in file)


def _fixtures(item: pytest.Item) -> set[str]:
    return set(getattr(item, "fixturenames", ()))


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]
