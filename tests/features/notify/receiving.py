"""A server on a port that keeps what it receives, and messages to send to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from crucible_batch.features.notify.messages import (
    MessageCredits,
    MessageData,
    RunMessage,
    attempt_id,
)
from crucible_batch.report.models import OutcomeCounts

ATTEMPT = attempt_id("/runs/spring", 1790000000.25)
CANARY = "9f1c-canary-address"


def message(kind: str = "run.partial", *, exit_code: int = 1, **data: object) -> RunMessage:
    given = {
        "manifest": "spring",
        "run_id": "night-1",
        "attempt": ATTEMPT,
        "exit_code": exit_code,
        "counts": OutcomeCounts(total=7, succeeded=6, failed=1),
        "credits": MessageCredits(budget="20", run="4", total="12.5", held="0"),
        "error_codes": ["JOB_FAILED"],
        "run_dir": "/runs/spring",
        "report": "/runs/spring/report.json",
        "next_command": "crucible-batch run spring.yaml --retry-failed",
        **data,
    }
    return RunMessage(
        type=kind,
        timestamp="2026-11-26T03:15:00.000Z",
        data=MessageData(**given),  # type: ignore[arg-type]
    )


@dataclass(frozen=True)
class Request:
    """A request as it was received."""

    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query)


@dataclass
class Receiver:
    """Answers each request with the next of ``answers``, the last one forever; None closes without
    an answer."""

    answers: Sequence[bytes | None]
    url: str = ""
    requests: list[Request] = field(default_factory=list)
    held: asyncio.Event = field(default_factory=asyncio.Event)
    serving: set[asyncio.Task[None] | None] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serving.add(asyncio.current_task())
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.splitlines()
            headers = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in lines if line)
            }
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self.requests.append(Request(first.split()[1], headers, body))
            answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
            if answer == HANG:
                await self.held.wait()
            elif answer is not None:
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


HANG = b"hang"


def answer(status: str, headers: str = "", body: bytes = b"") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


OK = answer("200 OK", "Ping-Body-Limit: 100000\r\n", b"OK")


@asynccontextmanager
async def receiving(*answers: bytes | None) -> AsyncIterator[Receiver]:
    receiver = Receiver(answers or (OK,))
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield receiver
    finally:
        receiver.held.set()
        server.close()
        for task in receiver.serving:
            if task is not None:
                await task
