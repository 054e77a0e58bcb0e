"""Threads outlive the tasks that wait for them, and processes don't outlive kill -9."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from crucible_batch.outputs import OutputStore
from crucible_batch.outputs import store as store_module
from crucible_batch.outputs import temp_file as part_module
from tests.unit.outputs.making import PNG


async def test_a_write_that_outlives_its_cancelled_download_goes_into_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of a closed descriptor is given to the next file that is opened: a report, or the
    journal.
    """
    writing, go_on = threading.Event(), threading.Event()
    original = part_module._write_all

    def late(descriptor: int, block: bytes) -> None:
        writing.set()
        go_on.wait(60)
        original(descriptor, block)

    monkeypatch.setattr(part_module, "_write_all", late)

    async def body() -> AsyncIterator[bytes]:
        yield b"x" * 300_000
        await asyncio.sleep(60)

    task = asyncio.ensure_future(
        OutputStore(tmp_path).save("a/{index}{ext}", 0, "token", body(), None)
    )
    await asyncio.to_thread(writing.wait, 60)
    threading.Timer(0.05, go_on.set).start()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    others = [os.open(tmp_path / f"other-{number}", os.O_RDWR | os.O_CREAT) for number in range(8)]
    await asyncio.to_thread(go_on.wait, 60)
    await asyncio.sleep(0.05)
    for descriptor in others:
        os.close(descriptor)
    assert {path.stat().st_size for path in tmp_path.glob("other-*")} == {0}
    assert list((tmp_path / "a").iterdir()) == []


async def test_a_landing_that_outlives_its_cancelled_download_names_nothing_unsynced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled between its last byte and its sync: the file is closed, and its name isn't taken
    away yet.
    """
    looking, go_on, over = threading.Event(), threading.Event(), threading.Event()
    examined, land, remove = (
        store_module._examined,
        store_module._complete,
        part_module.TempFile.remove,
    )

    def late(*arguments: Any, **options: Any) -> Any:
        looking.set()
        go_on.wait(60)
        return examined(*arguments, **options)

    def landing(*arguments: Any, **options: Any) -> Any:
        try:
            return land(*arguments, **options)
        finally:
            over.set()

    def removing(part: part_module.TempFile, *arguments: Any) -> None:
        go_on.set()
        over.wait(60)
        remove(part, *arguments)

    monkeypatch.setattr(store_module, "_examined", late)
    monkeypatch.setattr(store_module, "_complete", landing)
    monkeypatch.setattr(part_module.TempFile, "remove", removing)

    async def body() -> AsyncIterator[bytes]:
        yield PNG

    task = asyncio.ensure_future(
        OutputStore(tmp_path).save("a/{index}{ext}", 0, "token", body(), len(PNG))
    )
    await asyncio.to_thread(looking.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert over.is_set()
    assert list((tmp_path / "a").iterdir()) == []


CHILD = """
    import asyncio, os, sys
    from pathlib import Path
    from crucible_batch.outputs import OutputStore

    content = Path(sys.argv[2]).read_bytes()

    async def body():
        yield content
        if sys.argv[3] == "before":
            os.kill(os.getpid(), 9)

    if sys.argv[3] == "after":
        os.fsync = lambda _fd: os.kill(os.getpid(), 9)
    store = OutputStore(Path(sys.argv[1]))
    asyncio.run(store.save("a/{index}{ext}", 0, "token", body(), len(content)))
"""


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_kill_leaves_no_name_and_the_next_run_sweeps_the_rest(
    tmp_path: Path, moment: str
) -> None:
    buffer = io.BytesIO()
    # Larger than what is kept back for the last hop to a thread: so there is a file at either
    # moment.
    Image.effect_noise((640, 640), 99).save(buffer, "PNG")
    picture, results = tmp_path / "p.png", tmp_path / "results"
    picture.write_bytes(buffer.getvalue())
    results.mkdir()
    command = [sys.executable, "-c", textwrap.dedent(CHILD), str(results), str(picture), moment]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    left = [path.name for path in results.rglob("*") if path.is_file()]
    assert len(left) == 1
    assert left[0].startswith(store_module.TEMPORARY_PREFIX)
    store = OutputStore(results)
    assert store.sweep() == 1
    assert not [path for path in results.rglob("*") if path.is_file()]

    async def body() -> AsyncIterator[bytes]:
        yield buffer.getvalue()

    saved = await store.save("a/{index}{ext}", 0, "token", body(), None)
    assert (results / saved.path).read_bytes() == buffer.getvalue()
