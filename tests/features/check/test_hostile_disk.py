"""``check --fix`` on a disk that is full."""

from __future__ import annotations

import errno

import pytest

from crucible_batch import check_outputs
from crucible_batch.outputs import temp_file
from tests.integration.engine.test_hostile_disk import Failing

# A connection that is cancelled while it is made is left to the garbage collector, by httpx's own
# doing.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


HAS_PAGES = True


SHORT_JOBS = True


async def test_a_fix_that_meets_a_full_disk_leaves_the_users_file_and_continues_later(
    start, monkeypatch
):
    async with start() as bench:
        await bench.run(bench.manifest("{name: a, prompt: one}\n{name: b, prompt: two}"))
        out = bench.path / "out"
        (out / "a/0.png").write_bytes(b"edited")
        (out / "b/0.png").unlink()
        with monkeypatch.context() as patch:
            patch.setattr(temp_file, "_write_all", Failing(temp_file._write_all, errno.ENOSPC, 1))
            found = await check_outputs(out, fix=True, settings=bench.settings)
        assert found.exit_code == 5
        assert "No space left" in str(found.failure)
        assert sorted(path.name for path in (out / "a").iterdir()) == ["0.png"]
        assert (out / "a/0.png").read_bytes() == b"edited"
        assert (await check_outputs(out, fix=True, settings=bench.settings)).exit_code == 0
