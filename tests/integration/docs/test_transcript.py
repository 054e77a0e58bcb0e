"""The comparison of a page with what its command printed finds what the page leaves out, invents,
or puts in another order.
"""

from __future__ import annotations

import pytest

from tests.integration.docs.transcript import disagreement, mask, steps

PRINTED = "✓ 2 of 2 jobs succeeded   fox · default · 1.3 s\n  credits  4 spent · budget 5\n"
FIRST_LINE = PRINTED.splitlines()[0]
LEFT_OUT, INVENTED = "the page leaves out", "never said"
"""How the two kinds of disagreement begin."""


def _disagreement(
    shown: str, out: str = PRINTED, err: str = "", *, numbers: bool = False
) -> str | None:
    """Compare what a page shows below a command with what the command printed."""
    (step,) = steps(f"$ crucible-batch run fox.yaml\n{shown}")
    return disagreement(step, out, err, numbers=numbers)


def test_a_page_agrees_if_only_a_duration_differs() -> None:
    assert _disagreement(PRINTED.replace("1.3 s", "12 s")) is None


@pytest.mark.parametrize(
    ("shown", "why"),
    [
        pytest.param(PRINTED.replace("4 spent", "3 spent"), LEFT_OUT, id="another number"),
        pytest.param(FIRST_LINE, LEFT_OUT, id="a line left out"),
        pytest.param("\n".join(reversed(PRINTED.splitlines())), LEFT_OUT, id="another order"),
        pytest.param(PRINTED + "  next     crucible-batch plan", INVENTED, id="an invented line"),
        pytest.param("", LEFT_OUT, id="nothing shown"),
    ],
)
def test_a_page_that_shows_something_else_is_wrong(shown: str, why: str) -> None:
    assert why in str(_disagreement(shown))


def test_lines_are_left_out_only_where_the_page_requires_it() -> None:
    assert _disagreement(FIRST_LINE + "\n...") is None
    assert INVENTED in str(_disagreement("...\n" + FIRST_LINE.replace("fox", "hare")))


def test_progress_on_stderr_may_be_left_out_and_not_invented() -> None:
    assert _disagreement(PRINTED, err="12:00:01  0/2  0 succeeded\n") is None
    assert _disagreement("Thirty images\n" + PRINTED, err="Thirty images\n") is None
    assert INVENTED in str(_disagreement("Forty images\n" + PRINTED, err="Thirty images\n"))


def test_after_ctrl_c_the_words_count_and_not_the_numbers() -> None:
    assert _disagreement("^C\n" + PRINTED.replace("2 of 2", "1 of 3"), numbers=True) is None
    other_word = PRINTED.replace("succeeded", "failed")
    assert LEFT_OUT in str(_disagreement("^C\n" + other_word, numbers=True))


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
