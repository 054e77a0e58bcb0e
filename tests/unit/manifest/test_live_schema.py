"""The live schema knows the account's workflows, and which parameters may stand with each."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
import yaml

from crucible_batch.api.live_schema import _about
from crucible_batch.domain.parameter_info import read_parameter
from crucible_batch.manifest import live_schema
from tests.case_table import each_case

WORKFLOWS: dict[str, Any] = {
    "draw": {"prompt.text": {"description": "text"}, "sampler.seed": {"default": 0}},
    "edit/2": {"prompt.value": {}, "image.image": {}, "mask.image": {}},
    "secretive": None,
    "scaled": {
        "scale": _about(read_parameter({"type": "number", "minimum": 1, "maximum": 4})),
        "method": _about(read_parameter({"enum": ["fast", "fine", 3]})),
    },
}

CASES: list[tuple[bool, str]] = [
    (True, "workflow: draw\njobs: [{name: a, prompt: b, params: {sampler.seed: 1}}]"),
    (False, "workflow: draw\njobs: [{name: a, prompt: b, params: {sampler.sede: 1}}]"),
    (True, "workflow: draw\nparams: {sampler.seed: '{{ repeat }}'}\njobs: [{name: a}]"),
    (False, "workflow: draw\nparams: {mask.image: 1}\njobs: [{name: a}]"),
    (False, "workflow: darw\njobs: [{name: a}]"),
    (False, "jobs: [{name: a, workflow: darw}]"),
    (True, "jobs: [{name: a, workflow: '{{ which }}', matrix: {which: [draw]}, params: {any.thing: 1}}]"),
    (True, "workflow: '{{ which }}'\nvars: {which: draw}\njobs: [{name: a, params: {any.thing: 1}}]"),
    (True, "workflow: draw\njobs: [{name: a, workflow: edit/2, images: {mask.image: m.png}}]"),
    (False, "workflow: draw\njobs: [{name: a, workflow: edit/2, images: {msk.image: m.png}}]"),
    (False, "workflow: draw\njobs: [{name: a, workflow: edit/2, params: {sampler.seed: 1}}]"),
    (True, "workflow: draw\njobs: [{name: a, workflow: secretive, params: {any.thing: 1}}]"),
    (True, "workflow: secretive\nparams: {any.thing: 1}\njobs: [{name: a}]"),
    (True, "workflow: draw\nworkflows: {edit/2: {params: {mask.image: m}}}\njobs: [{name: a}]"),
    (False, "workflow: draw\nworkflows: {edit/2: {params: {sampler.seed: 1}}}\njobs: [{name: a}]"),
    (False, "workflow: draw\nworkflows: {edit/2: {fields: {prompt: prompt.text}}}\njobs: [{name: a}]"),
    (False, "workflow: draw\njobs: [{name: a, promt: b}]"),
    (True, "workflow: scaled\nparams: {scale: 4}\njobs: [{name: a}]"),
    (False, "workflow: scaled\nparams: {scale: 5}\njobs: [{name: a}]"),
    (True, "workflow: scaled\nparams: {scale: '5'}\njobs: [{name: a}]"),
    (
        True,
        "workflow: scaled\nparams: {scale: '{{ repeat }}', method: '{{ how }}'}\nvars: {how: fast}\njobs: [{name: a}]",
    ),
    (True, "workflow: scaled\njobs: [{name: a, params: {method: '3'}}]"),
    (False, "workflow: scaled\njobs: [{name: a, params: {method: fst}}]"),
    (False, "workflow: draw\njobs: [a]"),
]


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = live_schema(WORKFLOWS)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@each_case("fits, text", CASES)
def test_a_parameter_stands_only_with_a_workflow_that_lists_it(
    validator: jsonschema.Draft202012Validator, fits: bool, text: str
) -> None:
    assert validator.is_valid(yaml.safe_load("version: 1\nname: x\n" + text)) is fits


def test_an_account_without_workflows_has_a_schema_too() -> None:
    jsonschema.Draft202012Validator.check_schema(live_schema({}))


def test_what_is_known_of_a_parameter_is_in_the_schema() -> None:
    definitions = live_schema(WORKFLOWS)["$defs"]
    assert definitions["On0"]["properties"]["params"]["properties"]["sampler.seed"] == {"default": 0}
