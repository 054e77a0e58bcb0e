"""Rejections in a run that was divided: its manifest buys them again, after the merge."""

from __future__ import annotations

import json

from tests.harness.commands import Cli

JOBS = "- {name: hero, prompt: a heron, repeat: 4, params: {size.width: 64, size.height: 64}}"


def test_what_is_rejected_after_the_merge_is_bought_again_by_the_manifest(cli: Cli) -> None:
    manifest = cli.write("divided", JOBS, budget="{credits: 40, max_credits_per_job: 4}")
    run_dir = "outputs/divided/default"
    assert cli("plan", manifest, "--shards", "2", "-o", "plan.json", "-q").code == 0
    given = cli("run", "plan.json", "--shard", "1/2", "--rejects", "rejects.txt")
    assert (given.code, "--rejects can't be used for a shard" in given.err) == (2, True)
    for shard in ("1/2", "2/2"):
        assert cli("run", "plan.json", "--shard", shard, "-q").code == 0
    merged = cli("merge", run_dir)
    assert merged.code == 0, merged.err
    assert cli("reject", run_dir, "hero-2").code == 0
    refused = cli("plan", manifest, "--shards", "2", "-o", "again.json")
    assert (refused.code, "a plan with rejections can't be saved" in refused.err) == (2, True)
    assert not (cli.cwd / "again.json").exists()
    done = cli("run", manifest, "--json")
    assert done.code == 0, done.err
    report = json.loads((cli.cwd / run_dir / "report.json").read_text())
    assert [job["generation"] for job in report["jobs"]] == [0, 1, 0, 0]
    assert done.envelope["data"]["takes"] == 1
    again = cli("run", manifest, "--json")
    assert again.envelope["data"]["credits"] == done.envelope["data"]["credits"]
