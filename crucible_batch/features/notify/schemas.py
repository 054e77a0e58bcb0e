"""The schema of a notification's message, for the command ``schema``."""

from __future__ import annotations

from typing import Any

OPTION = "notification"
HELP = "Print the schema of a notification's message instead."


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the message."""
    # Imported here, since each command imports this module.
    from crucible_batch.features.notify.messages import message_schema  # noqa: PLC0415

    return message_schema()
