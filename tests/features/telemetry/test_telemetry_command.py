"""The options for metrics, from the command line."""

from __future__ import annotations

import pytest

from tests.harness.commands import Cli


def test_the_metrics_of_a_run_are_in_the_directory_of_the_option_or_the_environment(
    cli: Cli,
) -> None:
    cli.write("metered")
    for folder in ("option", "variable"):
        (cli.cwd / folder).mkdir()
    assert cli("run", "metered.yaml", "-q", "--metrics-textfile", "option").code == 0
    text = (cli.cwd / "option/crucible-batch-metered.prom").read_text()
    assert 'crucible_batch_exit_code{manifest="metered"} 0.0' in text
    done = cli("run", "metered.yaml", "-q", CRUCIBLE_BATCH_METRICS_TEXTFILE="variable")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert (cli.cwd / "variable/crucible-batch-metered.prom").exists()


def test_a_dry_run_writes_no_metrics(cli: Cli) -> None:
    (cli.cwd / "prom").mkdir()
    cli.write("dry")
    assert cli("run", "dry.yaml", "--dry-run", "--metrics-textfile", "prom").code == 0
    assert list((cli.cwd / "prom").iterdir()) == []


@pytest.mark.parametrize("option", ["--metrics-textfile=nowhere", "--metrics-listen=nonsense"])
def test_an_option_that_cannot_be_used_is_exit_2_before_anything_is_bought(
    cli: Cli, option: str
) -> None:
    cli.write("unusable")
    done = cli("run", "unusable.yaml", option, "--json")
    assert (done.code, done.envelope["error"]["code"]) == (2, "USAGE")
    assert not (cli.cwd / "outputs").exists()
