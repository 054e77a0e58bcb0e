"""Commands to a running run, read from words: as typed in a terminal, or sent by a page."""

from __future__ import annotations

from collections.abc import Sequence

from crucible_batch.domain.control import ControlAction, ControlCommand
from crucible_batch.errors import UserError
from crucible_batch.option_values import MOST_AT_ONCE, parse_duration

FORMS = "pause, resume, stop, concurrency N, deadline DURATION, retry NAME..."
_MOST_NAMES = 1000
_LONGEST_NAME = 1000


def read_command(words: Sequence[str]) -> ControlCommand:
    """Return the command that the words are. Raises ``UserError``."""
    try:
        action = ControlAction(words[0])
    except (IndexError, ValueError):
        given = words[0][:100] if words else ""
        raise UserError(f"{given!r} is not a command to a run", hint=f"one of: {FORMS}") from None
    rest = words[1:]
    match action:
        case ControlAction.CONCURRENCY:
            return ControlCommand(action, _jobs(_single(action, rest, "the number of jobs in flight")))
        case ControlAction.DEADLINE:
            return ControlCommand(action, _duration(_single(action, rest, "a duration from now, such as 2h")))
        case ControlAction.RETRY:
            return ControlCommand(action, names=_names(rest))
        case _:
            if rest:
                raise UserError(f"{action} takes no arguments: {rest[0][:100]!r}", hint=f"one of: {FORMS}")
            return ControlCommand(action)


def _single(action: ControlAction, rest: Sequence[str], what: str) -> str:
    if len(rest) != 1:
        raise UserError(f"{action} requires one argument: {what}", hint=f"one of: {FORMS}")
    return rest[0]


def _jobs(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MOST_AT_ONCE):
        raise UserError(f"{text[:100]!r} is not a number of jobs", hint=f"a number from 1 to {MOST_AT_ONCE}")
    return int(text[:9])


def _duration(text: str) -> float:
    try:
        return parse_duration(text[:100])
    except ValueError as error:
        raise UserError(str(error), hint="deadline counts from now, such as: deadline 2h") from None


def _names(rest: Sequence[str]) -> tuple[str, ...]:
    if not rest:
        raise UserError("retry requires the names of failed jobs", hint="patterns are allowed: retry 'hero-*'")
    if len(rest) > _MOST_NAMES or max(map(len, rest)) > _LONGEST_NAME:
        raise UserError("there are too many names, or one is too long", hint="use patterns: retry 'hero-*'")
    return tuple(rest)
