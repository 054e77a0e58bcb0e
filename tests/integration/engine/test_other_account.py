"""A run directory belongs to one account: another's key is refused before anything is bought a
second time.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from decimal import Decimal

import httpx
import pytest

from crucible_batch.errors import OtherAccountError, RunDirectoryError
from crucible_batch.settings import Settings
from tests.harness.stopped_runs import stop_at_answer

SHORT_JOBS = True

# See test_resume.py: connections that are cancelled while they are made.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

OURS, OTHER, RENEWED = "moltazine_sandbox", "moltazine_other", "moltazine_renewed"
ACCOUNTS = {OURS: Decimal(50), OTHER: Decimal(50)}
ONE = "{name: a, prompt: one}"
EDIT = "{name: e, prompt: edit, workflow: qwen-edit, image: a.png}"


def with_key(bench, key: str) -> Settings:
    return Settings(api_key=key, base_url=bench.running.api_url)


def renewing(tampered):
    """The same account by another key: what the gateway gets is the first one."""

    async def renew(request: httpx.Request, send):
        if RENEWED in request.headers.get("Authorization", ""):
            request.headers["Authorization"] = f"Bearer {OURS}"
        return await send()

    return tampered(renew)


async def test_another_accounts_key_is_refused_while_a_first_submit_is_in_doubt(start, tampered):
    async with start(accounts=ACCOUNTS) as bench:
        manifest = bench.manifest(ONE)
        await stop_at_answer(bench, tampered, manifest, "/generate")
        for _ in range(2):  # a refused key is not remembered
            with pytest.raises(RunDirectoryError, match="can't be verified") as caught:
                await bench.run(manifest, settings=with_key(bench, OTHER))
        assert "--same-account" in (caught.value.hint or "")
        assert len((await bench.state())["jobs"]) == 1
        result = await bench.run(manifest)
        await bench.agree(result)
    assert (result.exit_code, result.report.credits.spent) == (0, 2)


async def test_another_accounts_key_is_refused_while_a_first_upload_is_in_doubt(start, tampered):
    async with start(accounts=ACCOUNTS) as bench:
        bench.picture("a.png")
        manifest = bench.manifest(EDIT)
        await stop_at_answer(bench, tampered, manifest, "/assets")
        with pytest.raises(RunDirectoryError, match="can't be verified"):
            await bench.run(manifest, settings=with_key(bench, OTHER))
        assert len((await bench.state())["assets"]) == 1


@pytest.mark.parametrize("others", [{}, {"same_account": True}])
async def test_a_job_of_ours_that_a_key_does_not_find_makes_it_anothers_whatever_is_said(
    start, others
):
    async with start(accounts=ACCOUNTS) as bench:
        manifest = bench.manifest(ONE)
        await bench.run(manifest)
        with pytest.raises(OtherAccountError):
            await bench.run(manifest, settings=with_key(bench, OTHER), **others)


async def test_a_renewed_key_is_known_by_a_job_of_ours(start, tampered):
    async with start() as bench:
        await bench.run(bench.manifest(ONE))
        manifest = bench.manifest(f"{ONE}\n{{name: b, prompt: two}}")
        result = await bench.run(
            manifest, settings=with_key(bench, RENEWED), transport=renewing(tampered)
        )
        await bench.agree(result)
    assert result.exit_code == 0


async def test_a_renewed_key_is_known_by_an_image_of_ours_where_no_job_was_accepted(
    start, tampered
):
    async with start() as bench:
        bench.picture("a.png")
        manifest = bench.manifest(EDIT)
        await stop_at_answer(bench, tampered, manifest, "/generate")
        result = await bench.run(
            manifest, settings=with_key(bench, RENEWED), transport=renewing(tampered)
        )
        state = await bench.agree(result)
    assert (result.exit_code, len(state["jobs"]), len(state["assets"])) == (0, 1, 1)


async def test_a_renewed_key_without_proof_is_taken_on_request_and_known_from_then_on(
    start, tampered
):
    async with start() as bench:
        manifest = bench.manifest(ONE)
        await stop_at_answer(bench, tampered, manifest, "/generate")
        settings = with_key(bench, RENEWED)
        with pytest.raises(RunDirectoryError, match="can't be verified"):
            await bench.run(manifest, settings=settings, transport=renewing(tampered))
        result = await bench.run(
            manifest, settings=settings, transport=renewing(tampered), same_account=True
        )
        state = await bench.agree(result)
        again = await bench.run(manifest, settings=settings, transport=renewing(tampered))
    assert (result.exit_code, again.exit_code, len(state["jobs"])) == (0, 0, 1)


async def test_any_key_may_take_over_a_directory_for_which_nothing_was_sent(start):
    async with start(accounts={OURS: Decimal(1), OTHER: Decimal(50)}) as bench:
        manifest = bench.manifest(ONE)
        assert (await bench.run(manifest)).exit_code == 4
        result = await bench.run(manifest, settings=with_key(bench, OTHER))
    assert (result.exit_code, result.report.credits.spent) == (0, 2)


async def test_the_journal_holds_a_salted_fingerprint_and_never_the_key(start, tmp_path):
    def kept(directory: str) -> str:
        journal = bench.path / directory / ".crucible" / "journal.sqlite3"
        with closing(sqlite3.connect(journal)) as connection:
            (value,) = connection.execute("SELECT value FROM meta WHERE key = 'key'").fetchone()
        return str(value)

    async with start() as bench:
        manifest = bench.manifest(ONE)
        await bench.run(manifest)
        first = kept("out")
        await bench.run(manifest)
        await bench.run(manifest, out_dir=bench.path / "elsewhere")
        journal = (bench.path / "out" / ".crucible" / "journal.sqlite3").read_bytes()
    assert kept("out") == first != kept("elsewhere")
    assert OURS.encode() not in journal
