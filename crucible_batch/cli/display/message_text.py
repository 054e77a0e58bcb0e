"""Messages of a run in words, for displays and logs."""

from __future__ import annotations

from crucible_batch.cli.units import counted, format_duration
from crucible_batch.core.control import ControlAction
from crucible_batch.core.progress import Controlled, GatewayBack, GatewayUnreachable
from crucible_batch.core.redaction import clean, listed

_SHOWN_NAMES = 3


def control_words(message: Controlled) -> str:
    """Return what was done, by whom, and from where if it was not a terminal."""
    return f"{_done(message)} by {by_words(message)}"


def by_words(message: Controlled) -> str:
    """Return who gave the command: ``anna@host``, ``anna@host from the page``."""
    words = clean(message.by, 80)
    if message.via != "terminal":
        words += f" from the {clean(message.via, 20)}"
    return words


def _done(message: Controlled) -> str:
    match message.action:
        case ControlAction.PAUSE:
            return "paused"
        case ControlAction.RESUME:
            return "resumed"
        case ControlAction.STOP:
            return "stopped"
        case ControlAction.CONCURRENCY:
            return f"concurrency set to {message.value:g}"
        case ControlAction.DEADLINE:
            return f"deadline set to {format_duration(message.value or 0.0, whole=True)} from now"
        case _:
            return f"retry of {listed([clean(name, 60) for name in message.names], _SHOWN_NAMES)}"


def jobs_at_once(limit: int) -> str:
    return f"{counted(limit, 'job')} at a time"


def unreachable_words(message: GatewayUnreachable) -> str:
    lasted, limit = (
        format_duration(message.lasted_s, whole=True),
        format_duration(message.limit_s, whole=True),
    )
    return (
        f"the gateway has been unusable for {lasted}; waiting up to {limit}; nothing new is bought"
    )


def answered_words(message: GatewayBack) -> str:
    return f"the gateway answers again after {format_duration(message.lasted_s, whole=True)}"
