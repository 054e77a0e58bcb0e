"""The commands that keep a run directory in order."""

from contextlib import closing

from PIL import Image

from tests.harness.commands import Cli
from tests.harness.screen import Screen


def test_assets_deletes_what_was_uploaded_and_says_what_came_back(cli: Cli) -> None:
    # Of a size that no other test draws: the gateway is shared, and an image that it has is only
    # found.
    Image.new("RGB", (61, 67), "olive").save(cli.cwd / "olive.png")
    cli.write("tidy", "- {name: fox, prompt: a fox, image: olive.png, workflow: qwen-edit}")
    assert cli("run", "tidy.yaml", "-q").code == 0
    run_dir = "outputs/tidy/default"
    nameless = cli("assets", "--delete")
    assert (nameless.code, "crucible-batch assets RUN_DIR --delete" in nameless.err) == (2, True)
    dry = cli("assets", run_dir, MOLTAZINE_API_KEY="")
    assert dry.code == 0
    assert "1 asset would be deleted; uploading cost 0.5 credits" in dry.out
    assert dry.out.rstrip().endswith(f"crucible-batch assets {run_dir} --delete --yes")
    done = cli("assets", run_dir, "--delete", "--yes")
    assert done.code == 0, done.err
    assert "1 asset deleted, 0.5 credits rebated" in done.out
    assert "olive.png" in done.out
    assert "less 0.5 in rebates" in cli("status", run_dir).out
    envelope = cli("assets", run_dir, "--delete", "--json").envelope
    assert (envelope["ok"], envelope["data"]["deleted"], envelope["data"]["rebates"]) == (
        True,
        0,
        "0",
    )


def _upload(cli: Cli, name: str, size: tuple[int, int]) -> str:
    """Run one job with an input image of a size of its own, and return the run directory."""
    Image.new("RGB", size, "olive").save(cli.cwd / f"{name}.png")
    cli.write(name, f"- {{name: fox, prompt: a fox, image: {name}.png, workflow: qwen-edit}}")
    assert cli("run", f"{name}.yaml", "-q").code == 0
    return f"outputs/{name}/default"


def test_assets_without_a_terminal_deletes_nothing_without_yes(cli: Cli) -> None:
    run_dir = _upload(cli, "unattended", (61, 71))
    refused = cli("assets", run_dir, "--delete")
    assert refused.code == 2
    assert "unattended.png" in refused.out
    assert "1 asset not deleted: without a terminal, --yes is required" in refused.err
    command = f"crucible-batch assets {run_dir} --delete --yes"
    assert command in refused.err
    envelope = cli("assets", run_dir, "--delete", "--json").envelope
    assert (envelope["exit_code"], envelope["data"]["deleted"]) == (2, 0)
    assert (envelope["error"]["code"], envelope["error"]["hint"]) == (
        "CONSENT_NEEDED",
        f"{command[:-6]} --json --yes",
    )
    assert "1 asset deleted, 0.5 credits rebated" in cli(*command.split()[1:]).out
    assert cli("assets", run_dir, "--delete").code == 0  # there is nothing left to confirm


def test_assets_on_a_terminal_asks_and_no_is_the_default(cli: Cli) -> None:
    run_dir = _upload(cli, "attended", (61, 73))
    for typed, code, seen in (("\n", 2, "nothing was deleted"), ("y\n", 0, "1 asset deleted")):
        with closing(Screen(cli, ["assets", run_dir, "--delete"], 100)) as screen:
            screen.read_until("Delete 1 asset at the gateway? [y/N]")
            screen.type(typed)
            assert screen.finish() == code
            assert seen in screen.text
