"""A sample is not divided into shards."""

from __future__ import annotations

from typing import Any

import pytest

import crucible_batch as api
from crucible_batch.errors import UserError
from tests.harness.commands import Cli

FOXES = '{name: "fox-{{ n }}", prompt: "fox {{ n }}", matrix: {n: [1, 2, 3]}}'


@pytest.mark.parametrize("options", [{"sample": 2}, {"first": 2}])
async def test_a_sample_is_not_divided(start: Any, options: dict[str, int]) -> None:
    async with start() as bench:
        manifest = bench.manifest(FOXES, head="")
        out = bench.path / "out"
        with pytest.raises(UserError, match=r"a run with --\w+ can't be divided"):
            await api.plan(
                manifest,
                shards=2,
                save_to=bench.path / "plan.json",
                settings=bench.settings,
                out_dir=out,
                **options,
            )
        assert not out.exists()


def test_a_sample_is_not_probed(cli: Cli) -> None:
    manifest = cli.write("probed", budget="{credits: 100, max_credits_per_job: 5}")
    done = cli("plan", manifest, "--shards", "2", "--probe", "--sample", "1", "-o", "p.json")
    assert done.code == 2
    assert "a run with --sample can't be divided" in done.err
    assert not (cli.cwd / "outputs").exists()
