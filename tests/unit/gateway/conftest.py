"""What the gateway's tests share: a fake clock to sleep on, clients on handlers, and well-formed
answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
import pytest

from crucible_batch.gateway import (
    CrucibleClient,
    HttpGateway,
    Retrier,
    RetryNotice,
    RetryPolicy,
    StorageClient,
)
from crucible_batch.gateway.url_guard import parse_api_base
from tests.harness.case_table import each_case
from tests.harness.skipped_time import loops_for


def pytest_asyncio_loop_factories(item: pytest.Item) -> object:
    """Tests on real sockets run in a loop that skips the time in which all wait."""
    return loops_for(item, "connect")


KEY = "moltazine_test-key-that-must-not-be-seen"
BASE = "https://crucible.test"
JOB_ID = "11111111-1111-4111-8111-111111111111"
ASSET_ID = "22222222-2222-4222-8222-222222222222"

Handler = Callable[[httpx.Request], httpx.Response]


@dataclass
class Waiting:
    """A clock that only sleeping moves, and a record of what was waited for and announced."""

    now: float = 0.0
    slept: list[float] = field(default_factory=list)
    notices: list[RetryNotice] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def retrier(self, policy: RetryPolicy | None = None) -> Retrier:
        return Retrier(
            policy or RetryPolicy(attempts=3),
            on_retry=self.notices.append,
            sleep=self.sleep,
            clock=lambda: self.now,
            jitter=lambda: 0.5,
        )


@dataclass
class World:
    """A gateway that answers as ``handler`` says, and keeps the requests that came."""

    handler: Handler
    waiting: Waiting
    policy: RetryPolicy
    requests: list[httpx.Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.transport = httpx.MockTransport(self._answer)
        retrier = self.waiting.retrier(self.policy)
        self.client = CrucibleClient(KEY, base_url=BASE, transport=self.transport, retry=retrier)
        self.storage = StorageClient(parse_api_base(BASE), retrier, transport=self.transport)
        self.gateway = HttpGateway(self.client, self.storage)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.handler(request)


@pytest.fixture
def waiting() -> Waiting:
    return Waiting()


@pytest.fixture
def world(waiting):
    """Make a world of a handler, or of answers that come one after the other (the last one for
    ever)."""

    def make(*answers, policy: RetryPolicy | None = None) -> World:
        queue = list(answers)

        def handler(request: httpx.Request) -> httpx.Response:
            answer = queue.pop(0) if len(queue) > 1 else queue[0]
            if isinstance(answer, type) and issubclass(answer, Exception):
                raise answer("as the test wants")
            return answer(request) if callable(answer) else answer()

        one_handler = (
            len(answers) == 1 and callable(answers[0]) and not isinstance(answers[0], type | Reply)
        )
        return World(
            answers[0] if one_handler else handler, waiting, policy or RetryPolicy(attempts=3)
        )

    return make


class Reply:
    """An answer that can be given many times."""

    def __init__(
        self, status: int = 200, body: object = None, *, raw: bytes | None = None, **headers: str
    ) -> None:
        self.status = status
        self.raw = raw if raw is not None else json.dumps(body).encode()
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def __call__(self, request: httpx.Request | None = None) -> httpx.Response:
        return httpx.Response(self.status, content=self.raw, headers=self.headers)


@pytest.fixture
def reply():
    return Reply


@pytest.fixture
def ok():
    """An answer in the success envelope."""

    def make(data: object, status: int = 200) -> Reply:
        return Reply(status, {"success": True, "data": data, "request_id": "req-1"})

    return make


@pytest.fixture
def failed():
    """An answer in the failure envelope."""

    def make(status: int, code: str = "SOME_CODE", **more: object) -> Reply:
        return Reply(status, {"success": False, "code": code, "error": f"about {code}", **more})

    return make


GOOD_DATA = {
    "health": {"status": "ok"},
    "credits": {"balance": 10, "reserved": 1, "available": 9, "recent_entries": []},
    "workflows": {
        "workflows": [{"workflow_id": "zimage-base", "updated_at": "2026-01-01T00:00:00Z"}]
    },
    "workflow": {"workflow_id": "zimage-base", "metadata": {"available_fields": ["prompt.text"]}},
    "assets": {"assets": []},
    "asset": {"asset_id": ASSET_ID, "status": "ready"},
    "create_asset": {
        "asset_id": ASSET_ID,
        "upload_url": "https://s.test/u?sig=S",
        "credits_charged": 1,
    },
    "delete_asset": {"asset_id": ASSET_ID, "deleted": True, "credit_rebate": 1},
    "generate": {"job_id": JOB_ID, "status": "queued", "requested_credits": 2},
    "job": {
        "job_id": JOB_ID,
        "status": "running",
        "workflow_id": "zimage-base",
        "requested_credits": 2,
        "outputs": [],
    },
}

CALLS = {
    "health": lambda client: client.health(),
    "credits": lambda client: client.credits(),
    "workflows": lambda client: client.workflows(),
    "workflow": lambda client: client.workflow("zimage-base"),
    "assets": lambda client: client.assets(),
    "asset": lambda client: client.asset(ASSET_ID),
    "create_asset": lambda client: client.create_asset(mime_type="image/png", byte_size=3),
    "delete_asset": lambda client: client.delete_asset(ASSET_ID),
    "generate": lambda client: client.generate(
        "zimage-base", {"prompt.text": "a cat"}, idempotency_key="k-1"
    ),
    "job": lambda client: client.job(JOB_ID),
}


each_operation = each_case("operation", sorted(CALLS))
"""Run a test with each of the contract's ten operations, as one test."""


@pytest.fixture
def call():
    return lambda client, operation: CALLS[operation](client)


@pytest.fixture
def good_data():
    return lambda operation: json.loads(json.dumps(GOOD_DATA[operation]))
