"""What releases are made with, in linters and schemas that know their formats."""

from __future__ import annotations

from pathlib import Path

from tests.verification.deploy.files import ROOT, check

WORKFLOWS = sorted((ROOT / ".github" / "workflows").iterdir())


def test_the_workflows_conform_to_their_schema_and_a_planted_fault_does_not(tmp_path: Path) -> None:
    words = ("--builtin-schema", "vendor.github-workflows")
    assert check("check-jsonschema", *words, *WORKFLOWS).returncode == 0
    planted = tmp_path / "planted.yml"
    planted.write_text(WORKFLOWS[0].read_text(encoding="utf-8").replace("runs-on", "run-on"))
    assert check("check-jsonschema", *words, planted).returncode == 1


def test_the_file_for_updates_conforms_to_its_schema() -> None:
    file = ROOT / ".github" / "dependabot.yml"
    assert check("check-jsonschema", "--builtin-schema", "vendor.dependabot", file).returncode == 0


def test_the_linter_of_shell_scripts_finds_no_fault_in_those_of_ci() -> None:
    done = check("shellcheck", "--severity=style", *sorted((ROOT / ".ci").iterdir()))
    assert (done.returncode, done.stdout) == (0, "")
