"""The contract of output stores on a real S3 server, and what only a real one can show."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from crucible_batch.object_url import ObjectUrl
from crucible_batch.outputs import ObjectOutputStore, ObjectStoreError, OutputError, OutputStore
from crucible_batch.outputs import objects as object_requests
from crucible_batch.outputs.objects import Objects
from tests.unit.outputs.making import PNG
from tests.unit.outputs.store_contract import PATH, OutputStoreContract, save
from tests.unit.outputs.test_output_store_contract import ObjectPlace
from tests.verification.objectstore.conftest import CANARIES, READER, S3Server


def objects(s3: S3Server, variables: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Objects:
    """A client with the settings of the environment, as the command makes it."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    url = ObjectUrl.parse(s3.url)
    assert url is not None
    return Objects.at(url, variables)


class S3Place(ObjectPlace):
    def __init__(self, s3: S3Server, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(s3.backend(), directory, checks_uploads=True)
        self.objects = objects(s3, s3.variables(), monkeypatch)

    def store(self, **limits: int) -> OutputStore:
        return ObjectOutputStore(self.directory, self.objects, **limits)


class TestS3(OutputStoreContract):
    @pytest.fixture
    def place(self, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> S3Place:
        return S3Place(s3, tmp_path, monkeypatch)


@asynccontextmanager
async def damaging(port: int) -> AsyncIterator[int]:
    """A proxy that changes one letter of each PNG that is sent to the server."""
    handlers = set[asyncio.Task[None]]()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        there, to = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(reader, to, lambda block: block.replace(b"IEND", b"IEnD")))
                group.create_task(_copy(there, writer, lambda block: block))
        finally:
            for each in (to, writer):
                each.transport.abort()
            await asyncio.gather(to.wait_closed(), writer.wait_closed(), return_exceptions=True)

    proxy = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield proxy.sockets[0].getsockname()[1]
    finally:
        proxy.close()
        for task in handlers:
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)


async def _copy(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: Callable[[bytes], bytes]
) -> None:
    while block := await reader.read(1 << 20):
        writer.write(change(block))
        await writer.drain()


async def test_bytes_that_are_damaged_on_the_way_are_refused_by_the_server(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with damaging(int(s3.endpoint.rpartition(":")[2])) as port:
        through = S3Server(f"http://127.0.0.1:{port}", s3.prefix)
        store = ObjectOutputStore(tmp_path, objects(through, through.variables(), monkeypatch))
        with pytest.raises(OutputError) as caught:
            await save(store, PNG)
    assert (caught.value.code, caught.value.final) == ("OUTPUT_NOT_STORED", False)
    assert s3.names() == []


@pytest.mark.parametrize(
    ("changes", "message", "exit_code"),
    [
        (
            dict(zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), READER, strict=True)),
            "access is denied",
            2,
        ),
        (
            {"AWS_SECRET_ACCESS_KEY": CANARIES[1][::-1]},
            r"rejects the credentials \(SignatureDoesNotMatch\)",
            2,
        ),
        (
            {"AWS_ACCESS_KEY_ID": "AKIACANARYNOBODY"},
            r"rejects the credentials \(InvalidAccessKeyId\)",
            2,
        ),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "the object store is not usable", 5),
        ({"AWS_ALLOW_HTTP": ""}, "settings of the store can't be used", 2),
    ],
)
async def test_a_failure_has_its_cause_and_no_secret(
    s3: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, str],
    message: str,
    exit_code: int,
) -> None:
    monkeypatch.setattr(object_requests, "_PATIENCE_S", 0.5)
    with pytest.raises(ObjectStoreError, match=message) as caught:
        await objects(s3, {**s3.variables(), **changes}, monkeypatch).create(PATH, PNG)
    assert int(caught.value.exit_code) == exit_code
    text = f"{caught.value} {caught.value.hint}"
    assert not any(canary in text for canary in (*CANARIES, CANARIES[1][::-1], "AKIACANARYNOBODY"))
