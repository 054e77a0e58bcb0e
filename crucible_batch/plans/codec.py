"""The format of ``plan.json``, version 1: its lines, its limits, its JSON Schema. Fields are added, never renamed.

    {
      "schema_version": 1,
      ...                         the head, indented
      "jobs": [
        {...},                    a job a line
        {...}
      ],
      "digest": "..."             SHA-256 of all lines above this one: head -n -2 plan.json | sha256sum
    }

An addition that an older release must not pass over raises the version.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from crucible_batch.core.saved_plan import PlanHead, PlanRow

PLAN_VERSION = 1

OPEN, CLOSE = b"{", b"}"
JOBS = b'  "jobs": ['
END_OF_JOBS = b"  ],"
DIGEST = '  "digest": "{}"'

MAX_LINE_BYTES = 128 * 1024 * 1024
"""Twice a manifest's limit, so that the row of any job fits. Neither written nor read beyond it."""


@dataclass(frozen=True, slots=True)
class SavedPlanFile(PlanHead):
    """A saved plan as a whole, as ``plan.json`` holds it. ``digest`` is the SHA-256 of all lines above its own."""

    jobs: tuple[PlanRow, ...]
    digest: str


_ADAPTERS: dict[object, TypeAdapter[Any]] = {}  # building one costs milliseconds


def adapter_of(kind: type[Any]) -> TypeAdapter[Any]:
    """Return what writes and reads a dataclass of the core as JSON, amounts as decimal text."""
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def plan_schema() -> dict[str, Any]:
    """Return the JSON Schema of ``plan.json``."""
    schema = adapter_of(SavedPlanFile).json_schema(mode="serialization")
    schema["properties"]["schema_version"] = {"const": PLAN_VERSION}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "crucible-batch plan.json, version 1",
    }
