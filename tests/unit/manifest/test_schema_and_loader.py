"""The schema and the loader refuse the same manifests; where only the loader can know, the table says why."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from crucible_batch.manifest import manifest_schema
from tests.case_table import each_case

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
    ("name: test\n" + JOBS, BOTH),
    ("version: 2\nname: test\nworkflow: z\n" + JOBS, BOTH),
    ("version: '1'\nname: test\nworkflow: z\n" + JOBS, BOTH),
    ("version: true\nname: test\nworkflow: z\n" + JOBS, BOTH),
    ("version: 1\nworkflow: z\n" + JOBS, BOTH),
    ("version: 1\nname: a/b\nworkflow: z\n" + JOBS, BOTH),
    ("version: 1\nname: .hidden\nworkflow: z\n" + JOBS, BOTH),
    (f"version: 1\nname: {'x' * 101}\nworkflow: z\n" + JOBS, BOTH),
    ("version: 1\nname: 5\nworkflow: z\n" + JOBS, BOTH),
    ("version: 1\nname: test\nworkflow:\n" + JOBS, BOTH),
    (HEAD + "[]\n", SYNTAX),
    (HEAD, BOTH),
    (HEAD + "jobs: []\n", BOTH),
    (HEAD + "jobs: {name: a}\n", BOTH),
    (HEAD + "jobs: [a]\n", BOTH),
    (HEAD + "jobs: [{}]\n", BOTH),
    (HEAD + "jobs: [{name: '', prompt: b}]\n", BOTH),
    (HEAD + "jobs: [{name: a, promt: b}]\n", BOTH),
    (HEAD + "jobs: [{name: a, prompt: }]\n", BOTH),
    (HEAD + "jobs: [{name: a, prompt: [b]}]\n", BOTH),
    (HEAD + "jobs: [{name: a, repeat: 0}]\n", BOTH),
    (HEAD + "jobs: [{name: a, repeat: 1.5}]\n", BOTH),
    (HEAD + "jobs: [{name: a, repeat: '2'}]\n", BOTH),
    (HEAD + "jobs: [{name: a, params: [1]}]\n", BOTH),
    (HEAD + "jobs: [{name: a, matrix: {s: []}}]\n", BOTH),
    (HEAD + "jobs: [{name: a, matrix: {s: x}}]\n", BOTH),
    (HEAD + "jobs: [{name: a, matrix: {s: [[1]]}}]\n", BOTH),
    (HEAD + "jobs: [{name: a, matrix: {a-b: [1]}}]\n", BOTH),
    (HEAD + "jobs: [{name: a, zip: {s: {}}}]\n", BOTH),
    (HEAD + "jobs: [{name: a, images: {mask.image: 5}}]\n", BOTH),
    (HEAD + "jobs: [{name: a, fields: {propmt: x}}]\n", BOTH),
    (HEAD + "vars: {a-b: 1}\n" + JOBS, BOTH),
    (HEAD + "vars: [a]\n" + JOBS, BOTH),
    *((HEAD + f"budget: {wrong}\n" + JOBS, BOTH) for wrong in ("0", "-1", "true", "lots", "[5]")),
    (HEAD + "budget: {credits: 0}\n" + JOBS, BOTH),
    (HEAD + "budget: {credits: -1}\n" + JOBS, BOTH),
    (HEAD + "budget: {credits: lots}\n" + JOBS, BOTH),
    (HEAD + "budget: {credits: true}\n" + JOBS, BOTH),
    (HEAD + "bugdet: {credits: 1}\n" + JOBS, BOTH),
    *(
        (HEAD + f"concurrency: {wrong}\n" + JOBS, BOTH)
        for wrong in ("", "0", "1001", "1.5", "true", "fast", "'8'", "[8]")
    ),
    *((HEAD + f"deadline: {wrong}\n" + JOBS, BOTH) for wrong in ("", "0", "-1", "true", "soon", "1m2h", "6 h", "{}")),
    (HEAD + "deadline: 0s\n" + JOBS, VALUES),
    (HEAD + "deadline: 366d\n" + JOBS, VALUES),
    (HEAD + "output: {path: ''}\n" + JOBS, BOTH),
    (HEAD + "retry: {attempts: 0}\n" + JOBS, BOTH),
    (HEAD + "retry: {attempts: 101}\n" + JOBS, BOTH),
    (HEAD + "retry: {never: X}\n" + JOBS, BOTH),
    (HEAD + "assets: {cleanup: always}\n" + JOBS, BOTH),
    (HEAD + "duplicates: twice\n" + JOBS, BOTH),
    (HEAD + "workflows: {z: {parms: {}}}\n" + JOBS, BOTH),
    (HEAD + "workflows: [z]\n" + JOBS, BOTH),
    ("- a\n", BOTH),
    ("just a text\n", BOTH),
    ("version: 1\nname: test\n" + JOBS, VALUES),
    (HEAD + "jobs: [{name: a/b, prompt: b}]\n", VALUES),
    (HEAD + "jobs: [{name: a, prompt: '{{ nope }}'}]\n", VALUES),
    (HEAD + "jobs: [{name: a, prompt: '{{ ( }}'}]\n", VALUES),
    (HEAD + "jobs: [{name: a, image: gone.png}]\n", VALUES),
    (HEAD + "jobs: [{name: a, prompt: '@gone.txt'}]\n", VALUES),
    (HEAD + "jobs: [{name: a, foreach: gone.csv}]\n", VALUES),
    (HEAD + "jobs: [{name: a, zip: {x: [1], y: [1, 2]}}]\n", VALUES),
    (HEAD + "jobs: [{name: a, matrix: {x: [1]}, zip: {x: [1]}}]\n", VALUES),
    (HEAD + "jobs: [{name: a, params: {size.batch_size: 4}}]\n", VALUES),
    (HEAD + "jobs: [{name: a, prompt: b}, {name: a, prompt: c}]\n", VALUES),
    (HEAD + "output: {path: '{nmae}'}\n" + JOBS, VALUES),
    (HEAD + "vars: {row: 1}\n" + JOBS, VALUES),
    (HEAD + "budget: {credits: 1.00000000000000001e300}\n" + JOBS, OTHER_YAML),
    (HEAD + "name: again\n" + JOBS, TWICE),
    (HEAD + "jobs: [{<<: {name: a}, prompt: b}]\n", OTHER_YAML),
    (HEAD + "jobs: [{name: a, prompt: !!str b}]\n", OTHER_YAML),
    (HEAD + "jobs: [{name: a, prompt: {{ b }}}]\n", SYNTAX),
    (HEAD + "jobs: [{name: a, prompt: 'b}]\n", SYNTAX),
    (HEAD + "jobs:\n\t- {name: a}\n", SYNTAX),
    (HEAD + JOBS + "---\n" + HEAD, SYNTAX),
]


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(manifest_schema())


@each_case("text, only_the_loader", BROKEN)
def test_a_broken_manifest_is_refused_by_both(
    folder: Any, validator: jsonschema.Draft202012Validator, text: str, only_the_loader: str
) -> None:
    assert folder.problems(text)
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        assert only_the_loader == SYNTAX
        return
    assert only_the_loader != SYNTAX
    assert validator.is_valid(value) is bool(only_the_loader)


def _examples() -> Iterator[tuple[str, str]]:
    """Every whole manifest that a user gets to see."""
    for path in (*(ROOT / "manifests").glob("*.yaml"), ROOT / "crucible_batch/cli/templates/manifest.yaml"):
        yield path.name, path.read_text(encoding="utf-8")
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for number, block in enumerate(re.findall(r"```ya?ml\n(.*?)```", page.read_text("utf-8"), re.DOTALL), 1):
            if "version:" in block:
                yield f"{page.name}-{number}", block


EXAMPLES = dict(_examples())


def test_the_examples_are_found() -> None:
    assert {"manifest.yaml", "demo.yaml", "README.md-1", "manifest.md-1"} <= EXAMPLES.keys()


@each_case("place", EXAMPLES)
def test_an_example_fits_the_schema_and_has_no_problem_of_form(
    folder: Any, validator: jsonschema.Draft202012Validator, place: str
) -> None:
    text = EXAMPLES[place]
    # YAML 1.1, which PyYAML reads, has `on` as true; editors and our loader read YAML 1.2.
    validator.validate(yaml.safe_load(text.replace("{on: ", "{'on': ").replace("- on: ", "- 'on': ")))
    form = [problem for problem in folder.problems(text) if not re.search(r"\.(image|foreach|prompt)$", problem.field)]
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
