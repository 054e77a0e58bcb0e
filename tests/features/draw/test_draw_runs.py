"""Runs of jobs that draw: what is bought, what a change buys, and what the report has."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

import crucible_batch as api
from crucible_batch.errors import ExitCode, StalePlanError

SHORT_JOBS = True
PEOPLE = '{name: person, prompt: "{{ hair }}, {{ pose }}", seed: 7, count: 12, draw: LISTS}'
LISTS = "{hair: hair.txt, pose: [p, q]}"


async def test_a_longer_list_buys_its_share_only(start: Any) -> None:
    async with start() as bench:
        hair = bench.path / "hair.txt"
        hair.write_text("black\nred\ngrey\n")
        manifest = bench.manifest(PEOPLE.replace("LISTS", LISTS))
        first = await bench.run(manifest)
        await bench.agree(first)
        assert first.exit_code is ExitCode.OK
        axes = [row.axes for row in first.jobs()]
        assert Counter(each["hair"] for each in axes) == {"black": 4, "red": 4, "grey": 4}
        assert Counter(each["pose"] for each in axes) == {"p": 6, "q": 6}
        hair.write_text("black\nred\ngrey\nwhite\n")
        second = await bench.run(manifest)
        assert second.exit_code is ExitCode.OK
        assert len((await bench.state())["jobs"]) == 15
        assert Counter(row.axes["hair"] for row in second.jobs())["white"] == 3


async def test_a_saved_plan_is_stale_once_a_list_has_changed(start: Any) -> None:
    async with start() as bench:
        hair = bench.path / "hair.txt"
        hair.write_text("black\nred\n")
        manifest = bench.manifest(PEOPLE.replace("LISTS", LISTS))
        saved, out = bench.path / "plan.json", bench.path / "out"
        await api.plan(manifest, save_to=saved, out_dir=out, settings=bench.settings)
        hair.write_text("black\nauburn\n")
        with pytest.raises(StalePlanError, match="person-"):
            await api.run(saved, settings=bench.settings)
        assert (await bench.state())["jobs"] == []
