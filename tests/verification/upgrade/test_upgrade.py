"""What an earlier program left behind is continued: all is found, and nothing is paid again."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ALL = "{credits: 40, max_credits_per_job: 6, max_credits_per_upload: 1}"
JOBS = 5


def counts(user: Any, place: str) -> Any:
    """Return the counts of a report, and what it calls spent."""
    report = json.loads((user.folder / place / "report.json").read_text(encoding="utf-8"))
    return report["counts"], Decimal(report["credits"]["spent"])


def outputs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*.png") if path.is_file()}


def test_the_earlier_program_is_another_one(user: Any) -> None:
    assert "judge" not in user.help_of("sandbox", before=True)
    assert "judge" in user.help_of("sandbox", before=False)


def test_a_run_that_ended_has_nothing_left_to_do(user: Any) -> None:
    manifest = user.write("ended", ALL)
    user.before("run", manifest)
    spent, pictures = user.gone(), outputs(user.folder / "outputs")
    then = counts(user, "outputs/ended/default")
    user.now("run", manifest)
    assert counts(user, "outputs/ended/default") == then
    assert (user.gone(), outputs(user.folder / "outputs")) == (spent, pictures)
    user.now("check", "outputs/ended/default")
    assert user.now("status", "outputs/ended/default")["counts"]["succeeded"] == JOBS


@pytest.mark.parametrize("accepted", [1, 3])
def test_a_run_that_was_killed_is_finished(user: Any, accepted: int) -> None:
    manifest = user.write("killed", ALL)
    user.before_killed(accepted, "run", manifest)
    user.now("run", manifest)
    found, spent = counts(user, "outputs/killed/default")
    assert (found["succeeded"], spent) == (JOBS, user.gone())
    assert len(user.state()["jobs"]) == JOBS
    user.now("check", "outputs/killed/default")


def test_a_lost_journal_is_restored_from_earlier_receipts(user: Any) -> None:
    manifest = user.write("lost", ALL)
    user.before("run", manifest)
    spent = user.gone()
    hidden = user.folder / "outputs" / "lost" / "default" / ".crucible"
    for journal in hidden.glob("journal.sqlite3*"):
        journal.unlink()
    user.now("run", manifest)
    assert user.gone() == spent
    user.now("check", "outputs/lost/default")


def test_a_saved_plan_is_run(user: Any) -> None:
    manifest = user.write("planned", ALL)
    user.before("plan", manifest, "-o", "plan.json")
    user.now("run", "plan.json")
    assert counts(user, "outputs/planned/default")[0]["succeeded"] == JOBS
    spent = user.gone()
    user.before("plan", manifest, "-o", "again.json")
    user.now("run", "again.json")
    assert user.gone() == spent


@pytest.mark.parametrize("place", ["outputs/shards/default", "file://{folder}/shared"])
def test_the_second_shard_is_run_and_both_are_merged(user: Any, place: str) -> None:
    where = place.format(folder=user.folder)
    manifest = user.write("shards", ALL)
    user.before("plan", manifest, "--out-dir", where, "--shards", "2", "--probe", "-o", "plan.json")
    user.before("run", "plan.json", "--shard", "1/2")
    user.now("run", "plan.json", "--shard", "2/2")
    user.now("merge", where)
    user.now("run", manifest, "--out-dir", where)
    assert len(user.state()["jobs"]) == JOBS
    user.now("check", where)


def test_a_run_at_a_url_is_continued_on_another_machine(user: Any) -> None:
    manifest, where = user.write("stored", ALL), f"file://{user.folder}/shared"
    user.before_killed(2, "run", manifest, "--out-dir", where)
    (user.folder / "state").rename(user.folder / "state-of-another-machine")
    user.now("run", manifest, "--out-dir", where)
    assert len(user.state()["jobs"]) == JOBS
    user.now("check", where)


def test_the_budget_of_a_period_counts_what_was_spent_before(user: Any) -> None:
    period = "{credits: 20, per: month, account: studio, max_credits_per_job: 6}"
    first, second = user.write("first", period), user.write("second", period)
    user.before("run", first)
    spent = user.gone()
    user.now("run", second, expect=4)
    assert spent < user.gone() <= 20
    shown = user.now("budget", "show")
    assert str(user.gone()) in json.dumps(shown)


def test_what_was_rejected_before_is_bought_again_once(user: Any) -> None:
    manifest = user.write("redo", ALL)
    user.before("run", manifest)
    user.before("reject", "outputs/redo/default", "plain-1")
    user.now("run", manifest)
    assert len(user.state()["jobs"]) == JOBS + 1
    user.now("run", manifest)
    assert len(user.state()["jobs"]) == JOBS + 1
    user.now("check", "outputs/redo/default")


def test_a_later_stage_is_bought_for_earlier_sources(user: Any) -> None:
    stage = "  - {name: 'large-{{ source.name }}', from: 'plain-*', workflow: upscale-2x}\n"
    manifest = user.write("stages", ALL)
    user.before("run", manifest)
    user.write("stages", ALL, more=stage)
    user.now("run", manifest)
    assert len(user.state()["jobs"]) == JOBS + 4
