"""What the shards of a divided run have spent, before and after they are merged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.harness.commands import Cli, check_stream

HEAD = "tags: [spring]\n"
JOBS = "- {name: fox, prompt: a fox, repeat: 4}"


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def spending(cli: Cli, by: str) -> dict[str, Any]:
    return dict(check_stream(cli("spend", "--by", by, "--json"), "spend")["data"])


def test_shards_count_once_they_are_merged_and_have_the_tags_of_their_manifest(cli: Cli) -> None:
    budget = "{credits: 50, max_credits_per_job: 5}"
    manifest = cli.write("divided-spend", JOBS, budget=budget, head=HEAD)
    assert cli("plan", manifest, "--shards", "2", "-o", "plan.json").code == 0
    for shard in ("1/2", "2/2"):
        assert cli("run", "plan.json", "--shard", shard, "-q", "--no-html").code == 0
    before = spending(cli, "month")
    assert [each["total"]["credits"] for each in before["gateways"]] == ["0"]
    (remark,) = before["remarks"]
    assert "counts once they are merged" in remark["reason"]
    assert before["complete"] is False
    assert cli("merge", "outputs/divided-spend/default", "--no-html").code == 0
    after = spending(cli, "tag")
    (gateway,) = after["gateways"]
    assert [(each["key"], each["credits"]) for each in gateway["sums"]] == [("spring", "8")]
    assert (after["remarks"], after["complete"]) == ([], True)
    report = cli("report", "outputs/divided-spend/default", "--json").envelope["data"]
    assert report["credits"]["spent"] == gateway["total"]["credits"]
