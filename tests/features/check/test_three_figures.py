"""An audit names the jobs for which the gateway has named two prices."""

from __future__ import annotations

from decimal import Decimal

import pytest

import crucible_batch as api
from crucible_batch.errors import ExitCode
from tests.integration.engine.test_three_figures import answering, recording, texts


@pytest.mark.parametrize(("credits", "where"), [(1, answering), (0.5, recording)])
async def test_an_audit_names_the_jobs_whose_answer_and_record_differ(
    start, tampered, credits, where
):
    price = Decimal(7) if where is answering else Decimal(2)
    async with start(prices={"zimage-base": price}) as bench:
        await bench.run(bench.manifest(texts(1)), transport=tampered(where(credits)))
        audited = await api.check_ledger(
            bench.path / "out", settings=bench.settings, clock=bench.clock.now
        )
    assert audited.exit_code is ExitCode.DIFFERENCE
    (finding,) = audited.audit.differences
    assert any("in the answer to its submit" in reason for reason in finding.reasons)


async def test_figures_that_agree_are_no_difference(start):
    async with start() as bench:
        await bench.run(bench.manifest(texts(3)))
        audited = await api.check_ledger(
            bench.path / "out", settings=bench.settings, clock=bench.clock.now
        )
    assert audited.exit_code is ExitCode.OK
