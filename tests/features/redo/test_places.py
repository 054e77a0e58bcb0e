"""The outputs that count at their planned paths, whatever step of a move a run was killed at."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import crucible_batch as api
from crucible_batch.features.redo.rejecting import reject
from crucible_batch.journal import Journal
from crucible_batch.outputs import OutputStore, Sidecars
from crucible_batch.runs.run_journal import local_directory
from tests.harness.object_store import URL

SHORT_JOBS = True

# See test_resume.py: connections that are cancelled while they are made.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

HERO = '{name: hero, prompt: "heron"}'
REJECTS = "rejects: rejects.txt\n"


class Step:
    """Ends a run before its n-th step of a move."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                raise asyncio.CancelledError
            return function(*args, **named)

        return counted


def files(run_dir: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run_dir)): path.read_bytes() for path in run_dir.rglob("*.png")}


@pytest.mark.parametrize("where", [{}, {"out_dir": URL}], ids=["directory", "store"])
async def test_a_move_that_the_journal_lacks_is_found(
    start: Any, store: Any, where: dict[str, str]
) -> None:
    """Another machine has moved the output, and was killed before the log had that."""
    async with start() as bench:
        manifest = bench.manifest(HERO, head=REJECTS)
        first = await bench.run(manifest, **where)
        (good,) = row_of(first).outputs
        place = where.get("out_dir", first.run_dir)
        reject(place, ["hero"])
        await bench.run(manifest, **where)
        database = local_directory(place) / ".crucible" / "journal.sqlite3"
        with closing(sqlite3.connect(database)) as connection, connection:
            assert connection.execute("DELETE FROM events WHERE type = 'Relocated'").rowcount == 1
        again = await bench.run(manifest, **where)
        (output,), (take,) = row_of(again).outputs, row_of(again).takes
        assert (output.path.name, take.path.name) == ("0.png", f"0.{good.sha256[:8]}.png")
        reject(place, ["hero"], remove=True)
        undone = await bench.run(manifest, **where)
        (output,) = row_of(undone).outputs
        assert (undone.ok, output.path.name, output.sha256) == (True, "0.png", good.sha256)
        content = store.content.get("hero/0.png") or output.path.read_bytes()
        assert hashlib.sha256(content).hexdigest() == good.sha256


def row_of(result: api.RunResult) -> Any:
    (row,) = result.jobs()
    return row


async def test_a_move_that_was_interrupted_is_finished(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(HERO, head=REJECTS)
        first = await bench.run(manifest)
        run_dir, good = first.run_dir, files(first.run_dir)["hero/0.png"]
        reject(run_dir, ["hero"])
        await bench.run(manifest)
        reject(run_dir, ["hero"], remove=True)
        wanted = None
        for n in itertools.count():
            with pytest.MonkeyPatch.context() as patch:
                step = Step(n)
                for owner, name in (
                    (OutputStore, "add_name"),
                    (OutputStore, "remove_name"),
                    (Journal, "append"),
                    (Sidecars, "move"),
                ):
                    patch.setattr(owner, name, step(getattr(owner, name)))
                with contextlib.suppress(asyncio.CancelledError):
                    await bench.run(manifest)
            result = await bench.run(manifest)
            assert result.ok, n
            (row,) = result.jobs()
            (output,), (take,) = row.outputs, row.takes
            assert (output.path, output.path.read_bytes()) == (run_dir / "hero/0.png", good), n
            assert take.path.read_bytes() != good
            found = files(run_dir)
            wanted = wanted or found
            assert found == wanted, n
            await bench.verify()
            if step.left >= 0:
                break
            # The other way around, so that the next run has to move them again.
            reject(run_dir, ["hero"])
            await bench.run(manifest)
            reject(run_dir, ["hero"], remove=True)
        assert n >= 8
        assert len((await bench.state())["jobs"]) == 2


async def test_a_file_of_the_user_at_the_path_stays(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(HERO, head=REJECTS)
        first = await bench.run(manifest)
        good = files(first.run_dir)["hero/0.png"]
        reject(first.run_dir, ["hero"])
        await bench.run(manifest)
        home = first.run_dir / "hero/0.png"
        home.write_bytes(b"edited")
        reject(first.run_dir, ["hero"], remove=True)
        result = await bench.run(manifest)
        (row,) = result.jobs()
        assert home.read_bytes() == b"edited"
        assert row.outputs[0].path.read_bytes() == good


@pytest.mark.parametrize("has_receipts", [True, False])
async def test_a_retake_at_its_path_is_not_in_the_way_of_what_it_replaces(
    start: Any, *, has_receipts: bool
) -> None:
    """The rejected file was deleted, and then the journal was lost."""
    async with start() as bench:
        manifest = bench.manifest(HERO, head=REJECTS)
        first = await bench.run(manifest)
        reject(first.run_dir, ["hero"])
        second = await bench.run(manifest)
        spent = second.report.credits.spent
        before = files(second.run_dir)
        (aside,) = before.keys() - {"hero/0.png"}
        (second.run_dir / aside).unlink()
        shutil.rmtree(second.run_dir / ".crucible")
        if not has_receipts:
            (second.run_dir / "receipts.jsonl").unlink()
        result = await bench.run(manifest)
        assert result.ok, result.report.stops
        assert result.report.credits.spent == spent
        assert len((await bench.state())["jobs"]) == 2
        assert files(result.run_dir)["hero/0.png"] == before["hero/0.png"]
        (row,) = result.jobs()
        assert (row.generation, [take.generation for take in row.takes]) == (1, [0])
        await bench.agree(result)
