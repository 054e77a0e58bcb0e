"""What a release is made of: the SBOM goes with it, and lints for security are on for all that ships."""

from __future__ import annotations

import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_each_release_is_made_by_make_release_and_carries_all_of_dist() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8"))
    steps = [step.get("run", "") for step in workflow["jobs"]["release"]["steps"]]
    assert steps.index("bash .ci/run") < steps.index("make release")
    assert any(step.startswith("gh release create") and step.endswith("dist/*") for step in steps)


def test_make_release_makes_an_sbom_of_what_the_wheel_runs_with() -> None:
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nrelease:")[2].partition("\n\n")[0]
    assert "cyclonedx-py environment" in recipe
    assert "$(VENV)/runtime" in recipe
    extra = PYPROJECT["project"]["optional-dependencies"]["release"]
    assert any(requirement.startswith("cyclonedx-bom") for requirement in extra)


def test_the_security_rules_are_on_for_all_that_ships() -> None:
    lint = PYPROJECT["tool"]["ruff"]["lint"]
    assert "S" in lint["select"]
    assert [rule for rule in lint["ignore"] if rule.startswith("S")] == ["S101"]
    for pattern, rules in lint["per-file-ignores"].items():
        if any(rule.startswith("S") and not rule.startswith("SLF") for rule in rules):
            assert pattern.startswith(("tests/", "benchmarks/"))
