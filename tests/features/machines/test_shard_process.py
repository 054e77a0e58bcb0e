"""What a process passes on to the shards that it starts: the API key and the gateway."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path

import pytest

from crucible_batch.features.machines import shard_process
from crucible_batch.object_url import ObjectUrl
from crucible_batch.settings import Settings

GIVEN = Settings(
    "of-the-parent",
    base_url="https://gateway.example",
    proxy="http://proxy.example:3128",
    storage_hosts=("storage.example",),
)


@pytest.fixture
def read_by_child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> object:
    """Return the settings of a child, which reads a line, and the rest of its input."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOLTAZINE_API_KEY", "of-the-environment")
    monkeypatch.setenv("CRUCIBLE_API_BASE", "https://environment.example")

    def read(line: bytes) -> tuple[Settings, dict[str, object], bytes]:
        reading, writing = os.pipe()
        os.write(writing, line + b"rest")
        os.close(writing)
        real = os.read
        with monkeypatch.context() as patched:
            patched.setattr(os, "read", lambda _stdin, size: real(reading, size))
            settings, options = shard_process._read_line()
        rest = os.read(reading, 100)
        os.close(reading)
        return settings, options, rest

    return read


def test_a_child_has_the_key_the_gateway_and_the_proxy_of_its_parent(read_by_child: object) -> None:
    assert callable(read_by_child)
    settings, options, rest = read_by_child(shard_process._as_line(GIVEN, {"key_ttl_s": 2.0}))
    assert options == {"key_ttl_s": 2.0}
    assert replace(settings, state_directory=None, accounts_directory=None, key_source="nowhere",
                   base_source=GIVEN.base_source) == GIVEN  # fmt: skip
    assert rest == b"rest"


def test_a_child_whose_parent_is_elsewhere_has_those_of_its_environment(
    read_by_child: object,
) -> None:
    assert callable(read_by_child)
    settings, options, rest = read_by_child(shard_process._as_line(None, {}))
    assert options == {}
    assert settings.api_key == "of-the-environment"
    assert settings.base_url == "https://environment.example"
    assert rest == b"rest"


def test_the_key_is_in_no_argument_and_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    class Popen:
        def __init__(self, words: list[str], **options: object) -> None:
            seen.extend([words, options])
            self.stdin = io.BytesIO()

    monkeypatch.setattr("subprocess.Popen", Popen)
    task = shard_process.ShardTask(ObjectUrl("s3", "bucket", "prefix"), "0" * 64, 1)
    shard_process.ShardProcess(task, GIVEN)
    assert "of-the-parent" not in repr(seen)
