"""Killed at a system call, or refused one: no hook in the product, no word of it believed."""

from __future__ import annotations

from typing import Any

from tests.verification.crash.traced import ERRORS


def test_killed_at_a_system_call_the_same_command_ends_as_if_nothing_had_been(
    campaign: Any,
) -> None:
    told = campaign("--scene", "steady", "--kind", "stopped=100")
    assert told["findings"] == []
    assert told["kills"] > 80
    assert {"kill pwrite64", "kill fdatasync", "kill sendto"} <= told["struck"].keys()


def test_on_a_disk_that_refuses_to_write_a_run_ends_with_a_word_and_the_same_command_continues(
    campaign: Any,
) -> None:
    told = campaign("--scene", "steady", "--kind", "refused=130")
    assert told["findings"] == []
    assert sum(told["struck"].values()) > 110
    assert {place.split()[1] for place in told["struck"]} == set(ERRORS)
