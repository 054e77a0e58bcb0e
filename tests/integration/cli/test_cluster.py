"""`cluster` commands without a usable database: the error is clear, and the password is in none of the output."""

from __future__ import annotations

import json

import pytest

from crucible_batch.cluster import address
from tests.integration.cli.conftest import Cli
from tests.integration.cli.test_help import exit_code

SECRET = "hunter2-secret"


@pytest.mark.parametrize("command", ["status", "drain"])
def test_without_an_address_the_command_names_both_ways(lonely_cli: Cli, command: str) -> None:
    done = lonely_cli("cluster", command)
    assert done.code == 2
    assert "give --cluster DSN, or set CRUCIBLE_BATCH_DSN" in " ".join(done.err.split())


@pytest.mark.parametrize("words", [("status",), ("drain",), ("drain", "--run", "spring")], ids=" ".join)
def test_env_is_the_address_of_the_environment(lonely_cli: Cli, words: tuple[str, ...]) -> None:
    """As it is for `run`, `ctl` and `worker`."""
    done = lonely_cli("cluster", *words, "--cluster", "env")
    assert done.code == 2
    assert "give --cluster DSN, or set CRUCIBLE_BATCH_DSN" in " ".join(done.err.split())
    done = lonely_cli("cluster", *words, "--cluster", "env", CRUCIBLE_BATCH_DSN="postgresql://batch@127.0.0.1:9/there")
    assert done.code == 5
    assert "the cluster's database 127.0.0.1:9/there can't be reached" in " ".join(done.err.split())


@pytest.mark.parametrize("options", [(), ("--json",), ("-v",), ("--json", "-v")], ids=" ".join)
@pytest.mark.parametrize("is_given", [True, False])
def test_a_database_that_cannot_be_reached_is_exit_5(lonely_cli: Cli, options: tuple[str, ...], is_given: bool) -> None:
    dsn = f"postgresql://batch:{SECRET}@127.0.0.1:9/batch"
    if is_given:
        done = lonely_cli("cluster", "status", "--cluster", dsn, *options)
    else:
        done = lonely_cli("cluster", "status", *options, CRUCIBLE_BATCH_DSN=dsn)
    assert done.code == 5
    assert "the cluster's database 127.0.0.1:9/batch can't be reached" in " ".join((done.out + done.err).split())
    assert SECRET not in done.out + done.err
    if "--json" in options:
        assert json.loads(done.out.splitlines()[-1])["error"]["code"] == "CLUSTER_UNREACHABLE"


@pytest.mark.parametrize(
    "dsn", [f"postgres:/{SECRET}@h", f"host=h pasword={SECRET}", f"postgresql://u:{SECRET}%zz@h/d"]
)
def test_an_invalid_address_is_exit_2_and_not_repeated(lonely_cli: Cli, dsn: str) -> None:
    done = lonely_cli("cluster", "status", "--json", CRUCIBLE_BATCH_DSN=dsn)
    assert done.code == 2
    assert json.loads(done.out.splitlines()[-1])["error"]["code"] == "CLUSTER_SETUP"
    assert SECRET not in done.out + done.err


def test_without_the_extra_the_command_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(address, "find_spec", lambda _name: None)
    assert exit_code("cluster", "status", "--cluster", "host=h", monkeypatch=monkeypatch) == 2
    assert "pip install 'crucible-batch[cluster]'" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("option", [("--metrics-listen", "9464"), ("--traces",), ("--recover",)], ids=" ".join)
def test_a_run_on_a_cluster_refuses_an_option_that_it_would_ignore(cli: Cli, option: tuple[str, ...]) -> None:
    (cli.cwd / "m.yaml").write_text(
        "version: 1\nname: m\nworkflow: w\nbudget: {credits: 5}\njobs: [{name: a, prompt: a fox}]\n"
    )
    done = cli("run", "m.yaml", "--cluster", "host=h", *option)
    assert done.code == 2
    assert f"{option[0]} and --cluster can't be used together" in " ".join(done.err.split())


@pytest.mark.parametrize("words", [("run",), ("ctl",), ("worker",), ("cluster", "status"), ("cluster", "drain")])
def test_each_help_with_the_option_has_the_value_that_takes_the_address_of_the_environment(
    lonely_cli: Cli, words: tuple[str, ...]
) -> None:
    shown = " ".join(lonely_cli(*words, "--help", COLUMNS="200").out.replace("│", " ").split())
    assert "env: that of CRUCIBLE_BATCH_DSN" in shown
