"""The connections to a run's socket: who may give commands, and those that say nothing cost the run
nothing.
"""

from __future__ import annotations

import asyncio
import os
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.features.control import part as controlling
from crucible_batch.features.control.part import SOCKET, connected, controlled, user_of
from crucible_batch.runs.control_desk import user_name


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(controlling, "_LAST_ANSWERS_S", 0.0)
    (tmp_path / SOCKET).parent.mkdir()
    return tmp_path


async def connect(directory: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_unix_connection(sock=connected(directory, 5))


async def closed(reader: asyncio.StreamReader) -> bool:
    """Whether the other end closes the connection without an answer."""
    try:
        return await reader.read() == b""
    except ConnectionResetError:  # it has not read what was sent
        return True


async def test_more_connections_than_a_few_are_closed_at_once_and_leave_the_run_its_files(
    directory: Path,
) -> None:
    async with controlled(None, directory):  # type: ignore[arg-type]  # no command arrives
        silent = [await connect(directory) for _ in range(32)]
        reader, writer = await connect(directory)
        writer.write(b"\n")
        assert await closed(reader)
        writer.close()
        assert not any(kept.at_eof() for kept, _ in silent)
        silent[0][1].write(b"\n")
        assert b"can't be read" in await silent[0][0].read()
        reader, last = await connect(directory)  # there is room again
        last.write(b"\n")
        assert b"can't be read" in await reader.read()
    for _, writer in [*silent, (reader, last)]:
        writer.close()


async def test_a_connection_that_says_nothing_ends_with_the_run_without_an_error(
    directory: Path,
) -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _loop, context: reported.append(context)
    )
    async with controlled(None, directory):  # type: ignore[arg-type]  # no command arrives
        reader, writer = await connect(directory)
        other, asking = await connect(directory)
        asking.write(b"\n")
        await other.read()  # the first one is served, too
    assert await reader.read() == b""
    for each in (writer, asking):
        each.close()
    assert reported == []


async def test_a_connection_that_is_accepted_after_the_run_has_ended_is_closed_at_once(
    directory: Path,
) -> None:
    connections = controlling._Connections(None)  # type: ignore[arg-type]
    await connections.ended(0.0)
    server = await asyncio.start_unix_server(connections.serve, directory / SOCKET)
    reader, writer = await connect(directory)
    writer.write(b"\n")
    assert await closed(reader)
    writer.close()
    server.close()


class Connection:
    """A connection of a process of this user, as Linux describes it."""

    def __init__(self, user: int) -> None:
        self.user = user

    def getsockopt(self, *_asked: int) -> bytes:
        return struct.pack("3i", 4711, self.user, 4711)


@pytest.mark.parametrize(
    ("user", "taken"), [(1234, True), (0, True), (1235, False), (65534, False)]
)
def test_only_the_user_of_the_run_and_root_give_commands(
    monkeypatch: pytest.MonkeyPatch, user: int, taken: bool
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(controlling.socket, "SO_PEERCRED", 17, raising=False)
    assert user_of(Connection(user)) == (user if taken else None)  # type: ignore[arg-type]


def test_a_user_without_a_name_has_a_number() -> None:
    assert user_name(3_999_999).startswith("uid 3999999@")
