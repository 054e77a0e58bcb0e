"""``prune --rejected``: what goes, and what stays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crucible_batch.journal import lock_run_directory
from tests.harness.commands import Cli
from tests.harness.features import has_feature

JOBS = """\
- {name: hero, prompt: "heron {{ repeat }}", repeat: 2, params: {size.width: 64, size.height: 64}}
"""


def pictures(cli: Cli, name: str) -> set[str]:
    run_dir = cli.cwd / "outputs" / name / "default"
    return {str(path.relative_to(run_dir)) for path in run_dir.rglob("*.png")}


def redone(cli: Cli, name: str) -> tuple[str, Path]:
    """A run whose second output was rejected and bought again."""
    manifest = cli.write(name, JOBS)
    run_dir = f"outputs/{name}/default"
    assert cli("run", manifest).code == 0
    assert cli("reject", run_dir, "hero-2").code == 0
    done = cli("run", manifest)
    assert done.code == 0, done.err
    assert "takes    1 output of earlier tries kept" in done.out
    return run_dir, cli.cwd / run_dir


def test_rejected_outputs_go_and_those_that_count_stay(cli: Cli) -> None:
    run_dir, directory = redone(cli, "pruned")
    before = pictures(cli, "pruned")
    shown = cli("prune", run_dir, "--rejected")
    assert (shown.code, pictures(cli, "pruned")) == (0, before)
    assert "1 rejected output would be deleted" in shown.out
    done = cli("prune", run_dir, "--rejected", "--yes", "--json")
    assert done.code == 0, done.err
    (run,) = done.envelope["data"]["runs"]
    assert (run["outputs"], run["busy"], run["error"]) == (1, False, None)
    assert pictures(cli, "pruned") == {"hero-1/0.png", "hero-2/0.png"}
    assert not list(directory.rglob("0.????????.png.json"))
    report = json.loads((directory / "report.json").read_text())
    assert (report["takes"], report["jobs"][1]["takes"]) == (0, [])
    if has_feature("check"):
        assert cli("check", run_dir).code == 0
    again = cli("run", "pruned.yaml", "--json")
    assert again.code == 0
    assert again.envelope["data"]["credits"]["spent"] == report["credits"]["spent"]
    nothing = cli("prune", run_dir, "--rejected", "--yes")
    assert (nothing.code, "no rejected output to delete" in nothing.out) == (0, True)
    # A rejection that is taken back downloads what was deleted.
    assert cli("reject", run_dir, "hero-2", "--remove").code == 0
    undone = cli("run", "pruned.yaml", "--json")
    assert undone.envelope["data"]["credits"]["spent"] == report["credits"]["spent"]
    assert len(pictures(cli, "pruned")) == 3


def test_a_file_with_other_bytes_and_a_take_that_is_wanted_again_are_kept(cli: Cli) -> None:
    run_dir, directory = redone(cli, "kept")
    (take,) = directory.glob("hero-2/0.????????.png")
    take.write_bytes(b"edited")
    done = cli("prune", run_dir, "--rejected", "--yes")
    assert done.code == 0
    assert take.read_bytes() == b"edited"
    assert f"{run_dir}/hero-2/{take.name}" in done.out
    take.unlink()
    # Both lines are gone: the later output is a take, and nobody rejected it.
    (directory / "rejects.txt").unlink()
    assert cli("run", "kept.yaml").code == 0
    before = pictures(cli, "kept")
    assert cli("prune", run_dir, "--rejected", "--yes").code == 0
    assert pictures(cli, "kept") == before


def test_an_active_run_is_left_alone(cli: Cli) -> None:
    run_dir, directory = redone(cli, "active")
    before = pictures(cli, "active")
    with lock_run_directory(directory):
        done = cli("prune", run_dir, "--rejected", "--yes")
    assert (done.code, pictures(cli, "active")) == (0, before)
    assert "a run is active" in done.out


@pytest.mark.parametrize("option", [("--keep", "1"), ("--older-than", "1d"), ("--max-size", "1GB")])
def test_other_criteria_are_refused_beside_it(cli: Cli, option: tuple[str, str]) -> None:
    done = cli("prune", "--rejected", *option)
    assert (done.code, "--rejected can't be used together" in done.err) == (2, True)
