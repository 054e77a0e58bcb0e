"""The ``schema`` command: the JSON Schemas of the files that are read and written."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from crucible_batch.atomic_files import check_target, replacing
from crucible_batch.errors import UserError
from crucible_batch.features import found
from crucible_batch.manifest import manifest_schema
from crucible_batch.report import Report
from crucible_batch.saved_plan import plan_schema

_SCHEMA_BEGINS = b'{\n  "$schema": "https://json-schema.org/draft/2020-12/schema",\n'
_SCHEMA_IS_OURS = b'\n  "title": "crucible-batch '
_MAX_SCHEMA_BYTES = 64 * 1024 * 1024

_ADDRESS = "https://code.example/crucible-batch/raw/main/docs"
"""Where the schemas are published. It stands for the repository, whose address is not known yet:
``docs/releasing.md``."""

_SCHEMAS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "manifest": manifest_schema,
    "report": lambda: {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Report.model_json_schema(mode="serialization"),
        "title": "crucible-batch report.json, version 1",
    },
    "plan": plan_schema,
    **{module.OPTION: module.schema for module in found("schemas")},
}


def schema_of(name: str) -> dict[str, Any]:
    """Return one of the schemas: its address, by which editors know it, is ``$id``."""
    schema = _SCHEMAS[name]()
    head = {"$schema": schema["$schema"], "$id": f"{_ADDRESS}/{name}.schema.json"}
    return head | schema


def print_schema(of: str, *, output: Path | None, force: bool) -> None:
    """Print one of the schemas on stdout, or write it to ``output``.

    Raises ``UserError`` if that fails.
    """
    if output is not None:
        check_target(output, "a schema of crucible-batch", _is_schema_of_ours, force=force)
    _put(schema_of(of), output)


def _is_schema_of_ours(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_SCHEMA_BYTES)
    except OSError:
        return False
    return content.startswith(_SCHEMA_BEGINS) and _SCHEMA_IS_OURS in content


def _put(schema: dict[str, Any], output: Path | None) -> None:
    text = json.dumps(schema, indent=2) + "\n"
    if output is None:
        sys.stdout.write(text)
        return
    try:
        with replacing(output) as file:
            file.write(text.encode())
    except OSError as error:
        raise UserError(
            f"the schema can't be written to {output}: {error.strerror}", hint="name another -o"
        ) from error
