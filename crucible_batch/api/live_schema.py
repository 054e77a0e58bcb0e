"""The manifest's JSON Schema for editors, with the workflows that the gateway offers an account."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import httpx

from crucible_batch.api.concurrent_work import for_each
from crucible_batch.api.connecting import connect
from crucible_batch.domain.parameter_info import ParameterInfo, Scalar, shown_value
from crucible_batch.domain.redaction import clean_message
from crucible_batch.errors import GatewayError
from crucible_batch.gateway import CrucibleClient
from crucible_batch.gateway.adapter import read_fields, read_parameters
from crucible_batch.manifest import A_TEMPLATE, Parameters, live_schema
from crucible_batch.settings import Settings

_AT_ONCE = 8


async def live_manifest_schema(
    settings: Settings | None = None, *, transport: httpx.AsyncBaseTransport | None = None
) -> dict[str, Any]:
    """Return the manifest's JSON Schema with the account's workflows and the parameters that each lists.

    Raises ``GatewayError``, and ``KeyRefusedError`` if there is no key.
    """
    async with connect(settings, transport=transport) as client:
        return live_schema(await _workflows(client))


async def _workflows(client: CrucibleClient) -> dict[str, Parameters | None]:
    found: dict[str, Parameters | None] = {}

    async def read(workflow_id: str) -> None:
        try:
            found[workflow_id] = _parameters((await client.workflow(workflow_id)).metadata)
        except GatewayError as error:
            if error.status != 404:  # 404: removed since it was listed
                raise

    listed = (await client.workflows()).workflows
    await for_each((each.workflow_id for each in listed), read, at_once=_AT_ONCE)
    return found


def _parameters(metadata: Mapping[str, object]) -> Parameters | None:
    """Return the schema of each parameter in the metadata; None if it lists none, so that any may be sent."""
    fields, known = read_fields(metadata), read_parameters(metadata)
    if not fields:
        return None
    return {name: _about(known.get(name, ParameterInfo())) for name in map(clean_message, fields)}


def _about(info: ParameterInfo) -> dict[str, Any]:
    """Return JSON Schema keywords for a parameter, whose value may be a template: text passes a range in any case."""
    low, high = _plain(info.minimum), _plain(info.maximum)
    ends = f"{'' if low is None else low} to {'' if high is None else high}".strip()
    words = [info.kind, ends if ends != "to" else "", f"one of {info.shown_values()}" if info.values else ""]
    about = {
        "description": ", ".join(word for word in words if word),
        "default": _plain(info.default),
        "minimum": low,
        "maximum": high,
        "anyOf": [{"enum": _written(info.values)}, A_TEMPLATE] if info.values else None,
    }
    return {key: value for key, value in about.items() if value not in ("", None)}


def _written(values: Sequence[Scalar]) -> list[str | int | float | bool | None]:
    """Return the values in each form that a manifest may have them in: as they are, and as text."""
    plain = [_plain(value) for value in values]
    return plain + [shown_value(value) for value in values if not isinstance(value, str)]


def _plain(value: Scalar | None) -> str | int | float | bool | None:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value
