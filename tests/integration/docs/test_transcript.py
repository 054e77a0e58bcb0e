"""The judge of the pages is judged: it sees what a page leaves out, invents, or puts in another
order.
"""

from __future__ import annotations

import pytest

from tests.integration.docs.transcript import disagreement, mask, steps

SAID = "✓ 2 of 2 jobs succeeded   fox · default · 1.3 s\n  credits  4 spent · budget 5\n"


def _against(shown: str, out: str = SAID, err: str = "", *, numbers: bool = False) -> str | None:
    (step,) = steps(f"$ crucible-batch run fox.yaml\n{shown}")
    return disagreement(step, out, err, numbers=numbers)


def test_what_was_said_may_have_taken_another_time() -> None:
    assert _against(SAID.replace("1.3 s", "12 s")) is None


@pytest.mark.parametrize(
    "shown",
    [
        SAID.replace("4 spent", "3 spent"),
        SAID.splitlines()[0],
        "\n".join(reversed(SAID.splitlines())),
        SAID + "  next     crucible-batch run fox.yaml",
        "",
    ],
    ids=["another number", "a line left out", "another order", "an invented line", "nothing shown"],
)
def test_a_page_that_says_otherwise_is_wrong(shown: str) -> None:
    assert _against(shown) is not None


def test_lines_are_left_out_only_where_the_page_requires_it() -> None:
    assert _against(SAID.splitlines()[0] + "\n...") is None
    assert _against("...\n" + SAID.splitlines()[0].replace("fox", "hare")) is not None


def test_progress_on_stderr_may_be_left_out_and_not_invented() -> None:
    assert _against(SAID, err="12:00:01  0/2  0 succeeded\n") is None
    assert _against("Thirty images\n" + SAID, err="Thirty images\n") is None
    assert _against("Forty images\n" + SAID, err="Thirty images\n") is not None


def test_after_ctrl_c_the_words_count_and_not_the_numbers() -> None:
    assert _against("^C\n" + SAID.replace("2 of 2", "1 of 3"), numbers=True) is None
    assert _against("^C\n" + SAID.replace("succeeded", "failed"), numbers=True) is not None


def test_a_step_knows_its_lines_and_whether_it_may_fail() -> None:
    first, second = steps(
        "$ crucible-batch run a.yaml\n^C\n! 1 of 2 jobs succeeded\n$ echo $?\n130\n"
    )
    assert first.is_interrupted
    assert first.may_fail
    assert first.shown == ("! 1 of 2 jobs succeeded",)
    assert second.shown == ("130",)
    assert not second.may_fail


def test_ids_times_and_sizes_are_masked_and_amounts_are_not() -> None:
    line = (
        "  bowl.png   c85a4888-470c-4320-935f-82b9da4b5028   101 kB   "
        "0.5 credits back   2026-11-24 20:36:35"
    )
    assert mask(line) == "bowl.png ID SIZE 0.5 credits back TIME"
