"""The audit of real runs at a real sandbox: honest books never differ from its ledger, and tampered
ones are found.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import crucible_batch as api
from crucible_batch.core.audit_claims import Verdict
from crucible_batch.errors import RunDirectoryError
from crucible_batch.features.check.auditing import AuditResult
from crucible_batch.settings import Settings


async def audited(bench: Any, run_dir: Path | None = None, **options: Any) -> AuditResult:
    options.setdefault("settings", bench.settings)
    return await api.check_ledger(run_dir or bench.path / "out", clock=bench.clock.now, **options)


def rewrite(
    run_dir: Path, kind: str, change: Callable[[dict[str, Any]], object], nth: int = 0
) -> None:
    """Tamper with the nth event of a kind in a journal."""
    with sqlite3.connect(run_dir / ".crucible/journal.sqlite3") as db:
        seq, body = db.execute(
            "SELECT seq, body FROM events WHERE type = ? ORDER BY seq", (kind,)
        ).fetchall()[nth]
        event = json.loads(body)
        change(event)
        db.execute("UPDATE events SET body = ? WHERE seq = ?", (json.dumps(event), seq))
    db.close()


PHOTOS = """
{name: fox, prompt: a fox, repeat: 3}
{name: cat, prompt: more, workflow: qwen-edit, image: cat.png}
{name: dog, prompt: more, workflow: qwen-edit, image: dog.png}
{name: bad, prompt: an nsfw fox}
"""


def with_photos(bench: Any) -> Path:
    bench.picture("cat.png", "navy")
    bench.picture("dog.png", "teal")
    return bench.manifest(PHOTOS)


async def test_a_run_with_failures_refunds_and_uploads_has_difference_0(start: Any) -> None:
    async with start(faults="fail=1", recent_entries=1000) as bench:
        await bench.run(with_photos(bench))
        result = await audited(bench)
    assert (result.ok, result.exit_code) == (True, 0)
    assert (result.manifest_name, result.run_id, result.running) == ("trial", "default", False)
    uploads = result.audit.uploads
    assert {each.verdict for each in (*result.audit.jobs, uploads)} == {Verdict.AGREES}
    assert len(result.audit.jobs) == 7
    assert (uploads.count, uploads.present, uploads.surplus) == (2, 2, 0)
    assert [entry.entry_type for entry in result.audit.unmatched] == ["grant"]


@pytest.mark.parametrize(
    "faults",
    [
        "asset-create.drop-after=1",
        "asset-create.500-before=1",
        "asset-create.html=2",
        "generate.drop-after=2",
        "upload.drop-after=9,asset-delete.drop-after=1",
        "upload.never-ready=1,asset-delete.drop-after=1",
        "job.500-before=3,credits.500-after=1",
    ],
)
async def test_lost_answers_make_no_difference(start: Any, faults: str) -> None:
    async with start(faults=faults, recent_entries=1000) as bench:
        await bench.run(with_photos(bench))
        result = await audited(bench)
        assert result.audit.differences == ()
        assert result.audit.count(Verdict.UNSEEN) == 0
        await bench.run(bench.path / "m.yaml")
        assert (await audited(bench)).ok


async def test_others_on_the_account_are_no_difference(start: Any) -> None:
    async with start(recent_entries=1000) as bench:
        await bench.run(with_photos(bench))
        await asyncio.sleep(10)  # clocks that differ by seconds can't tell the runs apart otherwise
        await bench.run(with_photos(bench), run_id="other", out_dir=bench.path / "other")
        here, there = await audited(bench), await audited(bench, bench.path / "other")
    assert here.ok
    assert there.ok
    # The second run found the images of the first, and bought none.
    assert (there.audit.uploads.verdict, there.audit.uploads.books.charged) == (Verdict.AGREES, 0)
    theirs = {each.gateway_id for each in there.audit.jobs}
    assert theirs <= {entry.job_id for entry in here.audit.unmatched}
    assert not theirs & {entry.job_id for entry in here.audit.at_our_time}


async def test_a_price_that_differs_is_found_with_its_job(start: Any) -> None:
    async with start(recent_entries=1000) as bench:
        await bench.run(with_photos(bench))
        rewrite(bench.path / "out", "Accepted", lambda event: event.update(credits="2.25"), nth=1)
        (difference,) = (await audited(bench)).audit.differences
    assert difference.name.startswith(("fox", "bad"))
    assert "not 2.25" in " ".join(difference.reasons)


async def test_a_run_that_is_in_progress_can_be_audited_at_any_moment(
    start: Any, watcher: Any
) -> None:
    """At each message of the run, what is in flight is said to move, and nothing differs."""
    told: asyncio.Queue[object] = asyncio.Queue()
    async with start(faults="fail:0.3", recent_entries=1000, runners=2) as bench:

        async def run() -> None:
            await bench.run(with_photos(bench), observer=watcher(told.put_nowait))
            told.put_nowait(None)

        moments = []
        async with asyncio.TaskGroup() as group:
            group.create_task(run())
            while await told.get() is not None:
                moments.append(await audited(bench))
    assert [moment.audit.differences for moment in moments if not moment.ok] == []
    assert any(moment.running and moment.audit.count(Verdict.MOVING) for moment in moments)


async def test_another_gateway_or_account_is_refused(start: Any) -> None:
    accounts = {"moltazine_sandbox": Decimal(100), "moltazine_other": Decimal(100)}
    async with start(accounts=accounts) as bench:
        await bench.run(bench.manifest("{name: fox, prompt: a fox}"))
        for settings in (
            Settings(api_key="moltazine_other", base_url=bench.running.api_url),
            Settings(api_key=bench.running.api_key, base_url="http://127.0.0.1:9"),
        ):
            with pytest.raises(RunDirectoryError, match="belongs to"):
                await audited(bench, settings=settings)


async def test_an_audit_leaves_the_gateway_and_the_journal_as_they_are(start: Any) -> None:
    async with start(faults="fail=1") as bench:
        await bench.run(with_photos(bench))
        journal, state = (
            (bench.path / "out/.crucible/journal.sqlite3").read_bytes(),
            await bench.state(),
        )
        await audited(bench)
        assert (await bench.state())["ledger"] == state["ledger"]
        assert (bench.path / "out/.crucible/journal.sqlite3").read_bytes() == journal
        assert not (bench.path / "out/.crucible/journal.sqlite3-wal").exists()


def many(bench: Any) -> Path:
    return bench.manifest(
        "{name: fox, prompt: a fox, repeat: 30}\n{name: bad, prompt: an nsfw fox}"
    )


@pytest.mark.parametrize("shown_later", [0, 1, 4])
async def test_a_run_is_reconciled_when_the_ledger_shows_newer_entries_only(
    start: Any, shown_later: int
) -> None:
    """Each purchase was listed while the run read the ledger; later the list has none of it, or its
    last rows."""
    async with start(faults="fail=1", recent_entries=50, runners=2) as bench:
        result = await bench.run(many(bench), concurrency=4)
        attempts = [attempt for row in result.jobs() for attempt in row.attempts]
        await bench.configure(recent_entries=shown_later, advance_s=3600)
        found = await audited(bench)
    assert found.ok
    assert len(attempts) == len(found.audit.jobs) == 32
    assert {each.verdict for each in found.audit.jobs} == {Verdict.AGREES}
