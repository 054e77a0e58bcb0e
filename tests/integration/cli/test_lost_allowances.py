"""What a run has set aside is released by its journal only: a directory that can't be read may come back.

The ledger of the sandbox is the judge: a run that was stopped in the middle continues after the release.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Cli, running_sandbox

LIMIT = 24
TWELVE = "- {name: fox, prompt: a fox, repeat: 12}"
RUN = "outputs/first/default"


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Cli]:
    """The command, and a gateway of its own, whose ledger has nothing else. A job costs 2 credits."""
    with running_sandbox("--time-scale", "0", "--credits", "1000") as url:
        yield Cli(tmp_path, url)


def write(cli: Cli, name: str) -> str:
    return cli.write(name, TWELVE, budget=f"{{credits: {LIMIT}, per: month, account: studio}}")


def spent_at(url: str | None) -> Decimal:
    """Return what the account has spent or reserved, by the gateway's own ledger."""
    with urllib.request.urlopen(f"{url}/_sandbox/state") as answer:
        row = json.load(answer, parse_float=Decimal)["ledger"][-1]
    return Decimal(1000) - (row["balance_after"] - row["reserved_after"])


def used(cli: Cli) -> Decimal:
    (account,) = cli("budget", "show", "studio", "--json").envelope["data"]["accounts"]
    return Decimal(account["spent"]) + Decimal(account["set_aside"])


def accepted(cli: Cli) -> bool:
    file = cli.cwd / RUN / ".crucible/journal.sqlite3"
    if not file.exists():
        return False
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute("SELECT 1 FROM events WHERE type = 'Accepted'").fetchone() is not None
    except sqlite3.Error:
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@contextmanager
def in_the_middle(cli: Cli) -> Iterator[None]:
    """Stop a run after its first purchase for the duration of the block; then let it run to its end."""
    process = cli.start("run", write(cli, "first"), "-q", "-c", "1")
    try:
        wait_until(lambda: accepted(cli))
        os.kill(process.pid, signal.SIGSTOP)
        assert used(cli) == LIMIT
        assert spent_at(cli.url) < LIMIT, "the run had nothing left to buy when it was stopped"
        yield
        os.kill(process.pid, signal.SIGCONT)
        process.communicate(timeout=240)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0


@contextmanager
def renamed(path: Path) -> Iterator[Path]:
    aside = path.with_name(f"{path.name}-aside")
    path.rename(aside)
    try:
        yield aside
    finally:
        aside.rename(path)


def an_empty_one(path: Path) -> None:
    path.mkdir()


def a_file(path: Path) -> None:
    path.write_text("", encoding="utf-8")


def nothing(_path: Path) -> None:
    pass


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("what", "instead", "spent"),
    [
        (RUN, nothing, "0"),
        pytest.param(RUN, nothing, "23.5", marks=pytest.mark.slow),
        (RUN, an_empty_one, "0"),
        pytest.param(RUN, a_file, "0", marks=pytest.mark.slow),
        pytest.param("outputs", nothing, "0", marks=pytest.mark.slow),
        (f"{RUN}/.crucible", nothing, "0"),
    ],
)
def test_a_lower_spent_is_refused_while_the_directory_is_renamed_for_a_moment(
    own: Cli, what: str, instead: Callable[[Path], None], spent: str
) -> None:
    path = own.cwd / what
    with in_the_middle(own):
        with renamed(path):
            instead(path)
            done = own("budget", "release", "studio", RUN, "--spent", spent, "--json")
            remove(path)
        kept = used(own)
        second = own("run", write(own, "second"), "-q")
    assert spent_at(own.url) == LIMIT, "the first run buys all that it has set aside, and no other run anything"
    assert (kept, second.code) == (LIMIT, 4)
    assert done.code in {2, 6}, done.out  # 6 where the directory is there, and locked by the run
    assert done.envelope["error"]["message"]
    assert done.envelope["error"]["hint"]


def test_while_a_run_is_active_its_directory_is_not_released_though_it_was_renamed(own: Cli) -> None:
    with in_the_middle(own):
        with renamed(own.cwd / RUN):
            done = own("budget", "release", "studio", RUN, "--json")
        assert done.code == 6, done.err
        assert used(own) == LIMIT
        assert own("run", write(own, "second"), "-q").code == 4
    assert spent_at(own.url) == LIMIT
    assert used(own) == LIMIT
    assert own("run", "second.yaml", "-q").code == 4
    assert spent_at(own.url) == LIMIT


def test_a_copy_of_another_run_in_its_place_lowers_nothing(own: Cli) -> None:
    """The journal that is there for a moment is not that of the run, so the directory of the run can't be read."""
    other = own.write("other", "- {name: hen, prompt: a hen}", budget="{credits: 10}")
    assert own("run", other, "-q").code == 0
    bought = spent_at(own.url)
    with in_the_middle(own):
        path = own.cwd / RUN
        with renamed(path):
            shutil.copytree(own.cwd / "outputs/other/default", path)
            done = own("budget", "release", "studio", RUN, "--spent", "0", "--json")
            remove(path)
        own("run", write(own, "second"), "-q")
    assert spent_at(own.url) - bought == LIMIT
    assert done.code == 6, done.out


def test_a_copy_of_the_directory_of_an_active_run_in_its_place_releases_nothing(own: Cli) -> None:
    """Nobody holds the lock of the copy; the account knows that the run is active."""
    bought = spent_at(own.url)
    with in_the_middle(own):
        path = own.cwd / RUN
        shutil.copytree(path, own.cwd / "copy", ignore=shutil.ignore_patterns("control.sock"))
        with renamed(path):
            shutil.move(own.cwd / "copy", path)
            done = own("budget", "release", "studio", RUN, "--json")
            remove(path)
        own("run", write(own, "second"), "-q")
    assert spent_at(own.url) - bought == LIMIT
    assert done.code == 6, done.out


def test_a_run_that_was_killed_and_whose_directory_was_deleted_counts_with_all_it_had(own: Cli) -> None:
    process = own.start("run", write(own, "first"), "-q", "-c", "1")
    wait_until(lambda: accepted(own))
    process.kill()
    process.communicate()
    shutil.rmtree(own.cwd / "outputs")
    for spent in ("0", "23.5"):
        refused = own("budget", "release", "studio", RUN, "--spent", spent, "--json")
        assert refused.code == 2, refused.out
        assert "--spent" in refused.envelope["error"]["message"] + refused.envelope["error"]["hint"]
        assert used(own) == LIMIT
    assert own("budget", "release", "studio", RUN, "--spent", str(LIMIT)).code == 0
    (account,) = own("budget", "show", "studio", "--json").envelope["data"]["accounts"]
    assert (account["spent"], account["set_aside"], account["left"]) == (str(LIMIT), "0", "0")
