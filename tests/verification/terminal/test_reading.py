"""What is read on a terminal: a plan as a diff, an error under the line that it is in, and never a key."""

from __future__ import annotations

from pathlib import Path

from tests.integration.cli.conftest import KEY, Cli, running_sandbox
from tests.preloaded import COMMAND

from .conftest import Start

BEFORE = "- {name: kept, prompt: a fox}\n- {name: edited, prompt: a hen}\n- {name: dropped, prompt: a hare}"
AFTER = "- {name: kept, prompt: a fox}\n- {name: edited, prompt: an owl}\n- {name: added, prompt: a mole}"


def test_a_plan_reads_like_a_diff(tmp_path: Path, start: Start) -> None:
    with running_sandbox("--time-scale", "0") as url:
        cli = Cli(tmp_path, url)
        assert cli("run", cli.write("diff", BEFORE)).code == 0
        terminal = start(["sh", "-c", f"{COMMAND} plan {cli.write('diff', AFTER)}; exec sleep 600"], cli.environment)
        lines = terminal.wait_for("next      crucible-batch run diff.yaml")
    marked = {line[2]: line for line in lines if line[:2] == "  " and line[2:4] in {"+ ", "~ ", "= ", "- "}}
    names = ("added", "edited", "kept", "dropped")
    named = {mark: name for mark, line in marked.items() for name in names if name in line}
    assert named == {"+": "added", "~": "edited", "=": "kept", "-": "dropped"}
    assert any("prompt.text: 'a hen' → 'an owl'" in line for line in lines)
    assert any(line.split()[:2] == ["zimage-base", "2"] and "at least 4" in line for line in lines)
    assert any("994 credits → at most 990 afterwards" in line for line in lines)


def test_an_error_marks_its_place_under_the_line_also_on_a_narrow_terminal(tmp_path: Path, start: Start) -> None:
    cli = Cli(tmp_path, None)
    manifest = cli.write("wrong", '- {name: a, prompt: "a {{ styl }} fox", matrix: {style: [red]}}')
    terminal = start(["sh", "-c", f"{COMMAND} validate {manifest}; exec sleep 600"], cli.environment, size="50x24")
    lines = terminal.wait_for("1 problem; nothing was spent")
    shown = next(at for at, line in enumerate(lines) if "│" in line and "styl" in line)
    source, mark = lines[shown], lines[shown + 1]
    marked = source[mark.index("^") : mark.rindex("^") + 1]
    assert "{{ styl }}" in marked
    assert any("did you mean style?" in line for line in lines)
    assert not any("Traceback" in line for line in lines)


def test_doctor_shows_the_key_to_nobody(tmp_path: Path, start: Start) -> None:
    with running_sandbox("--time-scale", "0") as url:
        terminal = start(["sh", "-c", f"{COMMAND} doctor; exec sleep 600"], Cli(tmp_path, url).environment)
        lines = terminal.wait_for("versions")
    assert [line.split()[1] for line in lines if line.startswith("✓")] == [
        "gateway", "health", "clock", "key", "disk", "versions",
    ]  # fmt: skip
    assert KEY not in "".join(lines)


def test_help_shows_examples_and_exit_codes(tmp_path: Path, start: Start) -> None:
    command = ["sh", "-c", f"{COMMAND} run --help-all; exec sleep 600"]
    lines = start(command, Cli(tmp_path, None).environment, size="80x140").wait_for("Example", "Exit codes")
    examples = lines[next(at for at, line in enumerate(lines) if "Example" in line) + 1 :]
    assert examples[0].strip().startswith("crucible-batch run ")
    codes = [line.split()[0] for line in lines if line[:8].strip().isdigit()]
    assert codes[:3] == ["0", "1", "2"]
    assert max(len(line) for line in lines) <= 80


def test_a_new_folder_runs_unchanged(tmp_path: Path, start: Start) -> None:
    with running_sandbox("--time-scale", "0") as url:
        steps = f"{COMMAND} init new && cd new && {COMMAND} run manifest.yaml; exec sleep 600"
        lines = start(["sh", "-c", steps], Cli(tmp_path, url).environment).wait_for("jobs succeeded", "report.html")
    assert any(line.startswith("✓ ") and "jobs succeeded" in line for line in lines)
    assert not any("failed" in line for line in lines)
    assert (tmp_path / "new" / "outputs" / "new" / "default" / "report.html").is_file()
