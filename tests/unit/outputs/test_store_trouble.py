"""What an S3 store does on a bad day: errors for a while, answers that are cut, and conflicts that
are nobody's.

The server is ours, and the client that of the product, with its own retries.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from crucible_batch.object_url import ObjectUrl
from crucible_batch.outputs.objects import Objects

CONTENT = bytes(range(256)) * 40
CONFLICT = b"<Error><Code>ConditionalRequestConflict</Code><Message>try it again</Message></Error>"
EXISTS = b"<Error><Code>PreconditionFailed</Code></Error>"
BUSY = b"<Error><Code>SlowDown</Code></Error>"
Trouble = Callable[["Handler"], bool]


class Bucket:
    """The objects of a server, by path.

    ``trouble`` answers a request, and returns whether it did.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.requests: Counter[str] = Counter()
        self.trouble: Trouble = lambda _handler: False


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bucket: Bucket

    def handle_any(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.bucket.requests[self.command] += 1
        if not self.bucket.trouble(self):
            self.perform()

    do_GET = do_HEAD = do_PUT = do_DELETE = handle_any

    def perform(self) -> None:
        path, objects = self.path.partition("?")[0], self.bucket.objects
        match self.command:
            case "PUT" if path in objects and self.headers.get("If-None-Match") == "*":
                self.reply(412, EXISTS)
            case "PUT":
                objects[path] = self.body
                self.reply(200, b"")
            case "DELETE":
                objects.pop(path, None)
                self.reply(204, b"")
            case _ if path not in objects:
                self.reply(404, b"<Error><Code>NoSuchKey</Code></Error>")
            case _:
                self.reply(200, objects[path])

    def reply(self, status: int, content: bytes, *, sent: int | None = None) -> None:
        """Answer with the first ``sent`` bytes of the content only, and close the connection."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"')
        self.send_header("Last-Modified", "Mon, 30 Nov 2026 00:00:00 GMT")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:sent])
        if sent is not None:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Keep quiet."""


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    found = Bucket()
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), type("OwnHandler", (Handler,), {"bucket": found})
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    for name, value in variables(server.server_port).items():
        monkeypatch.setenv(name, value)
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


def variables(port: int) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": "AKIACANARY0123456789",
        "AWS_SECRET_ACCESS_KEY": "canary-secret-0123456789",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }


@pytest.fixture
def objects(bucket: Bucket) -> Objects:
    return Objects.at(ObjectUrl("s3", "outputs", "runs/trial"))


def first(count: int, command: str, answer: Callable[[Handler], None]) -> Trouble:
    """Answer the first requests of a kind so."""
    left = [count]

    def trouble(handler: Handler) -> bool:
        if handler.command != command or not left[0]:
            return False
        left[0] -= 1
        answer(handler)
        return True

    return trouble


def cut_after(sent: int) -> Callable[[Handler], None]:
    return lambda handler: handler.reply(200, CONTENT, sent=sent)


@pytest.mark.parametrize("sent", [0, 1, len(CONTENT) // 2, len(CONTENT) - 1])
@pytest.mark.parametrize("request_of", ["read", "digest"])
async def test_a_get_whose_answer_is_cut_is_repeated(
    bucket: Bucket, objects: Objects, sent: int, request_of: str
) -> None:
    assert await objects.create("a.png", CONTENT)
    bucket.trouble = first(1, "GET", cut_after(sent))
    wanted: Any = CONTENT if request_of == "read" else hashlib.sha256(CONTENT).hexdigest()
    assert await getattr(objects, request_of)("a.png") == wanted
    assert bucket.requests["GET"] >= 2


async def test_a_conflict_of_a_creation_is_no_other_object_and_it_is_repeated(
    bucket: Bucket, objects: Objects
) -> None:
    """S3 answers 409 where another conditional request of the same key was in flight, even one of
    this process."""
    bucket.trouble = first(1, "PUT", lambda handler: handler.reply(409, CONFLICT))
    assert await objects.create("a.png", CONTENT)
    assert list(bucket.objects.values()) == [CONTENT]
    assert bucket.requests["PUT"] == 2


async def test_after_a_conflict_the_object_of_another_process_is_kept(
    bucket: Bucket, objects: Objects
) -> None:
    def other(handler: Handler) -> None:
        bucket.objects[handler.path.partition("?")[0]] = b"of another process"
        handler.reply(409, CONFLICT)

    bucket.trouble = first(1, "PUT", other)
    assert not await objects.create("a.png", CONTENT)
    assert list(bucket.objects.values()) == [b"of another process"]


async def test_a_conflict_of_a_replacement_is_repeated(bucket: Bucket, objects: Objects) -> None:
    assert await objects.create("a.png", b"first")
    info = await objects.info("a.png")
    assert info is not None
    bucket.trouble = first(1, "PUT", lambda handler: handler.reply(409, CONFLICT))
    assert await objects.replace("a.png", CONTENT, info)
    assert list(bucket.objects.values()) == [CONTENT]
