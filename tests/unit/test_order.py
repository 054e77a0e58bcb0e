"""The order of the tests in several workers: none is left out, and each worker mixes tests that wait with others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tests.order import dealt


def items(*files: tuple[str, int]) -> list[Any]:
    return [SimpleNamespace(nodeid=f"{path}::test_{number}") for path, count in files for number in range(count)]


def test_each_share_is_an_equal_part_that_mixes_tests_that_wait_with_others_and_has_complete_files() -> None:
    collected = items(
        ("tests/unit/test_long.py", 5),
        ("tests/integration/cli/test_a.py", 3),
        ("tests/unit/test_b.py", 2),
        ("tests/acceptance/test_c.py", 1),
        ("tests/unit/test_d.py", 1),
    )
    order = [item.nodeid for item in dealt(collected, 2)]
    assert sorted(order) == sorted(item.nodeid for item in collected)
    shares = [list(dict.fromkeys(node.partition("::")[0] for node in share)) for share in (order[:6], order[6:])]
    assert shares == [
        ["tests/acceptance/test_c.py", "tests/unit/test_long.py"],
        ["tests/integration/cli/test_a.py", "tests/unit/test_b.py", "tests/unit/test_d.py"],
    ]


def test_tests_that_wait_are_spread_over_the_share() -> None:
    collected = items(
        *((f"tests/acceptance/test_{name}.py", 1) for name in "ab"),
        *((f"tests/unit/test_{name}.py", 2) for name in "cdef"),
    )
    order = [item.nodeid.partition("::")[0] for item in dealt(collected, 1)]
    assert "".join(path[-4] for path in dict.fromkeys(order)) == "acdbef"


def test_one_worker_runs_all_tests_of_a_file_in_their_order() -> None:
    order = [item.nodeid for item in dealt(items(("tests/unit/test_a.py", 3), ("tests/acceptance/test_b.py", 2)), 1)]
    assert order == [
        *(f"tests/acceptance/test_b.py::test_{number}" for number in range(2)),
        *(f"tests/unit/test_a.py::test_{number}" for number in range(3)),
    ]
