"""Refunds that don't come, at the installed command: what it says, what it exits with, and the
person's way out.
"""

from __future__ import annotations

import shlex
from typing import Any

from tests.harness.commands import Cli
from tests.harness.missing_refunds import AT_ONCE, ask, reserved

ONE = "{credits: 2, max_credits_per_job: 2}"


def test_a_refund_that_does_not_come_is_exit_4_and_says_whose_and_how_much(
    dishonest: Cli, report_of: Any
) -> None:
    dishonest.write("none", budget=ONE)
    done = dishonest("run", "none.yaml", *AT_ONCE, "--json")
    error, credits = done.envelope["error"], done.envelope["data"]["credits"]
    assert (done.code, error["code"], error.get("exit_code", 4)) == (4, "REFUND_MISSING", 4)
    assert "fox" in f"{error['message']} {error['hint']}"
    assert "did not come" in error["message"]
    assert (
        credits["spent"],
        credits["held"],
        credits["held_for_refunds"],
        credits["refunded"],
    ) == ("0", "2", "2", "0")
    assert report_of(dishonest.cwd / "outputs/none/default")["credits"]["held_for_refunds"] == "2"
    assert reserved(dishonest) == 2
    again = dishonest("run", "none.yaml", *AT_ONCE)
    assert again.code == 4
    assert "2 held" in again.out
    assert reserved(dishonest) == 2


def test_the_persons_option_is_in_the_next_command_which_works(dishonest: Cli) -> None:
    ask(dishonest, "config", {"recent_entries": 0})
    dishonest.write("way-out", budget=ONE)
    stopped = dishonest("run", "way-out.yaml", *AT_ONCE)
    assert stopped.code == 4
    ask(dishonest, "config", {"faults": ""})
    commands = [
        line for line in (stopped.out + stopped.err).splitlines() if "crucible-batch run" in line
    ]
    (line,) = [line for line in commands if "--forget-refunds" in line]
    command = line[line.index("crucible-batch") :].partition("   ")[0] + " --forget-refunds"
    done = dishonest(*shlex.split(command)[1:])
    assert done.code == 0
    credits = dishonest("report", "outputs/way-out/default", "--json").envelope["data"]["credits"]
    assert (credits["spent"], credits["held"], credits["refunded"]) == ("2", "0", "0")
    assert reserved(dishonest) == 4
