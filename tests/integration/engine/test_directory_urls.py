"""A run at ``file:///shared/winter``: a directory in place of an object store.

What differs from one is that it may not be mounted, and may be given by its path as well.
"""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import crucible_batch as api
from crucible_batch.errors import ObjectStoreError, RunDirectoryError, UserError
from crucible_batch.journal import Journal

HAS_PAGES = True
SHORT_JOBS = True
TWO = "{name: a, prompt: a}\n{name: b, prompt: b}"


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that all machines see. This one's state directory is ``state``."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = tmp_path / "shared"
    folder.mkdir()
    return folder


async def bought(bench: Any) -> int:
    jobs = (await bench.state())["jobs"]
    assert set(Counter(job["idempotency_key"] for job in jobs).values()) <= {1}
    return len(jobs)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


async def test_outputs_and_reports_are_in_the_directory_and_no_database_is(
    start: Any, shared: Path
) -> None:
    async with start() as bench:
        url = f"file://{shared}"
        result = await bench.run(bench.manifest(TWO), out_dir=url)
        await bench.agree(result)
        assert (result.exit_code, result.outputs_at) == (0, url)
        assert result.run_dir.is_relative_to(bench.path / "state")
        found = files(shared)
        assert {"a/0.png", "b/0.png", "report.json", "report.html", "receipts.jsonl"} <= found
        assert {"/".join(name.split("/")[:2]) for name in found if name[0] == "."} == {
            ".crucible/log", ".crucible/run.json",
        }  # fmt: skip
        assert "a/0.png" in (shared / "report.html").read_text()
        assert api.read_status(url).location == url


async def test_a_lost_state_directory_buys_nothing_twice(start: Any, shared: Path) -> None:
    async with start() as bench:
        url, manifest = f"file://{shared}", bench.manifest(TWO, budget=4)
        await bench.run(manifest, out_dir=url)
        shutil.rmtree(bench.path / "state")
        again = await bench.run(manifest, out_dir=url)
        assert (again.exit_code, again.report.credits.spent, await bought(bench)) == (0, 4, 2)


async def test_a_link_to_the_directory_is_the_same_run(start: Any, shared: Path) -> None:
    async with start() as bench:
        (bench.path / "link").symlink_to(shared)
        manifest, saved = bench.manifest(TWO), bench.path / "p.json"
        first = await bench.run(manifest, out_dir=f"file://{shared}")
        again = await bench.run(manifest, out_dir=f"file://{bench.path}/link")
        assert (again.run_dir, await bought(bench)) == (first.run_dir, 2)
        await api.plan(
            manifest, out_dir=f"file://{shared}/", save_to=saved, settings=bench.settings
        )
        assert (await bench.run(saved, out_dir=f"file://{shared}")).exit_code == 0
        with pytest.raises(UserError, match=f"was made with: --out-dir file://{shared}"):
            await bench.run(saved, out_dir=shared)


async def test_a_directory_that_is_not_mounted_is_refused_and_not_made(
    start: Any, shared: Path
) -> None:
    async with start() as bench:
        url, manifest = f"file://{shared}/winter", bench.manifest(TWO)
        (shared / "winter").mkdir()
        await bench.run(manifest, out_dir=url)
        (shared / "winter").rename(bench.path / "unmounted")
        for machine in ("state", "other"):
            if machine == "other":
                shutil.rmtree(bench.path / "state")
            with pytest.raises(ObjectStoreError, match="there is no directory") as caught:
                await bench.run(manifest, out_dir=url)
            assert caught.value.exit_code == 2
        assert list(shared.iterdir()) == []
        assert await bought(bench) == 2


async def test_a_host_is_refused(start: Any, shared: Path) -> None:
    """The directory of which it would be the first folder exists."""
    async with start() as bench:
        with pytest.raises(UserError, match="has no absolute path"):
            await bench.run(bench.manifest(TWO), out_dir=f"file:/{shared}")
        assert (list(shared.iterdir()), await bought(bench)) == ([], 0)


async def test_an_empty_directory_is_not_taken_for_the_one_of_the_run(
    start: Any, shared: Path
) -> None:
    async with start() as bench:
        url, manifest = f"file://{shared}", bench.manifest(TWO)
        await bench.run(manifest, out_dir=url)
        shared.rename(bench.path / "unmounted")
        shared.mkdir()
        with pytest.raises(RunDirectoryError, match="outputs of this run were saved there") as it:
            await bench.run(manifest, out_dir=url)
        assert "or that it is mounted" in (it.value.hint or "")
        assert await bought(bench) == 2


async def test_a_run_at_a_url_is_not_continued_by_its_path(start: Any, shared: Path) -> None:
    """What it has bought is in its log, and in no journal there: its budget would count again."""
    async with start() as bench:
        manifest = bench.manifest(TWO, budget=2)
        await bench.run(manifest, out_dir=f"file://{shared}")
        with pytest.raises(RunDirectoryError, match=f"the place of a run at file://{shared}"):
            await bench.run(manifest, out_dir=shared)
        assert not Journal.exists(shared)
        assert await bought(bench) == 1


async def test_a_run_in_a_directory_is_not_continued_by_a_url(start: Any, shared: Path) -> None:
    async with start() as bench:
        manifest = bench.manifest(TWO, budget=2)
        await bench.run(manifest, out_dir=shared)
        with pytest.raises(RunDirectoryError, match="is a run directory, with the journal in it"):
            await bench.run(manifest, out_dir=f"file://{shared}")
        assert not (shared / ".crucible" / "run.json").exists()
        assert await bought(bench) == 1


async def test_a_link_below_the_directory_is_not_followed(start: Any, shared: Path) -> None:
    """One output stops, and all others are saved."""
    async with start() as bench:
        (bench.path / "elsewhere").mkdir()
        (shared / "a").symlink_to(bench.path / "elsewhere")
        result = await bench.run(bench.manifest(TWO), out_dir=f"file://{shared}")
        rows = {row.name: row for row in result.jobs()}
        assert (rows["a"].status, rows["b"].status) == ("failed", "succeeded")
        assert "OUTPUT_EXISTS" in str(rows["a"].error)
        assert list((bench.path / "elsewhere").iterdir()) == []
        (shared / "a").unlink()
        assert (await bench.run(bench.manifest(TWO), out_dir=f"file://{shared}")).exit_code == 0
        assert (shared / "a" / "0.png").is_file()
        assert await bought(bench) == 2
