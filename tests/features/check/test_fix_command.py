"""``check --fix`` brings back what is missing or damaged."""

from tests.harness.commands import Cli


def test_outputs_are_checked_without_a_key_and_fix_brings_back_what_is_missing(
    cli: Cli, lonely_cli: Cli
) -> None:
    cli.write("kept", "- {name: fox, prompt: a fox, repeat: 3}")
    assert cli("run", "kept.yaml", "-q").code == 0
    run_dir = "outputs/kept/default"
    check = ("check", run_dir, "--outputs")
    done = lonely_cli(*check)
    assert (done.code, done.err) == (0, "")
    assert "3 of 3 outputs match their recorded SHA-256" in done.out
    (cli.cwd / run_dir / "fox-1/0.png").unlink()
    (cli.cwd / run_dir / "fox-2/0.png").write_text("edited")
    found = lonely_cli(*check)
    assert found.code == 7
    assert "missing    fox-1/0.png" in found.out
    assert "damaged    fox-2/0.png" in found.out
    assert f"crucible-batch check {run_dir} --fix" in found.out
    fixed = cli("check", run_dir, "--fix")
    assert fixed.code == 0, fixed.out
    assert "1 of 3 outputs match their recorded SHA-256, 2 fixed" in fixed.out
    assert "kept as fox-2/0.png.damaged-" in fixed.out
    assert lonely_cli(*check, "-q").code == 0


def test_a_storage_host_can_be_named_for_what_is_fetched_again(cli: Cli) -> None:
    cli.write("hosts")
    assert cli("run", "hosts.yaml", "--storage-host", "a.corp").code == 0
    assert cli("check", "outputs/hosts/default", "--fix", "--storage-host", "a.corp").code == 0
