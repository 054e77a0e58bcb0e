"""A machine whose clock is wrong: after 2999, no time can be scheduled. It is the user's problem,
and not a bug.
"""

from __future__ import annotations

import json
import urllib.request
from subprocess import PIPE

import pytest

from tests.harness.commands import Cli, Done
from tests.harness.features import has_feature
from tests.harness.forked_commands import start_program

IN_YEAR = """
import datetime, sys, time

year, *words = sys.argv[1:]
sys.argv = ["crucible-batch", *words]
clock, real = time.time, datetime.datetime
then, now = (real(each, 6, 1, tzinfo=datetime.UTC) for each in (int(year), 2026))
shift_s = (then - now).total_seconds()


class Moved(real):
    @classmethod
    def now(cls, tz=None):
        return real.fromtimestamp(clock() + shift_s, tz)


datetime.datetime = Moved
time.time = lambda: clock() + shift_s
for name, module in list(sys.modules.items()):
    if name.startswith("crucible_batch") and getattr(module, "datetime", None) is real:
        module.datetime = Moved

from crucible_batch.cli import main

main()
"""
SCHEDULE = 'schedule: {cron: "15 3 * * *", catch_up: 3}\n' if has_feature("schedule") else ""
NIGHTLY = f'run_id: "{{{{ date }}}}"\n{SCHEDULE}'


def in_year(cli: Cli, year: int, *words: str) -> Done:
    """Run a command on a machine whose clock is in June of a year."""
    process = start_program(
        IN_YEAR, str(year), *words, cwd=cli.cwd, env=cli.environment, stdout=PIPE, stderr=PIPE
    )
    out, err = process.communicate(timeout=240)
    return Done(process.returncode or 0, out, err)


def jobs_bought(cli: Cli) -> int:
    with urllib.request.urlopen(f"{cli.url}/_sandbox/state") as answer:
        return len(json.load(answer)["jobs"])


@pytest.mark.parametrize("year", [3000, pytest.param(9990, marks=pytest.mark.slow)])
@pytest.mark.parametrize("command", ["run", "plan", "validate"])
def test_a_clock_after_2999_is_said_and_nothing_is_bought(
    cli: Cli, command: str, year: int
) -> None:
    before = jobs_bought(cli)
    done = in_year(cli, year, command, cli.write(f"late-{command}-{year}", head=NIGHTLY), "--json")
    assert done.code == 2, done.err
    assert done.envelope["error"]["code"] != "BUG"
    said = " ".join(
        done.err.split()
    )  # what validate finds in each manifest is only there and in its data
    assert "the clock of this machine" in said
    assert f"the year {year}" in said
    assert "2999" in said
    assert "hint" in said
    assert "Traceback" not in done.err
    assert not (cli.cwd / "outputs").exists()
    assert jobs_bought(cli) == before


@pytest.mark.parametrize("year", [1990, 2999])
def test_a_clock_that_is_wrong_and_in_range_prevents_nothing(cli: Cli, year: int) -> None:
    done = in_year(cli, year, "run", cli.write(f"wrong-{year}", head=NIGHTLY))
    assert done.code == 0, done.err
    assert [path.name[:4] for path in (cli.cwd / f"outputs/wrong-{year}").iterdir()] == [str(year)]
