"""Sidecars as a user of the command meets them, a kill between an output and its own included."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("options", [["--no-sidecars"], []])
def test_no_sidecars_is_a_switch(cli, options):
    head = "provenance: {sidecar: true}\n"
    manifest = cli.write("switch" + "-off" * len(options), head=head)
    assert cli("run", manifest, *options).code == 0
    found = [path.name for path in (cli.cwd / "outputs").rglob("*.png.json")]
    assert found == ([] if options else ["0.png.json"])
