"""The manifest's JSON Schema for editors, with the workflows that the gateway offers an account."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import httpx

from crucible_batch.api.connecting import connect
from crucible_batch.domain.redaction import clean_message
from crucible_batch.errors import GatewayError
from crucible_batch.gateway import CrucibleClient
from crucible_batch.gateway.adapter import read_details, read_fields
from crucible_batch.manifest import Parameters, live_schema
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
    turns = asyncio.Semaphore(_AT_ONCE)

    async def look_at(workflow_id: str) -> None:
        async with turns:
            try:
                found[workflow_id] = _parameters((await client.workflow(workflow_id)).metadata)
            except GatewayError as error:
                if error.status != 404:  # 404: removed since it was listed
                    raise

    listed = (await client.workflows()).workflows
    try:
        async with asyncio.TaskGroup() as group:
            for each in listed:
                group.create_task(look_at(each.workflow_id))
    except* GatewayError as errors:
        raise next(error for error in errors.exceptions if isinstance(error, GatewayError)) from None
    return found


def _parameters(metadata: Mapping[str, object]) -> Parameters | None:
    """Return the schema of each parameter in the metadata; None if it lists none, so that any may be sent."""
    fields, details = read_fields(metadata), read_details(metadata)
    if not fields:
        return None
    return {clean_message(name): _about(details.get(name, {})) for name in fields}


def _about(details: Mapping[str, object]) -> dict[str, Any]:
    low, high = _scalar(details.get("minimum")), _scalar(details.get("maximum"))
    ends = f"{'' if low is None else low} to {'' if high is None else high}".strip()
    kind = details.get("type")
    words = [clean_message(kind, 60) if isinstance(kind, str) else "", ends if ends != "to" else ""]
    about = {"description": ", ".join(word for word in words if word), "default": _scalar(details.get("default"))}
    return {key: value for key, value in about.items() if value not in ("", None)}


def _scalar(value: object) -> str | int | float | bool | None:
    """Return a scalar of the metadata as a JSON value; None for anything else."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return clean_message(value) if isinstance(value, str) else value if isinstance(value, bool | int | float) else None
