"""What an unattended run prints and logs: nothing with -q if all is well, and otherwise why, in one
line.
"""

from __future__ import annotations

import json
import logging
import re
from decimal import Decimal
from pathlib import Path

import pytest
import typer

from crucible_batch import secret_text
from crucible_batch.cli.command_output import CommandOutput, answering
from crucible_batch.cli.logs.run_log import open_log
from crucible_batch.cli.run_options import LogFormat, LogOptions
from crucible_batch.core.events import Failed
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Phase
from crucible_batch.core.progress import Balance, JobAdvanced
from crucible_batch.errors import GatewayError
from tests.harness.case_table import each_case
from tests.harness.commands import Cli
from tests.harness.disguises import DISGUISES, shows

SOME_FAIL = "- {name: fox, prompt: a fox}\n- {name: bad, prompt: nsfw}"
KEY = "moltazine_a-key-that-must-not-be-seen"
ADDRESS = "https://hc-ping.test/ping_an-address-that-must-not-be-seen"


@pytest.fixture(autouse=True)
def _loggers_as_they_were():
    root, ours = logging.getLogger(), logging.getLogger("crucible_batch")
    before = list(root.handlers), ours.level
    yield
    root.handlers, ours.level = before


def test_the_ending_is_in_a_log_once_if_stdout_and_stderr_are_one_file(cli: Cli) -> None:
    two = "- {name: fox, prompt: a fox}\n- {name: owl, prompt: an owl}"
    manifest = cli.write("merged", two, budget="{credits: 2}")
    words = ("run", manifest, "--log-format", "text")
    with (cli.cwd / "log").open("w") as log:
        process = cli.start_installed(*words, stdout=log, stderr=log)
        assert process.wait(120) == 4
    lines = (cli.cwd / "log").read_text().splitlines()
    assert [line for line in lines if re.match(r"\S+Z (INFO|ERROR)", line)] == lines
    assert "; next: crucible-batch run merged.yaml --log-format text --budget 4" in lines[-1]
    apart = cli.start_installed(*words)
    assert "next" in apart.communicate(timeout=120)[0]


def test_quiet_prints_one_line_if_jobs_fail_and_nothing_if_they_do_not(cli: Cli) -> None:
    cli.write("nightly", SOME_FAIL)
    done = cli("run", "nightly.yaml", "-q")
    assert (done.code, done.out) == (1, "")
    (line,) = done.err.splitlines()
    assert line.startswith("nightly/default: 1 of 2 jobs succeeded, 1 failed; 2 spent")
    assert "; MODERATION_REFUSED: " in line
    assert line.endswith("; exit code 1; report outputs/nightly/default/report.json")
    only = cli("run", "nightly.yaml", "-q", "--only", "fox")
    assert (only.code, only.out, only.err) == (0, "", "")


@pytest.mark.parametrize("options", [(), ("-q",), ("--json",), ("-q", "--json")])
def test_an_error_is_printed_once(lonely_cli: Cli, options: tuple[str, ...]) -> None:
    lonely_cli.write("keyless")
    done = lonely_cli("run", "keyless.yaml", *options)
    assert done.code == 3
    assert done.err.count("NO_API_KEY") == 2  # the error, and the command that explains its code
    assert len(re.findall("^error ", done.err, re.MULTILINE)) == 1


def test_a_log_file_has_the_life_of_the_run_and_its_result(cli: Cli) -> None:
    cli.write("logged", SOME_FAIL)
    done = cli("run", "logged.yaml", "--log-file", "n.log", "-q")
    assert done.code == 1
    lines = (cli.cwd / "n.log").read_text().splitlines()
    head = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (INFO|WARNING|ERROR) +logged/default\[\d+\] "
    assert all(re.match(head, line) for line in lines)
    words = [line.partition("] ")[2] for line in lines]
    assert words[0].startswith("run began: 0 of 2 jobs succeeded, 2 pending")
    assert any(it.startswith("job fox: saved (fox/0.png") for it in words)
    assert any("ERROR" in it and "] job bad: failed: MODERATION_REFUSED" in it for it in lines)
    assert words[-2].startswith("run ended (partial, exit code 1): 1 of 2 jobs succeeded, 1 failed")
    assert words[-1] == done.err.strip()


def test_a_format_alone_logs_to_stderr_in_place_of_progress(cli: Cli) -> None:
    cli.write("streamed", SOME_FAIL)
    done = cli("run", "streamed.yaml", "--log-format", "json")
    assert done.code == 1
    lines = [json.loads(line) for line in done.err.splitlines()]
    assert [lines[0]["event"], lines[-1]["event"]] == ["run_began", "result"]
    assert "1 of 2 jobs succeeded" in done.out
    quiet = cli("run", "streamed.yaml", "--log-format", "json", "-q")
    (line,) = [json.loads(line) for line in quiet.err.splitlines()]
    assert (quiet.out, line["event"], line["data"]["exit_code"]) == ("", "result", 1)
    both = cli("run", "streamed.yaml", "--log-format", "json", "--json")
    assert all("time" in json.loads(line) for line in both.err.splitlines())
    wrong = cli("run", "missing.yaml", "--log-format", "json")
    assert [json.loads(line)["code"] for line in wrong.err.splitlines()] == ["INVALID_MANIFEST"]


def test_a_log_file_that_cannot_be_used_is_refused_before_anything_is_bought(cli: Cli) -> None:
    cli.write("refused")
    done = cli("run", "refused.yaml", "--log-file", "refused.yaml")
    assert done.code == 2
    assert (
        "refused.yaml exists and is not a log of crucible-batch; nothing was written to it"
        in done.err
    )
    assert not (cli.cwd / "outputs").exists()


def _log_all(output: CommandOutput, options: LogOptions, secret: str) -> None:
    """Log a secret in each way in which text of others gets into a log."""
    open_log(output, Path(f"{secret}.yaml"), options)
    log = output.log
    assert log is not None
    error = ErrorInfo(secret, f"it is {secret}", request_id=secret)
    failed = Failed(at=0.0, error=error)
    log.notify(
        JobAdvanced(
            0.0,
            secret,
            "id",
            failed,
            Phase.IN_FLIGHT,
            Phase.FAILED,
            Balance(None, *[Decimal(0)] * 2),
        )
    )
    logging.getLogger("crucible_batch.gateway").warning("odd %s", secret)
    log.result(secret, 1, secret, {"report": secret})
    raise GatewayError(secret, code=secret, request_id=secret)


@each_case("log_format", LogFormat)
@each_case(
    "secret, disguise",
    [
        *((KEY, each) for each in DISGUISES),
        *((ADDRESS, each) for each in DISGUISES if each != "token alone"),
    ],
)
def test_no_secret_is_in_a_log(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    secret: str,
    log_format: LogFormat,
    disguise: str,
) -> None:
    monkeypatch.setenv("MOLTAZINE_API_KEY", KEY)
    monkeypatch.setattr(secret_text, "_registered", {})
    monkeypatch.setattr(logging.root, "handlers", [])
    secret_text.register_secret(ADDRESS)
    path = tmp_path / "n.log"
    disguised = DISGUISES[disguise](secret)
    with pytest.raises(typer.Exit), answering("run", quiet=True) as output:
        _log_all(output, LogOptions(log_file=path, log_format=log_format), disguised)
    text = path.read_text()
    path.unlink()
    assert len(text.splitlines()) == 4
    for line in text.splitlines():
        values = (
            json.dumps(json.loads(line), ensure_ascii=False)
            if log_format is LogFormat.JSON
            else line
        )
        assert not shows(secret, values)
