"""What words are commands, and which of them pause a run."""

from __future__ import annotations

import pytest

from crucible_batch.core.control import (
    ControlAction,
    ControlCommand,
    ControlEntry,
    ControlSource,
    pause_of,
)
from crucible_batch.errors import UserError
from crucible_batch.runs.control_desk import read_command
from tests.harness.case_table import each_case

ANNA = ControlSource("anna@host", "terminal")


def entry(at: float, action: str, source: ControlSource = ANNA) -> ControlEntry:
    return ControlEntry(at, ControlCommand(ControlAction(action)), source)


@each_case(
    "actions, since",
    [
        ("", None),
        ("pause", 1.0),
        ("pause resume", None),
        ("pause resume pause", 3.0),
        ("pause pause", 1.0),
        ("resume", None),
        ("stop concurrency pause deadline", 3.0),
    ],
)
def test_a_run_is_paused_from_its_first_pause_to_the_resume(
    actions: str, since: float | None
) -> None:
    pause = pause_of(entry(at, action) for at, action in enumerate(actions.split(), 1))
    assert (None if pause is None else pause.at) == since


@each_case(
    "words, command",
    [
        (["pause"], ControlCommand(ControlAction.PAUSE)),
        (["concurrency", "8"], ControlCommand(ControlAction.CONCURRENCY, 8)),
        (["deadline", "1h30m"], ControlCommand(ControlAction.DEADLINE, 5400.0)),
        (["retry", "a*", "b"], ControlCommand(ControlAction.RETRY, names=("a*", "b"))),
    ],
)
def test_words_are_commands(words: list[str], command: ControlCommand) -> None:
    assert read_command(words) == command


@each_case(
    "words",
    [[], [""], ["Pause"], ["pause", ""],
     ["concurrency", "-1"], ["concurrency", "1e3"], ["concurrency", "\u0661"],
     ["concurrency", "9" * 5000],
     ["deadline", "9" * 5000], ["deadline", "nan"], ["deadline", "0"],
     ["retry", *"a" * 1001], ["retry", "a" * 1001]],
)  # fmt: skip
def test_other_words_are_refused_with_what_to_write(words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        read_command(words)
    assert error.value.hint
    assert len(error.value.message) < 300
