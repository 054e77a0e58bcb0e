"""The figures of a budget's period, in the metrics of a run."""

from pathlib import Path

import pytest

from tests.harness.commands import Cli


def test_the_metrics_have_what_was_spent_in_the_period(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    budget = "{credits: 10, per: month, account: shared}"
    manifest = cli.write("period-a", "- {name: fox, prompt: a fox, repeat: 4}", budget=budget)
    assert cli("run", manifest, "-q", "--metrics-textfile", ".").code == 0
    spent = 'crucible_batch_period_spent_credits{account="shared",manifest="period-a"} 8.0'
    assert spent in (cli.cwd / "crucible-batch-period-a.prom").read_text()
