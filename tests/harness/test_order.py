"""The order of the tests in several workers: none is left out, and each worker mixes tests that
wait with others.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tests.harness.order import dealt


def items(*files: tuple[str, int], cli: tuple[str, ...] = ()) -> list[Any]:
    """Make tests of files. Those of the files ``cli`` start commands."""
    return [
        SimpleNamespace(
            nodeid=f"{path}::test_{number}", fixturenames=["cli"] if path in cli else ["tmp_path"]
        )
        for path, count in files
        for number in range(count)
    ]


def test_shares_are_equal_have_whole_files_and_mix_tests_that_wait_with_others() -> None:
    collected = items(
        ("tests/unit/test_long.py", 5),
        ("tests/features/shards/test_a.py", 3),
        ("tests/unit/test_b.py", 2),
        ("tests/acceptance/test_c.py", 1),
        ("tests/unit/test_d.py", 1),
        cli=("tests/features/shards/test_a.py",),
    )
    order = [item.nodeid for item in dealt(collected, 2)]
    assert sorted(order) == sorted(item.nodeid for item in collected)
    shares = [
        list(dict.fromkeys(node.partition("::")[0] for node in share))
        for share in (order[:6], order[6:])
    ]
    assert shares == [
        ["tests/acceptance/test_c.py", "tests/unit/test_long.py"],
        ["tests/features/shards/test_a.py", "tests/unit/test_b.py", "tests/unit/test_d.py"],
    ]
