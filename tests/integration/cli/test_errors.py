"""What people read when something is wrong."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.commands import Cli


def test_a_problem_is_shown_with_its_place_its_line_and_a_caret(lonely_cli: Cli) -> None:
    lonely_cli.write(
        "wrong", "- {name: fox, promt: a fox}\n- {name: 'o[red]wl', prompt: '{{ nope }}'}"
    )
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


def test_an_unknown_workflow_is_exit_2_and_names_those_there_are(cli: Cli) -> None:
    done = cli("workflows", "nope")
    assert done.code == 2
    assert "qwen-edit" in done.err


@pytest.mark.parametrize("table", ["goods.csv", "goods.jsonl"])
def test_the_problem_of_a_row_shows_the_row(lonely_cli: Cli, table: str) -> None:
    (lonely_cli.cwd / "goods.csv").write_text("sku,seed\na,1\nb,x\nc,2\n")
    (lonely_cli.cwd / "goods.jsonl").write_text(
        '{"sku": "a", "seed": 1}\n\n{"sku": "b", "seed": "x"}\n{"sku": "c", "seed": 2}\n'
    )
    job = (
        f"- {{name: '{{{{ row.sku }}}}', foreach: {table}, prompt: x, "
        "params: {s: '{{ row.seed | int }}'}}"
    )
    lonely_cli.write("rows", job)
    done = lonely_cli("validate", "rows.yaml", "--json")
    assert done.code == 2
    lines = done.err.splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.strip() == f"{table}:3:"]
    assert lines[at + 1].partition("│ ")[2] in {"b,x", '{"sku": "b", "seed": "x"}'}
    (problem,) = done.envelope["data"]["manifests"][0]["problems"]
    assert problem["row"] == {"file": str((lonely_cli.cwd / table).resolve()), "line": 3}
    assert problem["end_column"] > problem["column"] > 1


@pytest.mark.parametrize(
    ("args", "first", "hint"),
    [
        (
            ("status", "nowhere"),
            "error RUN_DIRECTORY: nowhere is not a run directory",
            "hint  give the directory",
        ),
        (
            ("run", "x.yaml", "--budgt"),
            "error USAGE: No such option: --budgt",
            "hint  crucible-batch run --help",
        ),
        (("credits",), "error NO_API_KEY: there is no API key", "hint  set MOLTAZINE_API_KEY"),
        (("init", "/proc/none"), "error USAGE: /proc/none: ", "hint  choose another folder"),
    ],
)
def test_an_error_has_its_code_its_words_and_what_to_do(
    lonely_cli: Cli, args: tuple[str, ...], first: str, hint: str
) -> None:
    lines = lonely_cli(*args).err.splitlines()
    assert lines[0].startswith(first)
    assert lines[1].startswith(hint)


@pytest.mark.parametrize("words", [["--help"], ["validate", "nothing.yaml"]])
def test_a_console_that_takes_nothing_ends_a_command_with_5_and_not_with_pythons_own_code(
    words: list[str],
) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "crucible_batch", *words], stdout=full, stderr=full, check=False
        )
    assert ended.returncode == 5


@pytest.mark.parametrize("words", [("run", "good.yaml", "--out-dir"), ("status",)])
def test_the_host_of_a_file_url_is_not_taken_for_the_first_folder_of_its_path(
    lonely_cli: Cli, words: tuple[str, ...]
) -> None:
    lonely_cli.write("good")
    done = lonely_cli(*words, f"file:/{lonely_cli.cwd}")
    assert done.code == 2
    assert "a file:// address has a host, or is not absolute" in done.err
