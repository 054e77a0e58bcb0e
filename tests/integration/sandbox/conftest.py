"""A running sandbox, and a client of it that knows the contract but none of the product's code."""

import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import httpx
import pytest
from PIL import Image

from crucible_batch.sandbox import Running, SandboxConfig, serve
from tests.harness.sandbox_audit import with_audit


def image_bytes(colour: str = "teal", size: tuple[int, int] = (96, 64), kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind)
    return buffer.getvalue()


@dataclass
class Client:
    """One account's view of a sandbox: `api` sends the key, `storage` does not."""

    running: Running
    api: httpx.AsyncClient
    storage: httpx.AsyncClient

    async def get(self, path: str) -> Any:
        response = await self.api.get(path)
        assert response.status_code == 200, response.text
        return json.loads(response.text, parse_float=Decimal)["data"]

    async def generate(
        self, workflow_id: str, key: str | None = None, **params: object
    ) -> httpx.Response:
        body: dict[str, object] = {
            "workflow_id": workflow_id,
            "params": {name.replace("__", "."): value for name, value in params.items()},
        }
        if key is not None:
            body["idempotency_key"] = key
        return await self.api.post("/api/v1/generate", json=body)

    async def job(self, workflow_id: str, key: str | None = None, **params: object) -> Any:
        """Submit, and give the job as it then is."""
        response = await self.generate(workflow_id, key, **params)
        assert response.status_code in (200, 202), response.text
        return await self.get(f"/api/v1/jobs/{response.json()['data']['job_id']}")

    async def intend(self, content: bytes, mime_type: str = "image/png", **fields: object) -> Any:
        body = {"mime_type": mime_type, "byte_size": len(content), **fields}
        response = await self.api.post("/api/v1/assets", json=body)
        assert response.status_code == 201, response.text
        return response.json()["data"]

    async def put(
        self, intent: Any, content: bytes, mime_type: str = "image/png"
    ) -> httpx.Response:
        return await self.storage.put(
            intent["upload_url"], content=content, headers={"content-type": mime_type}
        )

    async def upload(self, content: bytes, mime_type: str = "image/png", **fields: object) -> str:
        """Upload an image; gives the id of its asset."""
        intent = await self.intend(content, mime_type, **fields)
        response = await self.put(intent, content, mime_type)
        assert response.status_code == 200, response.text
        return str(intent["asset_id"])

    async def state(self) -> Any:
        return with_audit(
            json.loads((await self.api.get("/_sandbox/state")).text, parse_float=Decimal)
        )

    async def configure(self, **levers: object) -> None:
        response = await self.api.post("/_sandbox/config", json=levers)
        assert response.status_code == 200, response.text

    async def violations(self) -> list[str]:
        return [violation["kind"] for violation in (await self.state())["violations"]]


Start = Callable[..., AbstractAsyncContextManager[Client]]


@asynccontextmanager
async def start_sandbox(**settings: Any) -> AsyncIterator[Client]:
    """Run a sandbox in which nothing takes time, unless `settings` say otherwise."""
    config = SandboxConfig(
        **{"time_scale": 0, "ready_after_s": 0, "slow_answer_s": 0.02, **settings}
    )
    async with (
        serve(config) as running,
        httpx.AsyncClient(
            base_url=running.api_url,
            headers={"authorization": f"Bearer {running.api_key}"},
            trust_env=False,
        ) as api,
        httpx.AsyncClient(trust_env=False) as storage,
    ):
        yield Client(running, api, storage)


@pytest.fixture
def start() -> Start:
    return start_sandbox


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with start_sandbox() as client:
        yield client


@pytest.fixture
def picture() -> Callable[..., bytes]:
    return image_bytes
