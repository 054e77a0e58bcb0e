"""A Crucible gateway by another hand: contract 1.0.0 read literally, and wherever it leaves a
choice, the unusual one.

Written from ``crucible-openapi.yaml`` and its notes alone. It knows nothing of this project's
client and sandbox.
"""

from __future__ import annotations

import json
import re
import secrets
import sys
import threading
import time
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from other_world import WORKFLOWS, Asset, Refusal, World, now, render

_MAGIC = {"image/png": b"\x89PNG", "image/jpeg": b"\xff\xd8\xff", "image/webp": b"RIFF"}


def dumps(value: object) -> bytes:
    """JSON with Decimals as exact numbers."""
    text = json.dumps(value, default=lambda amount: f"\0{amount:f}", ensure_ascii=False)
    return re.sub(r'"\\u0000([0-9.-]+)"', r"\1", text).encode()


def loads(raw: bytes) -> Any:
    """JSON without duplicate keys, NaN and infinities. Raises ``ValueError``."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("duplicate keys")
        return dict(pairs)

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    return json.loads(raw, object_pairs_hook=once, parse_constant=refuse)


class OtherGateway(World):
    """The gateway: an API on one port, its storage on another. ``with`` starts and stops it."""

    def __init__(self) -> None:
        super().__init__(Decimal(1000))
        self.api_key = f"moltazine_{secrets.token_urlsafe(24)}"
        self._api = _Server(("127.0.0.1", 0), _ApiHandler, self)
        self._storage = _Server(("127.0.0.1", 0), _StorageHandler, self)
        self.api_url = f"http://127.0.0.1:{self._api.server_address[1]}"
        self.storage_url = f"http://127.0.0.1:{self._storage.server_address[1]}"

    def __enter__(self) -> OtherGateway:
        for server in (self._api, self._storage):
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in (self._api, self._storage):
            server.shutdown()
            server.server_close()


class _Server(ThreadingHTTPServer):
    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], handler: type[_Handler], gateway: OtherGateway
    ) -> None:
        super().__init__(address, handler)
        self.gateway = gateway

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client that was killed
            self.gateway.violations.append(f"the gateway failed: {sys.exception()!r}")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server
    where = ""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Keep quiet: ``requests`` is the log."""

    def handle_one(self) -> None:
        gateway, (path, query) = (
            self.server.gateway,
            (urlsplit(self.path).path, urlsplit(self.path).query),
        )
        declared = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(declared)
        if (
            len(body) < declared
        ):  # its sender was killed in the middle of it: no request, and no fault of a client
            self.close_connection = True
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        seen = {
            "where": self.where,
            "method": self.command,
            "path": path,
            "bytes": len(body),
            "headers": headers,
        }
        gateway.requests.append(seen)
        seen["status"] = self.answer(gateway, path, query, body)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = handle_one

    def answer(self, gateway: OtherGateway, path: str, query: str, body: bytes) -> int:
        raise NotImplementedError

    def send(self, status: int, content: bytes, mime_type: str, *, chunked: bool = False) -> int:
        self.send_response(status)
        self.send_header("Content-Type", mime_type)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
            parts = [content[at : at + 300] for at in range(0, len(content), 300)] + [b""]
            content = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(part), part) for part in parts)
        else:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        return status


class _ApiHandler(_Handler):
    where = "api"

    def answer(self, gateway: OtherGateway, path: str, query: str, body: bytes) -> int:
        with gateway.lock:
            gateway.settle()
            try:
                status, data = self.operate(gateway, path, query, body)
                answer = {"success": True, "data": data, "warnings": None}
            except Refusal as refusal:
                status = refusal.status
                answer = {
                    "success": False,
                    "code": refusal.code,
                    "error": str(refusal),
                    "docs": None,
                }
            if len(gateway.requests) % 3:
                answer["request_id"] = f"req_{len(gateway.requests)}"
            content = dumps(answer)
        return self.send(status, content, "application/json; charset=UTF-8")

    def operate(self, gateway: OtherGateway, path: str, query: str, body: bytes) -> tuple[int, Any]:
        call = f"{self.command} {path.removeprefix('/api/v1')}"
        if call == "GET /api/health":
            return 200, {"status": "ok"}
        if self.headers.get_all("Authorization") != [f"Bearer {gateway.api_key}"]:
            raise Refusal(401, "UNAUTHORIZED", "who are you?")
        if query or not path.startswith("/api/v1/") or (body and self.command != "POST"):
            raise gateway.breach(f"not in the contract: {call}")
        if self.command == "POST":
            return self.post(gateway, call, body)
        subject = unquote(path.split("/")[4]) if path.count("/") > 3 else ""
        if call == "GET /credits":
            reserved, recent = gateway.reserved(), gateway.ledger[:-21:-1]
            credits = {
                "balance": gateway.balance,
                "reserved": reserved,
                "available": gateway.balance - reserved,
            }
            return 200, {**credits, "recent_entries": recent, "plan": None}
        if call == "GET /workflows":
            listed = [*WORKFLOWS, "ghost"]  # one that is listed and has no metadata
            return 200, {
                "workflows": [{"workflow_id": w, "updated_at": now(), "beta": None} for w in listed]
            }
        if re.fullmatch(r"GET /workflows/[^/]+/metadata", call):
            if subject not in WORKFLOWS:
                raise Refusal(404, "WORKFLOW_NOT_FOUND", subject)
            return 200, {
                "workflow_id": subject,
                "metadata": WORKFLOWS[subject].metadata,
                "version": 3,
            }
        if call == "GET /assets":
            return 200, {
                "assets": [gateway.describe_asset(a) for a in reversed(gateway.assets.values())],
                "next": None,
            }
        if re.fullmatch(r"(GET|DELETE) /assets/[^/]+", call):
            if self.command == "DELETE":
                return gateway.delete_asset(subject)
            return 200, gateway.describe_asset(gateway.find_asset(subject))
        if re.fullmatch(r"GET /jobs/[^/]+", call):
            return 200, gateway.describe_job(subject)
        raise gateway.breach(f"not in the contract: {call}")

    def post(self, gateway: OtherGateway, call: str, body: bytes) -> tuple[int, dict[str, Any]]:
        if (
            self.headers.get_content_type() != "application/json"
            or "Content-Length" not in self.headers
        ):
            raise gateway.breach(f"{call}: not a JSON body with its length: {self.headers.items()}")
        try:
            value = loads(body)
        except ValueError as error:
            raise gateway.breach(f"{call}: {error}: {body!r}") from error
        operations = {"POST /generate": gateway.generate, "POST /assets": gateway.create_asset}
        if call not in operations:
            raise gateway.breach(f"not in the contract: {call}")
        return operations[call](value)


class _StorageHandler(_Handler):
    where = "storage"

    def answer(self, gateway: OtherGateway, path: str, query: str, body: bytes) -> int:
        with gateway.lock:
            if any(
                name in self.headers for name in ("Authorization", "Cookie", "Proxy-Authorization")
            ):
                gateway.violations.append(f"credentials at the storage: {path}")
            if not gateway.verify(path, query):
                return self.send(
                    403, b"<Error><Code>AccessDenied</Code></Error>", "application/xml"
                )
            _, what, subject, *rest = path.split("/")
            if (self.command, what) == ("PUT", "up"):
                return self.put(gateway, gateway.assets[subject], body)
            if (self.command, what) == ("GET", "dl"):
                job, index = gateway.jobs[subject], int(rest[0])
                fmt = dict(WORKFLOWS[job.workflow].outputs)[index]
                content = render(job.workflow, job.asked, index, fmt)
                return self.send(200, content, "application/octet-stream", chunked=fmt == "JPEG")
            gateway.violations.append(f"at the storage: {self.command} {path}")
        return self.send(405, b"", "text/plain")

    def put(self, gateway: OtherGateway, asset: Asset, body: bytes) -> int:
        mime_type, length = asset.request["mime_type"], str(asset.request["byte_size"])
        sent = (self.headers.get_all("Content-Type"), self.headers.get_all("Content-Length"))
        if sent != ([mime_type], [length]) or "Transfer-Encoding" in self.headers:
            gateway.violations.append(f"PUT with {self.headers.items()}, declared {asset.request}")
            return self.send(
                400, b"<Error><Code>SignatureDoesNotMatch</Code></Error>", "application/xml"
            )
        if not body.startswith(_MAGIC.get(mime_type, b"")) or asset.content is not None:
            gateway.violations.append(f"PUT twice, or of bytes that are no {mime_type}")
        asset.content, asset.put_at = body, time.monotonic()
        return self.send(200, b"", "text/plain")
