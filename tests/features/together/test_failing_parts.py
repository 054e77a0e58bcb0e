"""A part of a run that fails, at each of its moments: what was bought is accounted for, and what
was not is returned.

The part begins last, and so is left first: everything else of the run has to close beside its
error.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.core.credits import ZERO
from crucible_batch.errors import ExitCode, RunDirectoryError
from crucible_batch.features.agents.spend_cap import SpendCap
from crucible_batch.features.periods.budgets import budget_states
from crucible_batch.features.registry import kind_of
from crucible_batch.journal import is_locked
from crucible_batch.runs.parts import RunPart
from crucible_batch.runs.request import RunRequest
from crucible_batch.runs.running import run_request
from crucible_batch.settings import Settings
from tests.harness.failing_part import (
    MOMENTS,
    NOT_IN_EACH_RUN,
    NOT_REPORTED,
    NOTHING_BOUGHT,
    NOTHING_CREATED,
    FailingPart,
)

SHORT_JOBS = True

PER_JOB, JOBS = 2, 3
DAY_S = 86_400.0


@pytest.mark.parametrize(
    "error", [RunDirectoryError("refused"), RuntimeError("a bug")], ids=["refused", "bug"]
)
@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_part_that_fails_leaves_credits_lock_and_report_as_promised(
    start: Any, moment: str, error: Exception
) -> None:
    async with start() as bench:
        at_noon(bench)
        manifest, out = write(bench), bench.path / "out"
        settings = replace(bench.settings, accounts_directory=bench.path / "accounts")
        cap = SpendCap(Decimal(20))
        request = RunRequest(manifest, out_dir=out, budget=Decimal(10), html=False)

        with pytest.raises(type(error), match=str(error)):
            await run_request(
                request,
                lambda request: kind_of(request, FailingPart(moment, error), cap=cap),
                settings=settings,
                clock=bench.clock,
            )
        bought = 0 if moment in NOTHING_BOUGHT else JOBS * PER_JOB
        state = await bench.state()
        assert state["requests"].get("generate", 0) * PER_JOB == bought
        assert (cap.allowance.spent, cap.allowance.set_aside) == (bought, 0)
        assert credits_of_the_day(bench, settings) == (bought, 0)
        assert not is_locked(out)
        assert out.exists() is (moment not in NOTHING_CREATED)
        assert (out / "report.json").exists() is (moment not in NOT_REPORTED)

        again = await bench.run(manifest, out_dir=out, budget=10, settings=settings)
        assert again.ok
        assert (await bench.agree(again))["requests"]["generate"] == JOBS
        assert credits_of_the_day(bench, settings) == (JOBS * PER_JOB, 0)


@pytest.mark.parametrize(
    "error", [RunDirectoryError("refused"), RuntimeError("a bug")], ids=["refused", "bug"]
)
async def test_a_part_that_fails_to_free_a_path_fails_only_that_output(
    start: Any, error: Exception
) -> None:
    async with start() as bench:
        at_noon(bench)
        manifest, out = write(bench), bench.path / "out"
        settings = replace(bench.settings, accounts_directory=bench.path / "accounts")
        request = RunRequest(manifest, out_dir=out, budget=Decimal(10), html=False)
        taken = out / "a-1/0.png"
        taken.parent.mkdir(parents=True)
        taken.write_bytes(b"mine")
        result = await run_request(
            request,
            lambda request: kind_of(request, FailingPart("freed", error)),
            settings=settings,
            clock=bench.clock,
        )
        failed = [row.error.code for row in result.jobs() if row.error is not None]
        assert (failed, result.exit_code) == (["OUTPUT_EXISTS"], ExitCode.SOME_FAILED)
        assert credits_of_the_day(bench, settings) == (JOBS * PER_JOB, 0)
        assert not is_locked(out)
        assert taken.read_bytes() == b"mine"

        taken.unlink()
        again = await bench.run(manifest, out_dir=out, budget=10, settings=settings)
        assert again.ok
        assert (await bench.agree(again))["requests"]["generate"] == JOBS


def at_noon(bench: Any) -> None:
    bench.clock._wall += DAY_S / 2 - bench.clock.now() % DAY_S


def write(bench: Any) -> Path:
    manifest: Path = bench.manifest(
        f'{{name: a, prompt: "{{{{ repeat }}}}", repeat: {JOBS}}}',
        budget=None,
        head="budget: {credits: 20, per: day, account: studio}\n",
    )
    return manifest


def credits_of_the_day(bench: Any, settings: Settings) -> tuple[Decimal, Decimal]:
    """Return what the account's period has of the runs: spent, and set aside."""
    shares = [each.shares for each in budget_states(settings, now=bench.clock.now())]
    return sum((each.spent for each in shares), ZERO), sum(
        (each.set_aside for each in shares), ZERO
    )


def test_each_moment_of_a_part_fails_here() -> None:
    moments = {name for name in vars(RunPart) if not name.startswith("_")}
    assert moments == {moment.removeprefix("left ") for moment in (*MOMENTS, *NOT_IN_EACH_RUN)}
