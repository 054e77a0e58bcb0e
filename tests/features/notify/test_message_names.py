"""Names in the message of a notification, which webhooks and commands read."""

from __future__ import annotations

from crucible_batch.features.notify.messages import message_schema

MESSAGE = {
    "": "schema_version type timestamp data",
    "MessageData": (
        "test manifest run_id attempt exit_code counts credits error_codes "
        "run_dir report next_command"
    ),
    "OutcomeCounts": "total succeeded failed blocked pending unknown",
    "MessageCredits": "budget run total held",
}
"""The fields of a notification's message, version 1, which webhooks and commands read."""


MESSAGE_TYPES = "run.succeeded run.partial run.blocked run.failed"


def test_a_notification_has_these_fields_and_types() -> None:
    schema = message_schema()
    models = {"": schema, **schema["$defs"]}
    assert {name: set(model["properties"]) for name, model in models.items()} == {
        name: set(fields.split()) for name, fields in MESSAGE.items()
    }
    assert schema["properties"]["type"]["enum"] == MESSAGE_TYPES.split()
    assert schema["properties"]["schema_version"]["const"] == 1
