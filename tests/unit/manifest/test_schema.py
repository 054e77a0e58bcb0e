"""The JSON Schema describes what may be written: it takes what loads and refuses what has the wrong
shape.
"""

from __future__ import annotations

import json

from crucible_batch.manifest import manifest_schema


def test_the_schema_is_json_of_the_right_dialect() -> None:
    schema = json.loads(json.dumps(manifest_schema(), allow_nan=False))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "null" not in json.dumps(schema)
    required = schema.get("required") or schema["else"]["required"]  # unless a base has them
    assert required == ["version", "name", "jobs"]


def test_every_field_is_described() -> None:
    schema = manifest_schema()
    for model in (schema, *schema["$defs"].values()):
        for name, field in model["properties"].items():
            described = (
                field
                if "description" in field
                else schema["$defs"][field["$ref"].rpartition("/")[2]]
            )
            assert described["description"], name
