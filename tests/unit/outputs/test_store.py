"""An output gets its name only when it is whole, and takes it from nobody."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import struct
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from crucible_batch.atomic_files import TEMPORARY_PREFIX
from crucible_batch.core.provenance import Metadata
from crucible_batch.outputs import OutputError, OutputStore
from crucible_batch.outputs.safe_fs import Folder
from crucible_batch.outputs.store import ResultsError
from tests.harness.case_table import each_case
from tests.unit.outputs.making import PNG, body, drawn, files

HTML = b"<!doctype html><title>503</title><p>We'll be back soon" + b" " * 2000


@pytest.fixture
def store(tmp_path: Path) -> OutputStore:
    return OutputStore(tmp_path)


PATTERN = "job/{index}{ext}"


async def saved(
    store: OutputStore, content: bytes, length: int | None, pattern: str = PATTERN
) -> Any:
    return await store.save(pattern, 0, "token", body(content), length)


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize(
    ("kind", "mime", "name"),
    [
        ("PNG", "image/png", "job/0.png"),
        ("JPEG", "image/jpeg", "job/0.jpg"),
        ("WEBP", "image/webp", "job/0.webp"),
    ],
)
async def test_what_is_told_of_a_saved_file_is_true(
    tmp_path: Path, store: OutputStore, kind: str, mime: str, name: str, declared: bool
) -> None:
    content = drawn(kind)
    file = await saved(store, content, len(content) if declared else None)
    assert file.path == PurePosixPath(name)
    assert (tmp_path / name).read_bytes() == content
    assert file.sha256 == hashlib.sha256(content).hexdigest()
    assert file.byte_size == len(content)
    assert (file.picture.mime_type, file.picture.width, file.picture.height) == (mime, 40, 30)
    assert files(tmp_path) == [name]


async def test_a_write_that_is_short_is_gone_on_with(
    tmp_path: Path, store: OutputStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, block: write(descriptor, block[:37]))
    content = drawn()
    file = await saved(store, content, len(content))
    assert (tmp_path / file.path).read_bytes() == content


async def test_an_extension_in_the_pattern_changes_nothing(
    tmp_path: Path, store: OutputStore
) -> None:
    content = drawn("JPEG")
    file = await saved(store, content, None, pattern="job.png")
    assert file.path == PurePosixPath("job.png")
    assert (file.picture.mime_type, file.picture.ext) == ("image/jpeg", ".jpg")
    assert files(tmp_path) == ["job.png"]


NOT_WHOLE = [
    pytest.param(PNG[:-100], len(PNG), "OUTPUT_TRUNCATED", id="shorter than declared"),
    pytest.param(PNG + b"more", len(PNG), "OUTPUT_TRUNCATED", id="longer than declared"),
    pytest.param(b"", len(PNG), "OUTPUT_TRUNCATED", id="nothing came"),
    pytest.param(PNG[: len(PNG) // 2], None, "OUTPUT_NO_PICTURE", id="cut, and no length declared"),
    pytest.param(b"", None, "OUTPUT_NO_PICTURE", id="nothing, and no length declared"),
    pytest.param(HTML, len(HTML), "OUTPUT_NO_PICTURE", id="an HTML page"),
    pytest.param(HTML, None, "OUTPUT_NO_PICTURE", id="an HTML page without a length"),
]


@pytest.mark.parametrize(("content", "length", "code"), NOT_WHOLE)
async def test_what_is_not_whole_gets_no_name(
    tmp_path: Path, store: OutputStore, content: bytes, length: int | None, code: str
) -> None:
    with pytest.raises(OutputError) as caught:
        await saved(store, content, length)
    assert caught.value.code == code
    assert not caught.value.final  # a fresh link may bring it
    assert not caught.value.definite
    assert files(tmp_path) == []


async def test_too_large_is_given_up_before_all_of_it_came(tmp_path: Path) -> None:
    given = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += 1000
            yield b"x" * 1000

    with pytest.raises(OutputError) as caught:
        await OutputStore(tmp_path, max_bytes=5000).save(PATTERN, 0, "token", endless(), None)
    assert caught.value.code == "OUTPUT_TOO_LARGE"
    assert caught.value.definite
    assert given == 6000
    assert files(tmp_path) == []


async def test_one_that_is_declared_too_large_is_not_begun(tmp_path: Path) -> None:
    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("read")
        yield b""

    with pytest.raises(OutputError) as caught:
        await OutputStore(tmp_path, max_bytes=5000).save(PATTERN, 0, "token", unread(), 5001)
    assert (caught.value.code, caught.value.definite) == ("OUTPUT_TOO_LARGE", True)
    assert files(tmp_path) == []


def claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises that many pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    ihdr = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + ihdr + PNG[33:]


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("size", [(10_001, 10_000), (20_000, 20_000), (2**31 - 1, 2**31 - 1)])
async def test_a_header_that_promises_too_many_pixels_is_enough(
    tmp_path: Path, store: OutputStore, size: tuple[int, int], declared: bool
) -> None:
    bomb = claiming(*size)
    with pytest.raises(OutputError) as caught:
        await saved(store, bomb, len(bomb) if declared else None)
    assert (caught.value.code, caught.value.definite) == ("OUTPUT_TOO_MANY_PIXELS", True)
    assert files(tmp_path) == []


async def test_the_most_pixels_allowed_are_allowed_also_beyond_what_pillow_warns_of(
    tmp_path: Path,
) -> None:
    await OutputStore(tmp_path, max_pixels=40 * 30).save(PATTERN, 0, "token", body(PNG), len(PNG))
    large = claiming(10_000, 10_000)
    await OutputStore(tmp_path).save(PATTERN, 1, "token", body(large), len(large))
    assert files(tmp_path) == ["job/0.png", "job/1.png"]


@pytest.mark.parametrize("content", [b"%PDF-1.7", b"PK\3\4" + b"\0" * 99])
async def test_another_type_of_file_is_definite(
    tmp_path: Path, store: OutputStore, content: bytes
) -> None:
    with pytest.raises(OutputError) as caught:
        await saved(store, content, None)
    assert (caught.value.code, caught.value.definite) == ("OUTPUT_NO_PICTURE", True)


async def test_the_largest_size_allowed_is_allowed(tmp_path: Path) -> None:
    await saved(OutputStore(tmp_path, max_bytes=len(PNG)), PNG, len(PNG))
    assert files(tmp_path) == ["job/0.png"]


# -- what stands there already


@pytest.mark.parametrize("points_to", ["equal", "other", "nothing"])
async def test_a_symlink_at_the_target_is_neither_followed_nor_replaced(
    tmp_path: Path, store: OutputStore, points_to: str
) -> None:
    outside = tmp_path / "outside"
    if points_to != "nothing":
        outside.write_bytes(PNG if points_to == "equal" else b"precious")
    before = outside.read_bytes() if outside.exists() else None
    (tmp_path / "job").mkdir()
    (tmp_path / "job/0.png").symlink_to(outside)
    with pytest.raises(OutputError, match="another file exists"):
        await saved(store, PNG, len(PNG))
    assert (tmp_path / "job/0.png").is_symlink()
    assert (outside.read_bytes() if outside.exists() else None) == before
    assert files(tmp_path) == sorted(["job/0.png", *(["outside"] if before is not None else [])])


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to], ids=["symbolic", "hard"])
async def test_a_link_in_place_of_the_temporary_file_is_not_written_through(
    tmp_path: Path, store: OutputStore, link: Callable[[Path, Path], None]
) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "job").mkdir()
    link(tmp_path / f"job/{TEMPORARY_PREFIX}token-0", tmp_path / "precious")
    await saved(store, PNG, len(PNG))
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert files(tmp_path) == ["job/0.png", "precious"]


@each_case("target", ["elsewhere", "run/beside", "nowhere", "run/job"])
async def test_a_link_on_the_way_is_not_followed_wherever_it_leads(
    tmp_path: Path, target: str
) -> None:
    for folder in ("run/beside", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "run/job").symlink_to(tmp_path / target)
    with pytest.raises(OutputError) as caught:
        await saved(OutputStore(tmp_path / "run"), PNG, len(PNG))
    assert (caught.value.code, caught.value.final) == ("OUTPUT_EXISTS", True)
    with pytest.raises(OutputError):
        await OutputStore(tmp_path / "run").restore("job/0.png", "0" * 64, "token", body(PNG))
    assert [name for name in files(tmp_path) if name != "run/job"] == []


async def test_a_file_where_a_directory_is_needed_is_an_error_with_a_hint(
    tmp_path: Path, store: OutputStore
) -> None:
    (tmp_path / "job").write_bytes(b"precious")
    with pytest.raises(ResultsError) as caught:
        await saved(store, PNG, len(PNG))
    assert caught.value.hint
    assert (tmp_path / "job").read_bytes() == b"precious"
    assert files(tmp_path) == ["job"]


# -- ends in the middle


@pytest.mark.parametrize("given", [0, 1, 400_000])
async def test_a_cancel_in_the_middle_leaves_nothing(
    tmp_path: Path, store: OutputStore, given: int
) -> None:
    reached = asyncio.Event()

    async def stuck() -> AsyncIterator[bytes]:
        if given:
            yield b"x" * given
        reached.set()
        await asyncio.Event().wait()
        yield b""

    task = asyncio.create_task(store.save(PATTERN, 0, "token", stuck(), None))
    await reached.wait()
    # What is less than a hop to a thread is worth is kept in memory.
    assert files(tmp_path) == ([f"job/{TEMPORARY_PREFIX}token-0"] if given == 400_000 else [])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert files(tmp_path) == []


async def test_a_longer_leftover_of_a_killed_run_does_not_show_through(
    tmp_path: Path, store: OutputStore
) -> None:
    (tmp_path / "job").mkdir()
    (tmp_path / f"job/{TEMPORARY_PREFIX}token-0").write_bytes(b"z" * (len(PNG) + 500))
    await saved(store, PNG, len(PNG))
    assert (tmp_path / "job/0.png").read_bytes() == PNG


async def test_sweep_removes_leftovers_and_nothing_else(tmp_path: Path, store: OutputStore) -> None:
    await saved(store, PNG, len(PNG))
    for leftover in (
        f"{TEMPORARY_PREFIX}a-0",
        f"job/{TEMPORARY_PREFIX}b-1",
        f"deep/er/{TEMPORARY_PREFIX}c-0",
    ):
        (tmp_path / leftover).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / leftover).write_bytes(b"cut")
    (tmp_path / "job/.hidden").write_bytes(b"mine")
    assert store.sweep() == 3
    assert files(tmp_path) == ["job/.hidden", "job/0.png"]
    assert store.sweep() == 0


@pytest.mark.parametrize("embed", [(), (Metadata("what made it"),)])
@pytest.mark.parametrize("links", [True, False])
async def test_the_bytes_are_synced_before_the_name_and_the_folder_after_it(
    tmp_path: Path,
    store: OutputStore,
    monkeypatch: pytest.MonkeyPatch,
    links: bool,
    embed: tuple[Metadata, ...],
) -> None:
    """Without the second sync a power cut may take the name after the journal has it, and without
    the first the bytes."""
    done, sync, given = list[str](), os.fsync, Folder.claim
    (tmp_path / "job").mkdir()

    def note_sync(descriptor: int) -> None:
        sync(descriptor)
        status = os.fstat(descriptor)
        is_folder = os.path.samestat(status, (tmp_path / "job").stat())
        done.append("folder" if is_folder else f"{status.st_size} bytes")

    def note_name(folder: Folder, name: str, other: str) -> Any:
        means = given(folder, name, other)
        done.append(other)
        return means

    def refuse(*_args: Any, **_options: Any) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Folder, "claim", note_name)
    if not links:
        monkeypatch.setattr(os, "link", refuse)
    file = await store.save(PATTERN, 0, "token", body(PNG), len(PNG), embed=embed)
    assert done[-3:] == [f"{file.byte_size} bytes", "0.png", "folder"]
