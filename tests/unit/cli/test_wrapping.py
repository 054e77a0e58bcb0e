"""Lines that are wider than the terminal: broken between words, unless they are to be copied."""

import io

import pytest
from rich.console import Console
from rich.theme import Theme

from crucible_batch.cli.terminal import advise, fact, say_note

LONG = "raise the budget, or lower budget.max_credits_per_job, and run the same command again"


def printed(
    *parts: str | tuple[str, str], label: str = "hint", is_terminal: bool = True, width: int = 60
) -> list[str]:
    stream = io.StringIO()
    styles = Theme({"label": "dim", "command": "cyan", "quiet": "dim"})
    console = Console(
        file=stream, width=width, theme=styles, force_terminal=is_terminal, color_system=None
    )
    fact(console, label, *parts)
    return stream.getvalue().splitlines()


def test_a_line_is_broken_between_words_and_further_lines_are_indented_like_the_first() -> None:
    assert printed(LONG) == [
        "  hint     raise the budget, or lower",
        "           budget.max_credits_per_job, and run the same",
        "           command again",
    ]


def test_parts_of_a_line_are_wrapped_as_one_text() -> None:
    lines = printed(
        "outputs/spring/default",
        ("   with report.json and a page", "quiet"),
        label="results",
        width=50,
    )
    assert lines == [
        "  results  outputs/spring/default   with",
        "           report.json and a page",
    ]


def test_a_line_is_complete_where_nobody_reads_it() -> None:
    assert printed(LONG, is_terminal=False) == [f"  hint     {LONG}"]


@pytest.mark.parametrize("label", ["next", "resume"])
def test_a_command_is_one_line_so_that_it_can_be_copied(label: str) -> None:
    command = f"crucible-batch run {'long-' * 9}.yaml --budget 40 --var brand=Northwind"
    assert printed((command, "command"), label=label) == [f"  {label:<8} {command}"]


def test_a_path_that_does_not_fit_is_not_broken() -> None:
    path = "outputs/" + "a-long-name-" * 6
    assert printed(path, ("   with report.json", "quiet"), label="results") == [
        f"  results  {path}   with report.json"
    ]


def test_a_narrow_terminal_breaks_lines_itself() -> None:
    assert printed(LONG, width=30) == [f"  hint     {LONG}"]


def test_notes_and_hints_are_wrapped_too() -> None:
    stream = io.StringIO()
    console = Console(
        file=stream, width=50, theme=Theme({"label": "dim"}), force_terminal=True, color_system=None
    )
    say_note(console, LONG)
    advise(console, "hint", LONG, indent=2)
    note, hint = stream.getvalue().split("  hint")
    assert note.splitlines()[1].startswith("      budget.max_credits_per_job")
    assert hint.splitlines()[1].startswith("        budget.max_credits_per_job")
