"""The ``credits``, ``workflows`` and ``assets`` commands."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Literal, TypeVar

from rich import box
from rich.table import Table
from rich.text import Text

from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.terminal import Json, say, working
from crucible_batch.cli.units import format_duration
from crucible_batch.core.credits import format_credits
from crucible_batch.core.ledger_statement import is_hold
from crucible_batch.core.parameter_info import ParameterInfo, shown_value
from crucible_batch.core.redaction import clean_message, mask_link_secrets
from crucible_batch.errors import GatewayError, UserError
from crucible_batch.gateway import CrucibleClient
from crucible_batch.gateway.adapter import read_expected_s, read_fields, read_parameters
from crucible_batch.gateway.wire import CreditLedgerEntry
from crucible_batch.runs.connecting import connect
from crucible_batch.settings import Settings

T = TypeVar("T")
_ASSET_FIELDS = {"asset_id", "status", "mime_type", "byte_size", "original_filename", "created_at"}


def ask(
    output: CommandOutput, settings: Settings, question: Callable[[CrucibleClient], Awaitable[T]]
) -> T:

    async def put() -> T:
        async with connect(settings) as client:
            return await question(client)

    with working(output.err, "querying the gateway"):
        return asyncio.run(put())


def show_credits(output: CommandOutput, settings: Settings) -> None:
    found = ask(output, settings, lambda client: client.credits())
    output.data = plain_json(
        {
            "balance": format_credits(found.balance),
            "reserved": format_credits(found.reserved),
            "available": format_credits(found.available),
            "recent_entries": [
                {
                    **entry.model_dump(include=set(CreditLedgerEntry.model_fields)),
                    "amount": signed_credits(entry.amount),
                }
                for entry in found.recent_entries
            ],
        }
    )
    balance, reserved = format_credits(found.balance), format_credits(found.reserved)
    say(
        output.out,
        (format_credits(found.available), "strong"),
        " credits available",
        (f"   balance {balance}, reserved {reserved}", "quiet"),
    )
    listed = current_entries(found.recent_entries, found.reserved)
    table = _table("when", "what", "status", "#amount")
    for entry in listed[:10]:
        what = entry.description or entry.entry_type
        style = "" if entry.amount < 0 else "green"
        amount = Text(signed_credits(entry.amount), style=style)
        table.add_row(
            _moment(entry.created_at),
            clean_message(what, 60),
            clean_message(entry.status, 20),
            amount,
        )
    if table.row_count:
        output.out.print(table)
    ended = len(found.recent_entries) - len(listed)
    if ended:
        say(output.out, (f"{ended} ended holds are not shown; --json lists all entries", "quiet"))


def current_entries(
    entries: Sequence[CreditLedgerEntry], reserved: Decimal
) -> list[CreditLedgerEntry]:
    """Return the entries without the holds that have ended.

    All holds have ended if nothing is reserved, otherwise those of jobs with another entry.
    """
    ended = {entry.job_id for entry in entries if not is_hold(entry.entry_type)} - {None}

    def is_current(entry: CreditLedgerEntry) -> bool:
        if not is_hold(entry.entry_type):
            return True
        return bool(reserved) and entry.job_id not in ended

    return [entry for entry in entries if is_current(entry)]


def show_workflows(output: CommandOutput, settings: Settings) -> None:
    found = ask(output, settings, lambda client: client.workflows())
    listed = [{"workflow_id": each.workflow_id, "updated_at": each.updated_at} for each in found]
    output.data = plain_json({"workflows": listed})
    table = _table("workflow", "updated")
    for each in sorted(found, key=lambda each: each.workflow_id):
        table.add_row(clean_message(each.workflow_id, 128), _moment(each.updated_at))
    output.out.print(table)
    say(output.out, ("show parameters  ", "label"), ("crucible-batch workflows ID", "command"))


def show_workflow(output: CommandOutput, workflow_id: str, settings: Settings) -> None:
    metadata = ask(output, settings, lambda client: metadata_of(client, workflow_id))
    fields, expected_s = read_fields(metadata), read_expected_s(metadata)
    known = read_parameters(metadata)
    output.data = {**workflow_json(workflow_id, metadata), "metadata": plain_json(metadata)}
    title = metadata.get("title")
    about = ""
    if isinstance(title, str):
        about += f"   {clean_message(title, 100)}"
    if expected_s is not None:
        about += f" · about {format_duration(expected_s)} per job"
    say(output.out, (clean_message(workflow_id), "strong"), (about, "quiet"))
    if fields is None:
        note = (
            "The workflow does not list its parameters; those of the manifest are sent unchecked."
        )
        say(output.out, f"  {note}")
        return
    if not known:
        table = _table("parameter")
        for name in map(clean_message, fields):
            table.add_row(name[:100])
    else:
        table = _table("parameter", "type", "default", "allowed")
        for name in map(clean_message, fields):
            table.add_row(name[:100], *_parameter_cells(known.get(name, ParameterInfo())))
    output.out.print(table)


def _parameter_cells(info: ParameterInfo) -> tuple[str, str, str]:
    default = ""
    if info.default is not None:
        default = shown_value(info.default)
    return info.kind, default, info.shown_values() or _range(info)


def workflow_json(workflow_id: str, metadata: Mapping[str, object]) -> dict[str, Json]:
    """Return what is known of a workflow and of its parameters."""
    fields = read_fields(metadata)
    known = {
        "workflow_id": workflow_id,
        "fields": None if fields is None else list(fields),
        "estimated_time_seconds": read_expected_s(metadata),
        "parameters": {name: _facts(info) for name, info in read_parameters(metadata).items()},
    }
    return {name: plain_json(value) for name, value in known.items()}


def _facts(info: ParameterInfo) -> dict[str, object]:
    """Return what is known of a parameter; facts that are not known are left out."""
    found = {
        "type": info.kind or None,
        "minimum": info.minimum,
        "maximum": info.maximum,
        "values": list(info.values) or None,
        "default": info.default,
    }
    return {name: fact for name, fact in found.items() if fact is not None}


async def workflow_ids(client: CrucibleClient) -> list[str]:
    return sorted(each.workflow_id for each in await client.workflows())


async def metadata_of(client: CrucibleClient, workflow_id: str) -> Mapping[str, object]:
    """Read the metadata of a workflow.

    Raises ``UserError`` if the gateway doesn't have it, and ``GatewayError``.
    """
    try:
        return (await client.workflow(workflow_id)).metadata
    except GatewayError as error:
        if error.status != 404:
            raise
        known = await workflow_ids(client)
        near = difflib.get_close_matches(workflow_id, known, n=1)
        meant = ""
        if near:
            meant = f"did you mean {near[0]}? "
        raise UserError(
            f"there is no workflow {clean_message(workflow_id)!r}",
            hint=f"{meant}active workflows: {', '.join(known)}",
        ) from error


def show_assets(output: CommandOutput, settings: Settings) -> None:
    """List the account's assets; their signed URLs are never shown."""
    found = ask(output, settings, lambda client: client.assets())
    output.data = plain_json(
        {
            "assets": [
                {
                    **asset.model_dump(include=_ASSET_FIELDS),
                    "sha256": _text(asset.metadata.get("cb_sha256")),
                }
                for asset in found
            ]
        }
    )
    if not found:
        say(output.out, "no assets")
        return
    table = _table("asset", "status", "#bytes", "file", "created", gap=1)
    table.columns[0].no_wrap = True  # an id that is broken can't be copied
    for asset in found:
        size = ""
        if asset.byte_size is not None:
            size = f"{asset.byte_size:,}"
        name = clean_message(asset.original_filename or "", 40)
        table.add_row(
            clean_message(asset.asset_id),
            clean_message(asset.status, 20),
            size,
            name,
            _moment(asset.created_at),
        )
    output.out.print(table)


def signed_credits(amount: Decimal) -> str:
    if amount < 0:
        return f"-{format_credits(amount.copy_abs())}"
    return format_credits(amount)


def plain_json(value: object) -> Json:
    """Convert wire data to JSON: ``Decimal`` to a number, and URLs without their signatures."""
    if isinstance(value, Decimal):
        if value == value.to_integral_value():
            return int(value)
        return float(value)
    if isinstance(value, Mapping):
        return {mask_link_secrets(str(name)): plain_json(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain_json(item) for item in value]
    if value is None or isinstance(value, int | float):
        return value
    return mask_link_secrets(str(value))


def _range(info: ParameterInfo) -> str:
    if info.minimum is None and info.maximum is None:
        return ""
    low = high = ""
    if info.minimum is not None:
        low = f"{info.minimum:f}"
    if info.maximum is not None:
        high = f"{info.maximum:f}"
    return f"{low} – {high}"


def _text(value: object) -> str | None:
    if isinstance(value, str):
        return value
    return None


def _moment(text: str) -> str:
    """Format a timestamp in local time; return other text cleaned and cut to 30 characters."""
    try:
        return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError):
        return clean_message(text, 30)


def _table(*columns: str, gap: int = 2) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, gap), header_style="dim")
    for column in columns:
        justify: Literal["left", "right"] = "left"
        if column.startswith("#"):
            justify = "right"
        table.add_column(column.removeprefix("#"), justify=justify, overflow="fold")
    return table
