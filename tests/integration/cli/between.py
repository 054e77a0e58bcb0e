"""A gateway in front of the sandbox's that answers some requests itself, as a real one could."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answers = dict[tuple[str, str], tuple[int, dict[str, Any]]]
"""By method and start of the path: the status and the body."""


class Between:
    """The gateway. ``answers`` may be changed while it runs; ``asked`` counts what it has answered itself."""

    def __init__(self, behind: str) -> None:
        self.behind = behind
        self.answers: Answers = {}
        self.asked = 0
        self.url = ""

    def own_answer(self, method: str, path: str) -> tuple[int, dict[str, Any]] | None:
        for (of_method, start), answer in self.answers.items():
            if method == of_method and path.startswith(start):
                self.asked += 1
                return answer
        return None


@contextmanager
def gateway_between(behind: str) -> Iterator[Between]:
    """Run a gateway in front of the one at ``behind``."""
    between = Between(behind)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            own = between.own_answer(self.command, self.path)
            if own is not None:
                self._send(own[0], json.dumps(own[1]).encode(), "application/json")
                return
            headers = {name: value for name, value in self.headers.items() if name.lower() in _PASSED_ON}
            request = urllib.request.Request(
                between.behind + self.path, data=body or None, headers=headers, method=self.command
            )
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            try:
                with opener.open(request, timeout=60) as answer:
                    self._send(answer.status, answer.read(), answer.headers["Content-Type"])
            except urllib.error.HTTPError as error:
                self._send(error.code, error.read(), error.headers["Content-Type"])

        def _send(self, status: int, body: bytes, kind: str | None) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind or "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = do_PUT = _handle

        def log_request(self, code: object = "-", size: object = "-") -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    between.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield between
    finally:
        server.shutdown()
        server.server_close()


_PASSED_ON = frozenset({"authorization", "content-type", "x-api-key", "accept", "idempotency-key"})
