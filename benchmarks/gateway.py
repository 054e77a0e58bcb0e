"""A gateway that costs next to nothing: just so much HTTP as the exchanges of a run need, on a bare
protocol.

``python -m benchmarks.gateway --output-bytes N --service-s S`` prints its base URL, and serves
until its standard input ends. It keeps no books and checks nothing; the product's own sandbox does
that, at a hundred times the price. A request costs it some 20 µs, so that it is not what is
measured: see ``benchmarks/concurrency.py``, which says so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import struct
import subprocess
import sys
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

KEY: Final = "moltazine_benchmark_key_of_the_usual_length"
WORKFLOW: Final = "zimage-base"
_HEADERS: Final = (
    b"Server: nginx\r\nDate: Wed, 25 Nov 2026 09:00:00 GMT\r\nContent-Type: application/json\r\n"
    b"X-Request-Id: 01KAX3C8V5N7Q2M4T6W9YBDF0H\r\n"
)
"""The headers that such an answer usually has, since the client has to read them."""
_SEND_BUFFER: Final = 4 * 1024 * 1024
"""So large that an output goes to the kernel at once."""


def picture(byte_size: int) -> bytes:
    """Make a PNG of about that size, of noise that is the same each time."""
    side = max(1, int((byte_size / 3) ** 0.5))
    noise = random.Random(0)
    pixels = b"".join(b"\0" + noise.randbytes(3 * side) for _ in range(side))
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(pixels, 0)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


class World:
    """The jobs, by id the time at which each is done, and by key its id."""

    def __init__(self, *, output_bytes: int, service_s: float) -> None:
        self.service_s = service_s
        self.url = ""
        self.requests = 0
        self.moments: dict[str, float] = {}
        self._done_at: dict[str, float] = {}
        self._ids: dict[str, str] = {}
        self._chance = random.Random(0)
        body = picture(output_bytes)
        self._file = (
            b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n%b"
            % (len(body), body)
        )

    def answer(self, method: bytes, path: bytes, body: bytes) -> bytes:
        """Answer one request."""
        self.requests += 1
        if path.startswith(b"/files/"):
            self.moments["last_output"] = time.monotonic()
            return self._file if method == b"GET" else _head(200, b"")
        if path.startswith(b"/api/v1/jobs/"):
            return self._job(path[13:].decode())
        if path == b"/api/v1/generate":
            self.moments.setdefault("first_submit", time.monotonic())
            return self._generate(json.loads(body)["idempotency_key"])
        if path == b"/api/v1/credits":
            return _ok(
                {"balance": 1_000_000, "reserved": 0, "available": 1_000_000, "recent_entries": []}
            )
        if path == b"/api/v1/workflows":
            return _ok(
                {"workflows": [{"workflow_id": WORKFLOW, "updated_at": "2026-01-01T00:00:00Z"}]}
            )
        if path.endswith(b"/metadata"):
            fields = ["prompt.text", "image.image", "sampler.seed"]
            return _ok({"workflow_id": WORKFLOW, "metadata": {"available_fields": fields}})
        if path.startswith(b"/api/v1/assets"):
            return self._asset(method, path)
        if path == b"/moments":
            return self._taken_moments()
        return _head(404, b"{}")

    def _taken_moments(self) -> bytes:
        moments, self.moments = self.moments, {}
        return _head(200, json.dumps(moments).encode())

    def _generate(self, key: str) -> bytes:
        known = self._ids.get(key)
        job_id = known or self._new_id()
        if known is None:
            self._ids[key] = job_id
            self._done_at[job_id] = time.monotonic() + self.service_s
        return _ok(
            {"job_id": job_id, "status": "queued", "requested_credits": 1},
            202 if known is None else 200,
        )

    def _new_id(self) -> str:
        return str(uuid.UUID(int=self._chance.getrandbits(128), version=4))

    def _job(self, job_id: str) -> bytes:
        is_done = time.monotonic() >= self._done_at[job_id]
        output = {
            "id": job_id, "job_id": job_id, "output_index": 0, "storage_provider": "local",
            "bucket": "outputs", "path": f"{job_id}.png",
            "url": f"{self.url}/files/{job_id}.png?token=0123456789abcdef", "width": 256,
            "mime_type": "image/png", "height": 256, "metadata": {},
            "created_at": "2026-01-01T00:00:00Z",
        }  # fmt: skip
        job = {
            "job_id": job_id, "status": "succeeded" if is_done else "running",
            "workflow_id": WORKFLOW, "requested_credits": 1, "error_code": None,
            "error_message": None, "outputs": [output] if is_done else [],
        }  # fmt: skip
        return _ok(job)

    def _asset(self, method: bytes, path: bytes) -> bytes:
        if method == b"GET" and path == b"/api/v1/assets":
            return _ok({"assets": []})
        if method == b"POST":
            asset_id = self._new_id()
            url = f"{self.url}/files/{asset_id}?token=0123456789abcdef"
            return _ok({"asset_id": asset_id, "upload_url": url, "credits_charged": 0}, 201)
        return _ok({"asset_id": path[15:].decode(), "status": "ready"})


def _ok(data: object, status: int = 200) -> bytes:
    return _head(status, b'{"success":true,"request_id":"r","data":%b}' % json.dumps(data).encode())


def _head(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d OK\r\n%bContent-Length: %d\r\n\r\n%b" % (status, _HEADERS, len(body), body)


class Connection(asyncio.Protocol):
    """HTTP/1.1 with a length and kept connections, and nothing else that a client may do."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._came = bytearray()
        self._wants = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER
        )

    def data_received(self, data: bytes) -> None:
        self._came += data
        while len(self._came) >= self._wants and (request := self._taken()) is not None:
            self._transport.write(self._world.answer(*request))

    def _taken(self) -> tuple[bytes, bytes, bytes] | None:
        end = self._came.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = bytes(self._came[:end])
        at = head.lower().find(b"\r\ncontent-length:")
        length = int(head[at + 17 :].partition(b"\r\n")[0]) if at >= 0 else 0
        self._wants = end + 4 + length
        if len(self._came) < self._wants:
            return None
        body = bytes(self._came[end + 4 : self._wants])
        del self._came[: self._wants]
        self._wants = 0
        method, target, _ = head.split(b" ", 2)
        return method, target.partition(b"?")[0], body


async def serve(world: World) -> None:
    """Serve on a port of the system's choice until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(world), "127.0.0.1", 0, backlog=1024)
    world.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    print(world.url, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


@contextmanager
def running(*, output_bytes: int = 200_000, service_s: float = 0.0) -> Iterator[str]:
    """Have a gateway in a process of its own, on the machine's last core where there are several;
    yields its URL."""
    options = ["--output-bytes", str(output_bytes), "--service-s", str(service_s)]
    command = [sys.executable, "-m", "benchmarks.gateway", *options]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--output-bytes", type=int, default=200_000)
    parser.add_argument("--service-s", type=float, default=0.0)
    chosen = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    asyncio.run(serve(World(output_bytes=chosen.output_bytes, service_s=chosen.service_s)))


if __name__ == "__main__":
    main()
