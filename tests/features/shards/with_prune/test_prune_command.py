"""``prune`` of the run directories of shards."""

from tests.harness.commands import Cli


def test_prune_keeps_what_is_not_merged(cli: Cli) -> None:
    cli.write(
        "kept",
        "- {name: fox, prompt: a fox, repeat: 12}",
        budget="{credits: 60, max_credits_per_job: 4}",
    )
    assert cli("run", "kept.yaml", "--only", "fox-1", "--no-html", "-q").code == 0
    assert cli("plan", "kept.yaml", "--shards", "3", "-o", "plan.json", "-q").code == 0
    assert cli("run", "plan.json", "--shard", "1/3", "--no-html", "-q").code == 0
    newer = cli("run", "kept.yaml", "--run-id", "newer", "--only", "fox-1", "--no-html", "-q")
    assert newer.code == 0
    (shard,) = cli.cwd.glob("state/crucible-batch/runs/*/shards/*/1-of-3")
    own = shard.relative_to(cli.cwd)  # its outputs are in the main run directory
    for directory, run_dir, why in (
        ("outputs", "outputs/kept/default", "shards"),
        (str(own.parents[1]), str(own), "unreadable"),
    ):
        done = cli("prune", directory, "--keep", "1", "--yes", "--json")
        kept = {run["run_dir"]: run["keep"] for run in done.envelope["data"]["runs"]}
        assert kept[run_dir] == why, done.out
