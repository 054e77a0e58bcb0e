"""The budget of a period for a run that is divided into shards, from the command line and against a
real gateway."""

from __future__ import annotations

import json
import sqlite3
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.features.periods.test_period_command import shown
from tests.harness.commands import Cli, running_sandbox
from tests.harness.sandbox_audit import with_audit

EIGHT = "- {name: fox, prompt: a fox, repeat: 8}"
MAIN = "outputs/divided/default"


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def own_cli(tmp_path: Path) -> Iterator[Cli]:
    with running_sandbox("--time-scale", "0", "--credits", "1000") as url:
        yield Cli(tmp_path, url)


def write(cli: Cli, name: str, credits: int, jobs: str = EIGHT) -> str:
    budget = f"{{credits: {credits}, per: month, account: studio, max_credits_per_job: 3}}"
    return cli.write(name, jobs, budget=budget)


def divide(cli: Cli, credits: int = 40, *options: str) -> dict[str, Any]:
    write(cli, "divided", credits)
    done = cli("plan", "divided.yaml", "--shards", "2", "-o", "plan.json", "--json", *options)
    assert done.code == 0, done.err
    return dict(done.envelope["data"])


def run_shards(cli: Cli, *numbers: int) -> None:
    for number in numbers:
        done = cli("run", "plan.json", "--shard", f"{number}/2", "-q")
        assert done.code in {0, 4}, done.err


def figures(cli: Cli) -> tuple[str, str, str]:
    account = shown(cli, "studio")
    return account["spent"], account["set_aside"], account["left"]


def spent_at(cli: Cli) -> Decimal:
    with urllib.request.urlopen(f"{cli.url}/_sandbox/state") as answer:
        return Decimal(with_audit(json.load(answer, parse_float=Decimal))["audit"]["spent_on_jobs"])


def test_what_shards_may_spend_is_set_aside_and_settled_by_the_merge(own_cli: Cli) -> None:
    cli = own_cli
    other = write(cli, "other", 40, "- {name: owl, prompt: an owl, repeat: 6}")
    divide(cli)
    # Eight jobs of at most 3 credits. What is left of the month is for others.
    assert figures(cli) == ("0", "24", "16")
    (run,) = shown(cli, "studio")["runs"]  # type: ignore[misc]
    assert (run["open"], run["active"], run["shards"]) == (True, False, True)  # type: ignore[index]
    text = cli("budget", "show").out
    assert "24 set aside since" in text
    assert "for shards that are not merged yet" in text
    assert f"crucible-batch merge {cli.cwd / MAIN}" in text
    assert "budget release" not in text
    run_shards(cli, 1)
    assert figures(cli) == ("0", "24", "16")
    assert cli("run", other, "-q").code == 0
    assert figures(cli) == ("12", "24", "4")
    run_shards(cli, 2)
    merged = cli("merge", MAIN, "--json")
    assert merged.code == 0, merged.err
    assert figures(cli) == ("28", "0", "12")
    assert spent_at(cli) == 28
    period = merged.envelope["data"]["period"]
    assert (period["account"], period["spent"], period["set_aside"]) == ("studio", "28", "0")
    assert cli("merge", MAIN, "-q").code == 0
    assert figures(cli) == ("28", "0", "12")
    assert cli("run", "divided.yaml", "-q").code == 0
    assert figures(cli) == ("28", "0", "12")


def test_charges_of_shards_count_in_the_period_in_which_they_were_made(own_cli: Cli) -> None:
    """A shard that ran at the end of last month, by the times in its journal."""
    cli = own_cli
    divide(cli)
    run_shards(cli, 1, 2)
    (shard,) = cli.cwd.glob("state/**/1-of-2/.crucible/journal.sqlite3")
    with closing(sqlite3.connect(shard)) as connection, connection:
        connection.execute(
            "UPDATE events SET body = json_set(body, '$.at', json_extract(body, '$.at') - 40 *"
            " 86400)"
        )
        aged = dict(connection.execute("SELECT seq, body FROM events"))
    for entry in cli.cwd.glob("**/.crucible/shards/*/1-of-2/*.json"):
        content = json.loads(entry.read_text())
        del content["digest"]  # of the event as it was; that of the aged one is found by its rows
        for event in content["rows"]["events"]:
            event[3] = aged[event[0]]
        entry.write_text(json.dumps(content))
    (account,) = (cli.cwd / "state" / "crucible-batch" / "accounts").glob("*.sqlite3")
    with closing(sqlite3.connect(account)) as connection, connection:
        connection.execute("UPDATE shares SET since = since - 45 * 86400, first = '2026-01-01'")
    assert cli("merge", MAIN, "-q").code == 0
    assert figures(cli) == ("8", "0", "32")
    with closing(sqlite3.connect(account)) as connection:
        by_month = dict(connection.execute("SELECT first, credits FROM spent"))
    assert sorted(by_month.values(), key=Decimal)[-2:] == ["8", "8"]


def test_a_probe_within_a_period_uploads_the_images_of_all_jobs_that_the_period_has_credits_for(
    own_cli: Cli,
) -> None:
    cli = own_cli
    for number in range(4):
        Image.new("RGB", (8, 8), (number * 50, 1, 2)).save(cli.cwd / f"{number}.png")
    jobs = (
        '- {name: edit, prompt: p, workflow: qwen-edit, image: "{{ n }}.png",'
        " matrix: {n: [0, 1, 2, 3]}}"
    )
    maxima = "max_credits_per_job: 3, max_credits_per_upload: 1"
    cli.write("probed", jobs, budget=f"{{credits: 12, per: month, account: studio, {maxima}}}")
    done = cli("plan", "probed.yaml", "--shards", "2", "--probe", "-o", "plan.json", "--json")
    assert done.code == 0, done.err
    assert sum(shard["admitted"] for shard in done.envelope["data"]["division"]["shards"]) == 2
    # One job is bought with its image, and two more images are uploaded. The rest is set aside for
    # the shards.
    assert figures(cli) == ("4.5", "7.5", "0")
