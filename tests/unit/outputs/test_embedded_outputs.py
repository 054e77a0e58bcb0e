"""An output that carries a text is saved, adopted and restored as any other: whole, under its own
digest, or not.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import logging
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from PIL import Image

from crucible_batch.core.events import Sent
from crucible_batch.core.provenance import Metadata, XmpProperty
from crucible_batch.outputs import OutputError, OutputStore, SavedFile
from crucible_batch.outputs import store as store_module

PATTERN = "job/{index}{ext}"
TEXT = Metadata('{"a":"word"}')


def drawn(kind: str = "PNG", colour: str = "teal") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(buffer, kind)
    return buffer.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def body(content: bytes) -> AsyncIterator[bytes]:
    yield content


def files(directory: Path) -> list[str]:
    return sorted(
        str((Path(top) / name).relative_to(directory))
        for top, _, names in os.walk(directory)
        for name in names
    )


@pytest.fixture
def store(tmp_path: Path) -> OutputStore:
    return OutputStore(tmp_path)


async def save(store: OutputStore, content: bytes, embed: Metadata = TEXT) -> SavedFile:
    return await store.save(PATTERN, 0, "token", body(content), len(content), embed=[embed])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
async def test_digest_and_size_are_the_files_and_what_came_is_told_too(
    tmp_path: Path, store: OutputStore, kind: str
) -> None:
    content = drawn(kind)
    file = await save(store, content)
    stands = (tmp_path / file.path).read_bytes()
    assert stands != content
    assert (file.sha256, file.byte_size) == (sha256(stands), len(stands))
    assert file.sent == Sent(sha256(content), len(content))
    assert files(tmp_path) == [str(file.path)]


async def test_a_picture_that_takes_no_text_is_saved_as_it_came_and_that_is_said_once(
    tmp_path: Path, store: OutputStore, caplog: pytest.LogCaptureFixture
) -> None:
    content = drawn("GIF")
    with caplog.at_level(logging.WARNING):
        for index in range(3):
            file = await store.save(
                PATTERN, index, "token", body(content), len(content), embed=[TEXT]
            )
            assert (file.sha256, file.sent) == (sha256(content), None)
            assert (tmp_path / file.path).read_bytes() == content
    (record,) = caplog.records
    assert (
        record.getMessage()
        == "no metadata was embedded in job/0.gif: metadata can't be embedded in image/gif"
    )


async def restored(
    store: OutputStore, file: SavedFile, given: bytes, embed: Metadata = TEXT
) -> str | None:
    return await store.restore(
        str(file.path), file.sha256, "token", body(given), sent=file.sent, embed=[embed]
    )


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
async def test_a_lost_file_is_made_again_to_the_very_same_bytes(
    tmp_path: Path, store: OutputStore, kind: str
) -> None:
    file = await save(store, drawn(kind))
    before = (tmp_path / file.path).read_bytes()
    (tmp_path / file.path).unlink()
    assert await restored(store, file, drawn(kind)) is None
    assert (tmp_path / file.path).read_bytes() == before
    assert files(tmp_path) == [str(file.path)]


@pytest.mark.parametrize(
    ("given", "embed"),
    [(drawn(colour="red"), TEXT), (drawn(), Metadata("another"))],
    ids=["picture", "text"],
)
async def test_other_bytes_than_were_saved_are_not_put_back(
    tmp_path: Path, store: OutputStore, given: bytes, embed: Metadata
) -> None:
    file = await save(store, drawn())
    (tmp_path / file.path).write_bytes(b"edited")
    with pytest.raises(OutputError) as caught:
        await restored(store, file, given, embed)
    assert caught.value.code == "OUTPUT_CHANGED"
    assert (tmp_path / file.path).read_bytes() == b"edited"
    assert files(tmp_path) == ["job/0.png"]


async def test_a_run_that_leaves_while_a_text_is_embedded_leaves_no_file(
    tmp_path: Path, store: OutputStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedding, go_on, done = threading.Event(), threading.Event(), threading.Event()
    original = store_module._copy_with

    def late(*args: object) -> int:
        embedding.set()
        go_on.wait(60)
        try:
            return original(*args)  # type: ignore[arg-type]
        finally:
            done.set()

    monkeypatch.setattr(store_module, "_copy_with", late)
    task = asyncio.ensure_future(save(store, drawn()))
    await asyncio.to_thread(embedding.wait, 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    assert await asyncio.to_thread(done.wait, 5)
    assert files(tmp_path) == []


OTHER = Metadata(TEXT.text, (XmpProperty("a", "urn:a", "Kind", "urn:a/made"),))


@pytest.mark.parametrize("given", [[TEXT, OTHER], [OTHER, TEXT]])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
async def test_what_was_embedded_before_is_found_by_the_digest(
    tmp_path: Path, store: OutputStore, kind: str, given: list[Metadata]
) -> None:
    file = await save(store, drawn(kind), OTHER)
    before = (tmp_path / file.path).read_bytes()
    (tmp_path / file.path).unlink()
    content = drawn(kind)
    assert (
        await store.restore(
            str(file.path), file.sha256, "token", body(content), sent=file.sent, embed=given
        )
        is None
    )
    assert (tmp_path / file.path).read_bytes() == before
    (tmp_path / file.path).unlink()
    again = await store.save(
        PATTERN, 0, "token", body(content), len(content), embed=given, like=file.sha256
    )
    assert again.sha256 == file.sha256
    assert (tmp_path / file.path).read_bytes() == before


async def test_the_first_is_embedded_if_none_gives_the_digest(
    tmp_path: Path, store: OutputStore
) -> None:
    content = drawn()
    file = await store.save(
        PATTERN, 0, "token", body(content), len(content), embed=[OTHER, TEXT], like="0" * 64
    )
    assert b"urn:a/made" in (tmp_path / file.path).read_bytes()
