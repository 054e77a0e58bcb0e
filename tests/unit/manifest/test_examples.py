"""Every manifest in ``manifests/`` loads and expands without a word of complaint, into what it says
that it makes."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from crucible_batch.manifest import JobSpec, expand, load_manifest
from tests.harness.case_table import each_case

MANIFESTS = Path(__file__).parents[3] / "manifests"
PRICES = {"zimage-base": Decimal(2), "qwen-edit": Decimal(3), "upscale-2x": Decimal(1)}
UPLOAD = Decimal("0.5")
COUNTS = {"demo": 30, "hello": 1, "matrix": 12, "catalogue": 4, "folder": 4}
OF_FEATURES = {"stages"}
"""Those with keys of a feature, which has the test."""


def jobs(name: str) -> list[JobSpec]:
    manifest = load_manifest(MANIFESTS / f"{name}.yaml")
    assert manifest.warnings == ()
    items = list(expand(manifest))
    made = [item for item in items if isinstance(item, JobSpec)]
    assert made == items
    return made


def test_no_manifest_is_left_out() -> None:
    assert {path.stem for path in MANIFESTS.glob("*.yaml")} == {*COUNTS, *OF_FEATURES}


@each_case("name, count", COUNTS.items())
def test_an_example_makes_what_it_says_within_its_budget(name: str, count: int) -> None:
    check(name, count)


def check(name: str, count: int) -> None:
    """Check the number of jobs of an example, and that its budget is enough."""
    made = jobs(name)
    assert len(made) == count
    images = {job.image for job in made if job.image}
    cost = sum((PRICES[job.workflow_id] for job in made), UPLOAD * len(images))
    budget = load_manifest(MANIFESTS / f"{name}.yaml").header.budget
    assert budget.credits is not None
    assert cost <= budget.credits
    assert max(PRICES[job.workflow_id] for job in made) <= (budget.max_credits_per_job or 4)


@each_case("name", [*COUNTS, *OF_FEATURES])
def test_an_example_names_its_schema(name: str) -> None:
    first = (MANIFESTS / f"{name}.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=../docs/manifest.schema.json"


def test_no_example_lowers_the_names_in_a_prompt() -> None:
    docs = MANIFESTS.parent / "docs"
    for path in (*MANIFESTS.glob("*.yaml"), *docs.glob("*.md"), *docs.glob("recipes/*.md")):
        assert "| capitalize" not in path.read_text(encoding="utf-8"), path


def test_the_photos_are_small() -> None:
    assert all(path.stat().st_size <= 40 * 1024 for path in (MANIFESTS / "photos").iterdir())
