"""Names that leave the program: what other programs read, and what the next release has to read
again.

A class or a function may be renamed at any time; a name in these tables may not. Fields of
``report.json``, ``plan.json`` and the sidecars are pinned by the schemas in ``docs/``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import get_args

from msgspec import Struct

from crucible_batch.cli.display.json_lines import event_of
from crucible_batch.cli.runs import run_json
from crucible_batch.core.control import ControlAction, ControlCommand, ControlEntry, ControlSource
from crucible_batch.core.events import (
    EVENT_NAMES,
    AssetEvent,
    Deleted,
    JobEvent,
    NotCreated,
    event_name,
)
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Phase
from crucible_batch.core.outcome import Ending, Outcome, RunStatus
from crucible_batch.core.progress import (
    AssetAdvanced,
    Balance,
    Controlled,
    GatewayBack,
    GatewayUnreachable,
    JobAdvanced,
    JobsAdded,
    Message,
    Retrying,
    RunBegan,
    RunEnded,
    ShardsAdvanced,
    Stopping,
    TakenUp,
    Throttled,
)
from crucible_batch.core.receipts import Receipt
from crucible_batch.journal.codec import decode, encode
from crucible_batch.journal.event_codec import decode_event, encode_event
from crucible_batch.runs.run_list import ListedRun, RunState

JOURNAL: Mapping[str, str] = {
    "Held": "attempt key credits price_class shape alone images",
    "Prepared": "assets credits",
    "Accepted": "job_id credits reused earlier",
    "HoldReleased": "error",
    "Refused": "error",
    "SubmitUnknown": "error",
    "Repriced": "credits settled",
    "Succeeded": "outputs running_at numbers",
    "Listed": "numbers",
    "Failed": "error running_at",
    "Refunded": "attempt credits entry_id",
    "Consumed": "attempt credits entry_id",
    "RefundForgotten": "attempt credits by",
    "JobLost": "error",
    "Saved": "index path sha256 byte_size mime_type width height sent",
    "Unavailable": "error",
    "Missed": "index",
    "Relocated": "index path",
    "Reopened": "",
    "Intended": "nonce credits payer maximum",
    "Created": "asset_id credits assumed",
    "Uploaded": "",
    "BecameReady": "",
    "Found": "asset_id",
    "NotCreated": "error",
    "Lost": "nonce",
    "NotCharged": "nonce",
    "Deleted": "rebate",
}
"""Events by their name in the journal, with the names of their fields; each has ``at`` besides."""

JSON_LINES: Mapping[str, str] = {
    "run_began": "manifest run_id total counts balance",
    "taken_up": "name phase since beside",
    "job": "name phase event rebate balance beside",
    "image": "filename sha256 byte_size event rebate balance",
    "retry": "operation attempt wait_s reason host",
    "gateway_unreachable": "lasted_s limit_s reason",
    "gateway_back": "lasted_s",
    "throttled": "limit ceiling reason",
    "stopping": "code message grace_s",
    "control": "action by via in_flight saving value names",
    "jobs_added": "count source",
    "shards": "shards running ended counts balance",
    "run_ended": "status exit_code counts balance",
}
"""Lines of ``run --json`` by their ``type``; those of a job and an image have the fields of their
event besides."""

LISTED_RUN = (
    "run_dir name run_id state status exit_code counts credits started_at finished_at "
    "changed_at pruned next error"
)
"""A run of ``runs --json``, in ``data.runs``."""
RUN_STATES = "running paused done failed_jobs stopped killed waiting not_started unreadable"

RECEIPT = "identity attempt key job_id credits at outputs saved"
"""A line of the receipts of a run directory."""
NEVER_RENAMED = "other programs read these names: add a row for a new one, and keep the old"
"""What to do where a table differs."""

BALANCE = Balance(Decimal(9), Decimal(1), Decimal(2))
# All events are written alike, so one is enough, also in place of a job's.
EVENT = Deleted(at=0.0, rebate=Decimal(1))
MESSAGES: tuple[Message, ...] = (
    RunBegan(0.0, 1, {Outcome.PENDING: 1}, BALANCE),
    TakenUp(0.0, "fox", "id", Phase.IN_FLIGHT, 0.0),
    JobAdvanced(0.0, "fox", "id", EVENT, Phase.READY, Phase.SUBMITTING, BALANCE),
    AssetAdvanced(0.0, "ff", "fox.png", 1, EVENT, BALANCE),
    Retrying(0.0, "submit", 1, 0.5, "BUSY"),
    GatewayUnreachable(0.0, 60.0, 600.0, "no answer"),
    GatewayBack(0.0, 75.0),
    Throttled(0.0, 1, 2, "BUSY"),
    Stopping(0.0, "X", "why", 30.0),
    Controlled(0.0, "deadline", "anna@host", "terminal", 3, 60.0),
    JobsAdded(0.0, 1, "fox"),
    ShardsAdvanced(0.0, 2, 1, 1, {Outcome.PENDING: 1}, BALANCE),
    RunEnded(0.0, Ending(RunStatus.SUCCEEDED, 0), {Outcome.SUCCEEDED: 1}, BALANCE),
)


def fields_of(kind: type[Struct]) -> set[str]:
    return set(kind.__struct_fields__)


def test_every_event_has_a_name_and_its_fields_have_theirs() -> None:
    assert {name: fields_of(kind) for name, kind in EVENT_NAMES.items()} == {
        name: {"at", *fields.split()} for name, fields in JOURNAL.items()
    }, NEVER_RENAMED
    assert set(EVENT_NAMES.values()) == {*get_args(JobEvent), *get_args(AssetEvent)}


def test_the_journal_writes_and_reads_an_event_under_that_name() -> None:
    kind, body = encode_event(EVENT)
    assert (kind, event_name(EVENT)) == ("Deleted", "Deleted")
    assert decode_event("Deleted", body) == EVENT


def test_json_has_the_name_of_an_event_in_lower_case_and_its_words_parted() -> None:
    assert name_in_json(EVENT) == "deleted"
    assert name_in_json(NotCreated(at=0.0, error=ErrorInfo("X", "why"))) == "not_created"


def name_in_json(event: AssetEvent) -> object:
    _, fields = event_of(AssetAdvanced(0.0, "ff", "fox.png", 1, event, BALANCE))
    return fields["event"]


def test_lines_of_json_have_these_types_and_fields() -> None:
    assert {kind: set(fields) for kind, fields in map(event_of, MESSAGES)} == {
        kind: set(fields.split()) for kind, fields in JSON_LINES.items()
    }, NEVER_RENAMED
    assert {type(message) for message in MESSAGES} == set(get_args(Message))


def test_a_run_of_the_list_has_these_fields_and_states() -> None:
    fields = run_json(ListedRun(Path("outputs/a/b")), None).keys()
    assert fields == set(LISTED_RUN.split()), NEVER_RENAMED
    assert {state.value for state in RunState} == set(RUN_STATES.split()), NEVER_RENAMED


def test_a_line_of_the_receipts_has_these_fields() -> None:
    assert fields_of(Receipt) == set(RECEIPT.split()), NEVER_RENAMED


def test_a_command_to_a_run_is_journalled_with_these_names() -> None:
    """Read by ``status`` and the viewer of later releases."""
    entry = ControlEntry(
        1.0, ControlCommand(ControlAction.RETRY, None, ("a*",)), ControlSource("anna@host", "page")
    )
    assert json.loads(encode(entry)) == {
        "at": 1.0,
        "command": {"action": "retry", "value": None, "names": ["a*"]},
        "source": {"by": "anna@host", "via": "page"},
    }
    assert decode(ControlEntry, encode(entry)) == entry
    assert [action.value for action in ControlAction] == [
        "pause",
        "resume",
        "stop",
        "concurrency",
        "deadline",
        "retry",
    ]
