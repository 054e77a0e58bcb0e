"""The ledger of another account is not compared with a run."""

from __future__ import annotations

import pytest

import crucible_batch as api
from crucible_batch.errors import RunDirectoryError
from tests.harness.stopped_runs import stop_at_answer
from tests.integration.engine.test_other_account import ACCOUNTS, ONE, OTHER, with_key

SHORT_JOBS = True


# See test_resume.py: connections that are cancelled while they are made.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


async def test_an_audit_refuses_another_key_as_a_run_does(start, tampered):
    async with start(accounts=ACCOUNTS) as bench:
        await stop_at_answer(bench, tampered, bench.manifest(ONE), "/generate")
        with pytest.raises(RunDirectoryError, match="can't be verified"):
            await api.check_ledger(bench.path / "out", settings=with_key(bench, OTHER))
