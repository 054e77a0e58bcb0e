"""The schema and the loader refuse the same manifests; where only the loader can know, the table
says why."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from crucible_batch.manifest import manifest_schema
from tests.harness.case_table import each_case
from tests.harness.features import deleted_keys
from tests.unit.manifest.test_load import WRONG

ROOT = Path(__file__).parents[3]
HEAD = "version: 1\nname: test\nworkflow: z\n"
JOBS = "jobs: [{name: a, prompt: b}]\n"

BOTH = ""
# What a schema can't say, or a validator never gets to see.
TWICE = "YAML's own rule: a parser for editors keeps the last of two equal keys, or says so itself"
VALUES = "the schema holds shapes: it knows of no templates, files, and no two fields at once"
SYNTAX = "it is no YAML, so that an editor shows its parser's complaint"
OTHER_YAML = "a parser of YAML 1.1 reads it as something that fits"

BROKEN: list[tuple[str, str]] = [
    *((row[0], BOTH) for row in WRONG),
    ("[]\n", SYNTAX),
    ("jobs: [{name: a, repeat: '2'}]\n", BOTH),
    ("jobs: [{name: a, matrix: {s: [[1]]}}]\n", BOTH),
    ("jobs: [{name: a, matrix: {a-b: [1]}}]\n", BOTH),
    ("jobs: [{name: a, zip: {s: {}}}]\n", BOTH),
    ("vars: [a]\n" + JOBS, BOTH),
    ("workflows: [z]\n" + JOBS, BOTH),
    ("output: {path: ''}\n" + JOBS, BOTH),
    *((f"budget: {wrong}\n" + JOBS, BOTH) for wrong in ("0", "-1", "true", "lots")),
    *(
        (f"concurrency: {wrong}\n" + JOBS, BOTH)
        for wrong in ("", "0", "1001", "1.5", "true", "fast", "'8'", "[8]")
    ),
    *(
        (f"deadline: {wrong}\n" + JOBS, BOTH)
        for wrong in ("", "0", "-1", "true", "soon", "1m2h", "6 h", "{}")
    ),
    ("deadline: 0s\n" + JOBS, VALUES),
    ("deadline: 366d\n" + JOBS, VALUES),
    ("version: 1\nname: test\n" + JOBS, VALUES),
    ("jobs: [{name: a/b, prompt: b}]\n", VALUES),
    ("jobs: [{name: a, prompt: '{{ nope }}'}]\n", VALUES),
    ("jobs: [{name: a, image: gone.png}]\n", VALUES),
    ("jobs: [{name: a, foreach: gone.csv}]\n", VALUES),
    ("jobs: [{name: a, zip: {x: [1], y: [1, 2]}}]\n", VALUES),
    ("jobs: [{name: a, params: {size.batch_size: 4}}]\n", VALUES),
    ("jobs: [{name: a, prompt: b}, {name: a, prompt: c}]\n", VALUES),
    ("output: {path: '{nmae}'}\n" + JOBS, VALUES),
    ("vars: {row: 1}\n" + JOBS, VALUES),
    ("budget: {credits: 1.00000000000000001e300}\n" + JOBS, OTHER_YAML),
    (JOBS + "name: again\n", TWICE),
    ("jobs: [{<<: {name: a}, prompt: b}]\n", OTHER_YAML),
    ("jobs: [{name: a, prompt: !!str b}]\n", OTHER_YAML),
    ("jobs: [{name: a, prompt: 'b}]\n", SYNTAX),
    ("jobs:\n\t- {name: a}\n", SYNTAX),
    (JOBS + "---\n" + HEAD, SYNTAX),
]
# Rows of the loader's table that a schema takes: figures of credits that are too long, and a whole
# number as 2.0.
UNSEEN = re.compile(
    r"1e999999999|0\.12345678901234567|1e-19|2\.0000000000000000000|attempts: 2\.0|a\\n"
)


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(manifest_schema())


@each_case("text, only_the_loader", BROKEN)
def test_a_broken_manifest_is_refused_by_both(
    folder: Any, validator: jsonschema.Draft202012Validator, text: str, only_the_loader: str
) -> None:
    assert folder.problems(text)
    try:
        value = yaml.safe_load(text if "version:" in text else HEAD + text)
    except yaml.YAMLError:
        assert only_the_loader == SYNTAX or "{{ x }}" in text
        return
    assert only_the_loader != SYNTAX
    assert validator.is_valid(value) is (bool(only_the_loader) or UNSEEN.search(text) is not None)


def _examples() -> Iterator[tuple[str, str]]:
    """Every whole manifest that a user gets to see."""
    for path in (
        *(ROOT / "manifests").glob("*.yaml"),
        ROOT / "crucible_batch/cli/templates/manifest.yaml",
    ):
        yield path.name, path.read_text(encoding="utf-8")
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for number, block in enumerate(
            re.findall(r"```ya?ml\n(.*?)```", page.read_text("utf-8"), re.DOTALL), 1
        ):
            if "version:" in block:
                yield f"{page.name}-{number}", block


EXAMPLES = dict(_examples())


def test_the_examples_are_found() -> None:
    assert {"manifest.yaml", "demo.yaml", "README.md-1", "manifest.md-1"} <= EXAMPLES.keys()


@each_case(
    "place",
    [
        place
        for place in EXAMPLES
        if not deleted_keys() & set(re.findall(r"\w+(?=:)", EXAMPLES[place]))
    ],
)
def test_an_example_fits_the_schema_and_has_no_problem_of_form(
    folder: Any, validator: jsonschema.Draft202012Validator, place: str
) -> None:
    text = EXAMPLES[place]
    # YAML 1.1, which PyYAML reads, has `on` as true; editors and our loader read YAML 1.2.
    validator.validate(
        yaml.safe_load(text.replace("{on: ", "{'on': ").replace("- on: ", "- 'on': "))
    )
    form = [
        problem
        for problem in folder.problems(text)
        if not re.search(r"\.(image|foreach|prompt|draw\.\w+)$", problem.field)
    ]
    assert form == []  # the files that it names are not here


def test_the_schemas_own_examples_fit_it() -> None:
    schema = manifest_schema()
    tried = 0
    for model in (schema, *schema["$defs"].values()):
        for name, field in model["properties"].items():
            checker = jsonschema.Draft202012Validator({**field, "$defs": schema["$defs"]})
            for example in field.get("examples", ()):
                assert checker.is_valid(example), (name, example)
                tried += 1
    assert tried > 15
