"""A real S3 server, started once for all tests of a process:

SeaweedFS, which the group `store` installs.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.store import S3Store

BUCKET = "outputs"
OWNER = ("AKIACANARYOWNER", "canary-secret-of-the-owner-0123456789")
READER = ("AKIACANARYREADER", "canary-secret-of-the-reader-0123456789")
CANARIES = (*OWNER, *READER)
SOCKETS = Path("/tmp")
GRPC = 10_000
"""What the server adds to the number of a port for gRPC."""
_LIMIT_S = 120


@dataclass(frozen=True)
class S3Server:
    """The server's address and a prefix of its own for each test.

    ``restart`` ends the server's process, waits, and starts it again with the same data. Blocking.
    """

    endpoint: str
    prefix: str = ""
    restart: Callable[[float], None] = field(default=lambda _away_s: None, compare=False)

    @property
    def url(self) -> str:
        return f"s3://{BUCKET}/{self.prefix}"

    def variables(self, who: tuple[str, str] = OWNER) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": who[0],
            "AWS_SECRET_ACCESS_KEY": who[1],
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }

    def backend(self) -> Any:
        return S3Store(
            BUCKET,
            prefix=self.prefix or None,
            endpoint=self.endpoint,
            access_key_id=OWNER[0],
            secret_access_key=OWNER[1],
            region="us-east-1",
            client_options={"allow_http": True},
        )

    def names(self) -> list[str]:
        return sorted(entry["path"] for entry in obstore.list(self.backend()).collect())

    def read(self, name: str) -> bytes:
        return bytes(obstore.get(self.backend(), name).bytes())


@dataclass(frozen=True)
class SharedFolder:
    """A directory that all machines have, in place of a server."""

    folder: Path

    @property
    def url(self) -> str:
        return f"file://{self.folder}"

    def variables(self) -> dict[str, str]:
        return {}

    def names(self) -> list[str]:
        files = (path for path in self.folder.rglob("*") if path.is_file())
        return sorted(str(path.relative_to(self.folder)) for path in files)

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with serving(tmp_path_factory.mktemp("s3")) as found:
        yield found


@contextmanager
def serving(directory: Path) -> Iterator[S3Server]:
    """Start a server whose files are in an empty directory, and stop it.

    Its data are removed at the end.
    """
    weed = Path(sys.executable).with_name("weed")
    assert weed.exists(), "install the server: make test-store"
    (directory / "s3.json").write_text(
        json.dumps(
            {
                "identities": [
                    _identity("owner", OWNER, ["Admin", "Read", "Write", "List", "Tagging"]),
                    _identity("reader", READER, ["Read", "List"]),
                ]
            }
        )
    )
    ports = dict(zip(("s3", "master", "volume", "filer", "admin"), free_ports(5), strict=True))
    data = directory / "data"
    data.mkdir()
    command = [
        str(weed), f"-logdir={directory}", "mini", f"-dir={data}", "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1", f"-bucket={BUCKET}", f"-s3.config={directory / 's3.json'}",
        "-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
        "-admin.ui=false", "-webdav=false",
        *(f"-{name}.port={port}" for name, port in ports.items()),
    ]  # fmt: skip
    process = _started(command, directory)

    def restart(away_s: float) -> None:
        nonlocal process
        _end(process)
        time.sleep(away_s)
        process = _started(command, directory)
        _wait_for(found, process, directory / "log")

    found = S3Server(f"http://127.0.0.1:{ports['s3']}", restart=restart)
    try:
        _wait_for(found, process, directory / "log")
        yield found
    finally:
        _end(process)
        shutil.rmtree(data, ignore_errors=True)
        for socket_file in sockets_of(ports.values()):
            socket_file.unlink(missing_ok=True)


def _started(command: list[str], directory: Path) -> subprocess.Popen[bytes]:
    with (directory / "log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, cwd=directory)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def sockets_of(ports: Iterable[int]) -> list[Path]:
    """Return the Unix sockets of a server's ports, whose paths have no option for all of them."""
    numbers = [number for port in ports for number in (port, port + GRPC)]
    return [path for number in numbers for path in SOCKETS.glob(f"seaweedfs-*-{number}.sock")]


def _identity(name: str, keys: tuple[str, str], actions: list[str]) -> dict[str, object]:
    return {
        "name": name,
        "credentials": [{"accessKey": keys[0], "secretKey": keys[1]}],
        "actions": actions,
    }


def _wait_for(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _LIMIT_S
    while True:
        assert process.poll() is None, log.read_text(errors="replace")[-3000:]
        try:
            obstore.put(server.backend(), "ready", b"ready")
        except Exception:
            assert time.monotonic() < until, log.read_text(errors="replace")[-3000:]
            time.sleep(0.1)
        else:
            return


def free_ports(count: int) -> Iterator[int]:
    """Free ports whose number for gRPC is free too."""
    chosen = set[int]()
    while len(chosen) < count:
        port = random.randrange(20_000, 32_000)
        if port not in chosen and all(_is_free(each) for each in (port, port + GRPC)):
            chosen.add(port)
            yield port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@pytest.fixture
def s3(server: S3Server) -> S3Server:
    return replace(server, prefix=f"runs/{uuid.uuid4().hex}")


@pytest.fixture(params=["s3", "file"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> S3Server | SharedFolder:
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3")
        return server
    folder = tmp_path / "shared"
    folder.mkdir()
    return SharedFolder(folder)
