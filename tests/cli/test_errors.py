"""What people read when something is wrong."""

import re

from .conftest import Cli


def test_a_problem_is_shown_with_its_place_its_line_and_a_caret(lonely_cli: Cli) -> None:
    lonely_cli.write("wrong", "- {name: fox, promt: a fox}\n- {name: 'o[red]wl', prompt: '{{ nope }}'}")
    done = lonely_cli("validate", "wrong.yaml")
    assert done.code == 2
    lines = done.err.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("wrong.yaml:6:"))
    assert "jobs[0].promt: " in lines[at]
    column = int(lines[at].split(":")[2])
    source, caret = lines[at + 1], lines[at + 2]
    assert source.partition("│ ")[2] == "  - {name: fox, promt: a fox}"
    assert caret.index("^") == source.index("│ ") + 2 + column - 1
    assert "did you mean prompt?" in done.err
    assert re.search(r"^\d problems?; nothing was spent$", done.err, re.MULTILINE)


def test_text_from_outside_cannot_paint_the_terminal(lonely_cli: Cli) -> None:
    lonely_cli.write("paint", '- {name: "a\\e[31mred[bold]", promt: x}')
    done = lonely_cli("validate", "paint.yaml", FORCE_COLOR="1", NO_COLOR="1")
    assert done.code == 2
    assert "\x1b[31m" not in done.err


def test_validate_looks_at_every_file(lonely_cli: Cli) -> None:
    good, bad = lonely_cli.write("good"), lonely_cli.write("bad", "- {nam: fox}")
    done = lonely_cli("validate", bad, good, "missing.yaml")
    assert done.code == 2
    assert "✓ good.yaml  1 job" in done.out
    assert "bad.yaml:" in done.err
    assert "missing.yaml" in done.err


def test_a_bug_is_admitted_with_a_way_to_its_traceback() -> None:
    import typer

    from crucible_batch.cli.answer import BUG, answering

    def fail(*, verbose: bool) -> int:
        try:
            with answering("credits", verbose=verbose):
                raise ZeroDivisionError("[bold]oops\x1b[31m")
        except typer.Exit as ending:
            return ending.exit_code
        return 0

    assert fail(verbose=False) == BUG == 70


def test_an_unknown_workflow_is_exit_2_and_names_those_there_are(cli: Cli) -> None:
    done = cli("workflows", "nope")
    assert done.code == 2
    assert "qwen-edit" in done.err


def test_an_unreachable_gateway_is_exit_5_for_the_doctor(lonely_cli: Cli) -> None:
    done = lonely_cli("doctor", CRUCIBLE_API_BASE="http://127.0.0.1:9", MOLTAZINE_API_KEY="moltazine_secret")
    assert done.code == 5
    assert "moltazine_secret" not in done.out + done.err
