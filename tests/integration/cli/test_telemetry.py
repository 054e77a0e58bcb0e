"""The options for metrics, from the command line."""

from __future__ import annotations

import socket

import pytest

from .conftest import Cli


def test_the_metrics_of_a_run_are_in_the_directory_of_the_option_or_the_environment(cli: Cli) -> None:
    cli.write("metered")
    for folder in ("option", "variable"):
        (cli.cwd / folder).mkdir()
    assert cli("run", "metered.yaml", "-q", "--metrics-textfile", "option").code == 0
    text = (cli.cwd / "option/crucible-batch-metered.prom").read_text()
    assert 'crucible_batch_exit_code{manifest="metered"} 0.0' in text
    done = cli("run", "metered.yaml", "-q", CRUCIBLE_BATCH_METRICS_TEXTFILE="variable")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert (cli.cwd / "variable/crucible-batch-metered.prom").exists()


def test_an_invalid_job_is_reported_and_a_manifest_that_cannot_be_read_is_not(cli: Cli) -> None:
    (cli.cwd / "prom").mkdir()
    cli.write("typo", "- {name: fox, prompt: a fox, params: {nonsense: 1}}")
    assert cli("run", "typo.yaml", "--metrics-textfile", "prom").code == 2
    assert 'crucible_batch_exit_code{manifest="typo"} 2.0' in (cli.cwd / "prom/crucible-batch-typo.prom").read_text()
    cli.write("unread", "- {nonsense: 1}")
    assert cli("run", "unread.yaml", "--metrics-textfile", "prom").code == 2
    assert [path.name for path in (cli.cwd / "prom").iterdir()] == ["crucible-batch-typo.prom"]


def test_a_dry_run_writes_no_metrics(cli: Cli) -> None:
    (cli.cwd / "prom").mkdir()
    cli.write("dry")
    assert cli("run", "dry.yaml", "--dry-run", "--metrics-textfile", "prom").code == 0
    assert list((cli.cwd / "prom").iterdir()) == []


@pytest.mark.parametrize("option", ["--metrics-textfile=nowhere", "--metrics-listen=nonsense"])
def test_an_option_that_cannot_be_used_is_exit_2_before_anything_is_bought(cli: Cli, option: str) -> None:
    cli.write("unusable")
    done = cli("run", "unusable.yaml", option, "--json")
    assert (done.code, done.envelope["error"]["code"]) == (2, "USAGE")
    assert not (cli.cwd / "outputs").exists()


def test_an_address_in_use_is_exit_2(cli: Cli) -> None:
    cli.write("taken")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = cli("run", "taken.yaml", "--metrics-listen", str(taken.getsockname()[1]))
    assert done.code == 2
    assert "Address already in use" in done.err
    assert "choose another address" in done.err
