"""Rejected outputs under the budget of a period: the next generation counts in it as any job."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import Any

import pytest

from crucible_batch.features.redo.rejecting import reject

SHORT_JOBS = True

# See test_resume.py: connections that are cancelled while they are made.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

HEROES = '{name: hero, prompt: "heron {{ repeat }}", repeat: 3}'
HEAD = "budget: {credits: 8, per: day, account: studio}\nrejects: rejects.txt\n"


async def test_the_limit_of_the_period_holds_for_generations_too(start: Any) -> None:
    async with start() as bench:
        bench.clock._wall += 43_200 - bench.clock.now() % 86_400
        settings = replace(bench.settings, accounts_directory=bench.path / "accounts")
        manifest = bench.manifest(HEROES, budget=None, head=HEAD)

        async def run() -> Any:
            return await bench.run(manifest, settings=settings)

        first = await run()
        assert first.ok
        reject(first.run_dir, ["hero-1"])
        second = await run()
        await bench.agree(second)
        assert (second.ok, second.report.credits.spent) == (True, 8)
        reject(first.run_dir, ["hero-2"])
        short = await run()
        assert (short.exit_code, short.report.credits.spent) == (4, 8)
        assert len((await bench.state())["jobs"]) == 4
        bench.clock._wall += 86_400
        third = await run()
        await bench.agree(third)
        assert (third.ok, third.report.credits.spent) == (True, 10)
        # After a loss, all that is found again counts in this period: nothing is bought.
        shutil.rmtree(first.run_dir)
        found = await run()
        assert (found.exit_code, len((await bench.state())["jobs"])) == (4, 5)
