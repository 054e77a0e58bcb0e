"""A small gateway on a port, honest but for one exchange; and what it took, by markers in what it
was sent."""

from __future__ import annotations

import asyncio
import io
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from PIL import Image

KEY = "moltazine_canary-key-that-goes-to-the-api-alone"
SIGNATURE = "CANARY-SIGNATURE"
JOB_PRICE, ASSET_PRICE = Decimal(2), Decimal("0.5")

EXCHANGES = (
    "credits",
    "workflow",
    "assets",
    "create_asset",
    "upload",
    "asset",
    "generate",
    "job",
    "download",
)
"""The exchanges of a run that buys one job with one image."""
CHANGES = ("create_asset", "upload", "generate")
STORAGE = ("upload", "download")


def _drawn() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(buffer, "PNG")
    return buffer.getvalue()


PICTURE = _drawn()
_NOT_FOUND = json.dumps({"success": False, "code": "NOT_FOUND", "error": "no such thing"}).encode()


@dataclass
class Reply:
    """What an honest gateway would answer.

    ``data`` is the envelope's, None where storage answers.
    """

    status: int
    data: Any = None
    raw: bytes = b""
    exchange: str = ""
    seen: int = 0
    """How often this exchange was asked before."""

    @property
    def body(self) -> bytes:
        return self.raw if self.data is None else envelope(json.dumps(self.data))


Behave = Callable[[Reply, asyncio.StreamWriter], Awaitable[None]]


def envelope(data: str) -> bytes:
    return b'{"success": true, "request_id": "req-1", "data": ' + data.encode() + b"}"


def http(status: int | str, body: bytes = b"", *headers: str, length: int | None = None) -> bytes:
    lines = [
        f"HTTP/1.1 {status} OK",
        f"Content-Length: {len(body) if length is None else length}",
        *headers,
    ]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body


@dataclass
class HostileGateway:
    """Does everything that it is asked for, and then answers as ``behave`` says wherever ``at`` is
    asked."""

    at: str = ""
    behave: Behave | None = None
    refuses: bool = False
    """Whether what is asked there isn't done: the answer is a definite no."""
    url: str = ""
    jobs: dict[str, str] = field(default_factory=dict)
    """Job ids by key."""
    markers: Counter[str] = field(default_factory=Counter)
    """How many jobs were bought for each prompt, whatever their keys."""
    assets: dict[str, dict[str, Any]] = field(default_factory=dict)
    rebates: Decimal = Decimal(0)
    asked: Counter[str] = field(default_factory=Counter)
    requests: list[tuple[str, bytes]] = field(default_factory=list)
    """The exchange and the whole of each request."""

    @property
    def taken(self) -> Decimal:
        return len(self.jobs) * JOB_PRICE + len(self.assets) * ASSET_PRICE - self.rebates

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                lengths = [
                    line[15:]
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                ]
                body = await reader.readexactly(int(lengths[0])) if lengths else b""
                method, target = head.split(b" ", 2)[:2]
                reply = self._answer(method.decode(), target.decode(), head, body)
                if self.behave is not None and reply.exchange == self.at:
                    await self.behave(reply, writer)
                else:
                    writer.write(http(reply.status, reply.body))
                await writer.drain()
        except (
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
            ConnectionError,
            asyncio.CancelledError,
        ):
            pass  # swallowed, as nobody awaits a connection's task: the loop would log it
        finally:
            writer.close()

    def _answer(self, method: str, target: str, head: bytes, body: bytes) -> Reply:
        path = target.partition("?")[0].removeprefix("/api/v1").strip("/").split("/")
        exchange = _exchange(method, path)
        self.requests.append((exchange, head + body))
        reply = (
            Reply(403, {})
            if self.refuses and exchange == self.at
            else self._act(exchange, path[-1], path, body)
        )
        reply.exchange, reply.seen = exchange, self.asked[exchange]
        self.asked[exchange] += 1
        return reply

    def _act(self, exchange: str, last: str, path: list[str], body: bytes) -> Reply:
        match exchange:
            case "credits":
                return Reply(
                    200, {"balance": 100, "reserved": 0, "available": 100, "recent_entries": []}
                )
            case "workflows":
                return Reply(200, {"workflows": [{"workflow_id": "w"}]})
            case "workflow":
                fields = {"available_fields": ["prompt.text", "image.image"]}
                return Reply(200, {"workflow_id": path[1], "metadata": fields})
            case "assets":
                return Reply(200, {"assets": list(self.assets.values())})
            case "create_asset":
                return self._create(json.loads(body))
            case "asset":
                return (
                    Reply(200, self.assets[last])
                    if last in self.assets
                    else Reply(404, raw=_NOT_FOUND)
                )
            case "delete_asset":
                return self._delete(last)
            case "generate":
                return self._generate(json.loads(body))
            case "job":
                return Reply(200, self._job(last))
            case "upload":
                self.assets[last]["status"] = "ready"
                return Reply(200)
            case "download":
                return Reply(200, raw=PICTURE)
        return Reply(404, raw=_NOT_FOUND)

    def _create(self, wanted: dict[str, Any]) -> Reply:
        asset_id = f"asset-{len(self.assets)}"
        self.assets[asset_id] = {
            "asset_id": asset_id,
            "status": "pending_upload",
            "byte_size": wanted["byte_size"],
            "metadata": wanted["metadata"],
        }
        upload_url = f"{self.url}/storage/up/{asset_id}?sig={SIGNATURE}"
        return Reply(
            201,
            {"asset_id": asset_id, "upload_url": upload_url, "credits_charged": float(ASSET_PRICE)},
        )

    def _delete(self, asset_id: str) -> Reply:
        is_there = self.assets[asset_id]["status"] != "deleted"
        self.assets[asset_id]["status"] = "deleted"
        self.rebates += ASSET_PRICE if is_there else 0
        return Reply(
            200,
            {"asset_id": asset_id, "deleted": True, "credit_rebate": float(ASSET_PRICE) * is_there},
        )

    def _generate(self, wanted: dict[str, Any]) -> Reply:
        key = wanted["idempotency_key"]
        known = key in self.jobs
        if not known:
            self.jobs[key] = f"job-{len(self.jobs)}"
            self.markers[wanted["params"]["prompt.text"]] += 1
        data = {"job_id": self.jobs[key], "status": "queued", "requested_credits": int(JOB_PRICE)}
        return Reply(200 if known else 202, data)

    def _job(self, job_id: str) -> dict[str, Any]:
        url = f"{self.url}/storage/out/{job_id}?sig={SIGNATURE}"
        return {
            "job_id": job_id,
            "status": "succeeded",
            "workflow_id": "w",
            "requested_credits": int(JOB_PRICE),
            "outputs": [{"id": "o-1", "job_id": job_id, "output_index": 0, "url": url}],
        }


def _exchange(method: str, path: list[str]) -> str:
    match method, path:
        case "GET", ["credits" | "assets" as name]:
            return name
        case "GET", ["workflows"]:
            return "workflows"
        case "GET", ["workflows", _, "metadata"]:
            return "workflow"
        case "POST", ["assets"]:
            return "create_asset"
        case "POST", ["generate"]:
            return "generate"
        case "GET", ["assets", _]:
            return "asset"
        case "DELETE", ["assets", _]:
            return "delete_asset"
        case "GET", ["jobs", _]:
            return "job"
        case "PUT", ["storage", "up", _]:
            return "upload"
        case "GET", ["storage", "out", _]:
            return "download"
    return "other"


@asynccontextmanager
async def serving(gateway: HostileGateway) -> AsyncIterator[HostileGateway]:
    """Put the gateway on a port of its own; what it still has to say ends with it."""
    listener = await asyncio.start_server(gateway.serve, "127.0.0.1", 0)
    gateway.url = "http://{}:{}".format(*listener.sockets[0].getsockname())
    before = asyncio.all_tasks()
    try:
        yield gateway
    finally:
        listener.close()
        others = asyncio.all_tasks() - before - {asyncio.current_task()}
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=2)
