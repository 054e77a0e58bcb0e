"""The JSON Schema describes what may be written: it takes what loads and refuses what has the wrong shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from crucible_batch.manifest import manifest_schema
from tests.case_table import each_case

MANIFESTS = Path(__file__).parents[3] / "manifests"
SMALL: dict[str, Any] = {"version": 1, "name": "a", "jobs": [{"name": "a"}]}


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = manifest_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_schema_is_json_of_the_right_dialect() -> None:
    schema = json.loads(json.dumps(manifest_schema(), allow_nan=False))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "null" not in json.dumps(schema)
    assert schema["required"] == ["version", "name", "jobs"]


def test_every_field_is_described() -> None:
    schema = manifest_schema()
    for model in (schema, *schema["$defs"].values()):
        for name, field in model["properties"].items():
            described = field if "description" in field else schema["$defs"][field["$ref"].rpartition("/")[2]]
            assert described["description"], name


@each_case("path", sorted(MANIFESTS.glob("*.yaml")))
def test_the_examples_fit(validator: jsonschema.Draft202012Validator, path: Path) -> None:
    validator.validate(yaml.safe_load(path.read_text()))


@each_case(
    "change",
    [
        {"version": 2},
        {"name": "a/b"},
        {"name": ""},
        {"jobs": []},
        {"jobs": [{}]},
        {"jobs": [{"name": "a", "promt": "x"}]},
        {"jobs": [{"name": "a", "repeat": 0}]},
        {"jobs": [{"name": "a", "prompt": None}]},
        {"jobs": [{"name": "a", "matrix": {"x": []}}]},
        {"jobs": [{"name": "a", "matrix": {"x": [None]}}]},
        {"budget": {"credits": 0}},
        {"budget": {"credits": "lots"}},
        {"duplicates": "twice"},
        {"xyzzy": 1},
    ],
)
def test_what_has_the_wrong_shape_does_not_fit(
    validator: jsonschema.Draft202012Validator, change: dict[str, Any]
) -> None:
    assert validator.is_valid(SMALL)
    assert not validator.is_valid(SMALL | change)
