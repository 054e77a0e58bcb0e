"""What people read when something is wrong."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from rich.cells import cell_len

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

    from crucible_batch.cli.command_output import BUG, answering

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


def test_what_is_wrong_is_underlined_to_its_end(lonely_cli: Cli) -> None:
    lonely_cli.write("wide", '- {name: "東京", prompt: x, promt: a fox}')
    done = lonely_cli("validate", "wide.yaml")
    source, mark = done.err.splitlines()[1:3]
    assert cell_len(source[: source.index("promt")]) == mark.index("^")
    assert mark.count("^") == len("promt")


@pytest.mark.parametrize("table", ["goods.csv", "goods.jsonl"])
def test_the_problem_of_a_row_shows_the_row(lonely_cli: Cli, table: str) -> None:
    (lonely_cli.cwd / "goods.csv").write_text("sku,seed\na,1\nb,x\nc,2\n")
    (lonely_cli.cwd / "goods.jsonl").write_text(
        '{"sku": "a", "seed": 1}\n\n{"sku": "b", "seed": "x"}\n{"sku": "c", "seed": 2}\n'
    )
    job = f"- {{name: '{{{{ row.sku }}}}', foreach: {table}, prompt: x, params: {{s: '{{{{ row.seed | int }}}}'}}}}"
    lonely_cli.write("rows", job)
    done = lonely_cli("validate", "rows.yaml", "--json")
    assert done.code == 2
    lines = done.err.splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.strip() == f"{table}:3:"]
    assert lines[at + 1].partition("│ ")[2] in {"b,x", '{"sku": "b", "seed": "x"}'}
    (problem,) = done.envelope["data"]["manifests"][0]["problems"]
    assert problem["row"] == {"file": str((lonely_cli.cwd / table).resolve()), "line": 3}
    assert problem["end_column"] > problem["column"] > 1


def test_an_image_that_is_none_shows_the_row_that_names_it(lonely_cli: Cli) -> None:
    (lonely_cli.cwd / "goods.csv").write_text("sku\na\nb\n")
    Image.new("RGB", (8, 8)).save(lonely_cli.cwd / "a.png")
    (lonely_cli.cwd / "b.png").write_text("no picture")
    lonely_cli.write("pictures", "- {name: '{{ row.sku }}', foreach: goods.csv, prompt: x, image: '{{ row.sku }}.png'}")
    done = lonely_cli("validate", "pictures.yaml")
    assert "goods.csv:3:\n   3 │ b\n" in done.err


def test_problems_fit_a_narrow_terminal(lonely_cli: Cli) -> None:
    lonely_cli.write("narrow", f"- {{name: fox, prompt: {'x' * 300}, promt: a fox, repeat: 0}}")
    done = lonely_cli("validate", "narrow.yaml", COLUMNS="40")
    source = [line for line in done.err.splitlines() if "│" in line]
    assert len(source) == 4
    assert all(cell_len(line) <= 40 for line in source)
    assert source[0].endswith("promt: a fox, repeat:…")


def test_more_than_a_hundred_problems_are_counted(lonely_cli: Cli) -> None:
    lonely_cli.write("many", "\n".join(f"- {{name: fox{number}, promt: x}}" for number in range(130)))
    done = lonely_cli("validate", "many.yaml")
    assert done.err.count("did you mean prompt?") == 100
    assert done.err.endswith("130 problems, 30 of them not shown; nothing was spent\n")


@pytest.mark.parametrize(
    "args", [("validate", "wrong.yaml"), ("status", "nowhere"), ("credits",), ("run", "wrong.yaml")]
)
def test_no_mistake_of_a_user_shows_a_traceback(lonely_cli: Cli, args: tuple[str, ...]) -> None:
    lonely_cli.write("wrong", "- {name: fox, promt: a fox}")
    done = lonely_cli(*args, "-v")
    assert done.code in {2, 3}
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("args", "first", "hint"),
    [
        (("status", "nowhere"), "error RUN_DIRECTORY: nowhere is not a run directory", "hint  give the directory"),
        (("run", "x.yaml", "--budgt"), "error USAGE: No such option: --budgt", "hint  crucible-batch run --help"),
        (
            ("run", "no.json", "--shard", "1/2"),
            "error USAGE: no.json can't be read: no such file or directory",
            "hint  give the file of the divided plan",
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


def test_a_refusal_of_the_gateway_has_its_request_id(cli: Cli) -> None:
    done = cli("credits", MOLTAZINE_API_KEY="moltazine_other")
    assert done.code == 3
    assert re.search(r"^error [A-Z_]+: .+ \[HTTP 401\]$", done.err, re.MULTILINE)
    assert re.search(r"^request id  \S+$", done.err, re.MULTILINE)
    assert len(re.findall(r"^hint  ", done.err, re.MULTILINE)) == 1
    assert "moltazine_other" not in done.out + done.err


@pytest.mark.parametrize("words", [["--help"], ["validate", "nothing.yaml"]])
def test_a_console_that_takes_nothing_ends_a_command_with_5_and_not_with_pythons_own_code(words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run([sys.executable, "-m", "crucible_batch", *words], stdout=full, stderr=full, check=False)
    assert ended.returncode == 5


@pytest.mark.parametrize(
    "text",
    [
        'notify:\n  - on: [success]\n    heartbeat: "https://hc-ping.com/CANARY"\n',
        "notify:\n  - on: [success]\n    apprise:\n      https://hc-ping.com/CANARY\n",
        "notify: [{on: [success], heartbeat: 'https://hc-ping.com/CANARY', promt: a}]\n",
        "notify: [{on: [success], heartbeat:https://hc-ping.com/CANARY}]\n",
        "notify: ['secret:CANARY', {on: [https://hc-ping.com/CANARY]}]\n",
        "notify: [{on: [success], heartbeat: https://hc-ping.com/CANARY: a}]\n",
        "heartbeat: https://hc-ping.com/CANARY\n",
        "{notify: [{on: [success], secret: CANARY}], promt: a}\n",
    ],
)
def test_an_address_or_a_secret_in_a_manifest_is_not_shown(lonely_cli: Cli, text: str) -> None:
    head = "" if text.startswith("{") else "version: 1\nname: n\nworkflow: w\njobs: [{name: a, prompt: b}]\n"
    (lonely_cli.cwd / "secret.yaml").write_text(head + text)
    for option in ("-v", "--json"):
        done = lonely_cli("validate", "secret.yaml", option)
        assert done.code == 2
        assert "CANARY" not in done.out + done.err
        assert "secret.yaml:" in done.err
        assert "***" in done.err
