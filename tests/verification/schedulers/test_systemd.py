"""systemd itself reads the units: their times, their words, their rules."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import pytest

from crucible_batch.features.schedule.cron_fields import read_fields
from crucible_batch.features.schedule.export.systemd import on_calendar
from crucible_batch.scheduled_time import read_timezone, times_after
from tests.verification.schedulers.conftest import HOSTILE, needed

_NOBODY = 65534
_PATIENCE_S = 60
_SYSTEMD = "/usr/lib/systemd/systemd"
_ELAPSE = re.compile(
    r"(?:Next elapse|Iteration #\d+|\(in UTC\)): \w{3} (\d{4}-\d\d-\d\d \d\d:\d\d):00 UTC"
)


def _elapses(expression: str, begin: datetime, count: int) -> list[datetime]:
    words = [needed("systemd-analyze", "systemd"), "calendar", f"--iterations={count}"]
    words += [f"--base-time={begin:%Y-%m-%d %H:%M:%S} UTC", expression]
    environment = {**os.environ, "TZ": "UTC", "LC_ALL": "C"}
    done = subprocess.run(
        words, env=environment, capture_output=True, text=True, check=True, timeout=_PATIENCE_S
    )
    return [
        datetime.fromisoformat(text).replace(tzinfo=UTC) for text in _ELAPSE.findall(done.stdout)
    ]


EXPRESSIONS = (
    ("15 3 * * *", "UTC"),
    ("15 3 * * *", "Europe/Berlin"),
    ("59 1 * * *", "America/New_York"),  # the minute before... clocks change at 2
    ("0 9 * * mon-fri", "Europe/Berlin"),
    ("*/15 * * * *", "UTC"),
    ("0 0 1,15 * 5", "UTC"),
    ("0 0 13 * fri", "Europe/Berlin"),
    ("0 12 */10 * 1", "UTC"),
    ("30 4 * 2 *", "Asia/Kolkata"),
    ("0 0 29 2 *", "UTC"),
    ("1-30/7 3-23/5 10-20 3,11,12 *", "UTC"),
    ("0 8 * * sat,sun", "Australia/Sydney"),
    ("3 22 * * 7", "UTC"),
    ("0 0 31 * *", "UTC"),
    ("* * * * *", "UTC"),
    ("45 23 28-31 * 5-7", "Pacific/Auckland"),
)


@pytest.mark.parametrize(("expression", "zone"), EXPRESSIONS)
@pytest.mark.parametrize(
    "begin", [datetime(2026, 3, 20, 11, tzinfo=UTC), datetime(2026, 10, 20, tzinfo=UTC)]
)
def test_the_times_of_a_timer_are_those_of_the_schedule(
    expression: str, zone: str, begin: datetime
) -> None:
    calendars = on_calendar(read_fields(expression), zone)
    found = {time for calendar in calendars for time in _elapses(calendar, begin, 40)}
    last = min(max(_elapses(calendar, begin, 40)) for calendar in calendars)
    expected = list(islice(times_after(expression, read_timezone(zone), begin), 40))
    until = min(last, expected[-1])
    assert sorted(time for time in found if time <= until) == [
        time for time in expected if time <= until
    ]
    assert len(expected) == 40


def _loaded(units: Path, unit: str) -> str:
    """Return how systemd shows a unit that it has loaded. It refuses to be tested by root."""
    (units / "user").mkdir()
    (units / "runtime").mkdir()
    (units / "runtime").chmod(0o777)
    for each in units.glob("*.*"):
        text = re.sub(
            r"^User=.*\n", "", each.read_text(), flags=re.MULTILINE
        )  # of another user than the test's
        (units / "user" / each.name).write_text(text)
    environment = {
        "XDG_RUNTIME_DIR": str(units / "runtime"),
        "HOME": str(units),
        "SYSTEMD_UNIT_PATH": f"{units}/user:",
    }
    done = subprocess.run(
        [_SYSTEMD, "--user", "--test", f"--unit={unit}"],
        env=environment | {"LC_ALL": "C.UTF-8"},
        user=_NOBODY if os.geteuid() == 0 else None,
        capture_output=True,
        text=True,
        check=False,
        timeout=_PATIENCE_S,
    )
    found = re.search(
        rf"^\s*→ Unit {re.escape(unit)}:\n(.*?)(?=^\s*→ Unit |\Z)",
        done.stdout,
        re.DOTALL | re.MULTILINE,
    )
    assert found is not None, done.stderr
    return found[1]


@pytest.mark.parametrize("name", ["plain", *HOSTILE])
def test_a_service_starts_the_very_words(
    exported: Callable[..., Path], folder: Path, name: str
) -> None:
    written = exported("systemd", "--env-file", f"{name}.env", place=name, file=f"{name}.yaml")
    text = _loaded(written, "crucible-batch-nightly.service")
    words = shlex.split(re.findall(r"Command Line: (.*)", text)[0].replace("\\$", "$"))
    words = [word.replace("$$", "$") for word in words]  # expanded when it is started
    assert words[1:] == [
        "run", f"{folder / name / name}.yaml", "--if-running", "skip", "--deadline", "6h",
        "--env-file", f"{folder / name / name}.env", "--log-format", "text",
    ]  # fmt: skip
    assert re.findall(r"WorkingDirectory: (.*)", text) == [str(folder / name)]


def test_systemd_finds_no_fault_with_the_units(exported: Callable[..., Path]) -> None:
    written = exported("systemd", zone="Europe/Berlin")
    units = sorted(map(str, written.iterdir()))
    words = [needed("systemd-analyze", "systemd"), "verify", *units]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=_PATIENCE_S)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(units) == 2
