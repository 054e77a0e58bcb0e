"""A gateway, written from the contract alone, that refuses requests in chosen ways and counts what a client does.

`python -m tests.verification.pushback.gateway --port 0 --max-in-flight 20` prints its base URL on the first line.
Everything that it does at random is drawn from `--seed`. `GET /_stats` has the counts.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import math
import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aiohttp import web

from tests.verification.pushback.capacity import RunnerPool, TokenBucket
from tests.verification.pushback.options import parse
from tests.verification.pushback.picture import SIDE_PX, png
from tests.verification.pushback.records import Account, Asset, Job
from tests.verification.pushback.stats import Stats
from tests.verification.pushback.wire import answer, failure, now_text, read_object

FIELDS = (
    "prompt.text",
    "negative_prompt.text",
    "sampler.seed",
    "size.width",
    "size.height",
    "size.batch_size",
    "image.image",
)
WORKFLOWS = ("draw-1", "draw-2", "draw-3", "draw-4")
BURST_GAP_S = 2.0  # mean time between two bursts of other clients' jobs
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Gateway:
    """The API and the storage of the contract, each on an origin of its own, and the pushback in front of them."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.rng, self.stats = options, random.Random(options.seed), Stats()
        self.accounts: dict[str, Account] = {}
        self.jobs: dict[str, Job] = {}
        self.assets: dict[str, Asset] = {}
        self.pool = RunnerPool(options.runners, self.draw_service)
        self.cap: int | None = options.max_in_flight
        self.bucket = options.max_rps and TokenBucket(options.max_rps, options.burst or max(1.0, options.max_rps))
        self.began_at: float | None = None  # the first submit
        self.storage_url = ""

    def draw_service(self) -> float:
        mean, sigma = self.options.service, self.options.spread
        return float(mean * math.exp(self.rng.gauss(0, sigma) - sigma * sigma / 2) if sigma else mean)

    def begin(self, now: float) -> None:
        self.began_at = now
        loop = asyncio.get_running_loop()
        if self.cap is not None:
            self.stats.caps.append((now, self.cap))
        for at, cap in self.options.change:
            loop.call_later(at, self.change_cap, cap)
        if self.options.tenants:
            self.burst_of_tenants()

    def change_cap(self, cap: int) -> None:
        self.cap = cap
        self.stats.caps.append((time.monotonic(), cap))

    def burst_of_tenants(self) -> None:
        jobs = self.options.tenants * self.options.runners * BURST_GAP_S / self.options.service
        for _ in range(round(jobs)):
            self.pool.put(lambda: None, lambda: None)
        asyncio.get_running_loop().call_later(self.rng.expovariate(1 / BURST_GAP_S), self.burst_of_tenants)

    # --- in front of every request

    def pushed_back(self, is_submit: bool, now: float) -> tuple[str, web.Response] | None:
        """The reason of a refusal and its answer, or None. Decided before the request has any effect."""
        options = self.options
        if self.in_outage(now):
            return "outage", failure(503, "UNAVAILABLE", "Service unavailable", options.retry_after)
        for reason, share, status, code in (
            ("stray_503", options.stray_503, 503, "UNAVAILABLE"),
            ("stray_500", options.stray_500, 500, "INTERNAL_ERROR"),
            ("stray_429", options.stray_429, 429, "RATE_LIMITED"),
        ):
            if share and self.rng.random() < share:
                after = None if status == 500 else options.retry_after
                return reason, failure(status, code, "Try again later", after)
        limited = self.bucket and (is_submit or options.rps_on == "all")
        if limited and not self.bucket.take(now):
            return "rate", failure(429, "RATE_LIMITED", "Too many requests", options.retry_after)
        return None

    def in_outage(self, now: float) -> bool:
        since = None if self.began_at is None else now - self.began_at
        return since is not None and any(start <= since < end for start, end in self.options.outage)

    @web.middleware
    async def edge(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == "/_stats":
            return await handler(request)
        now, kind = time.monotonic(), request.match_info.route.name or "unknown"
        self.stats.requests[kind] += 1
        if kind == "submit" and self.began_at is None:
            self.begin(now)
        refusal = self.pushed_back(kind == "submit", now)
        if refusal is not None:
            self.count_refusal(refusal[0], kind)
            return refusal[1]
        cut = self.options.cut and self.rng.random() < self.options.cut
        response = await handler(request)
        if cut and request.transport is not None:
            self.stats.refused["cut"] += 1
            request.transport.abort()
        return response

    def count_refusal(self, reason: str, kind: str) -> None:
        self.stats.refused[reason] += 1
        if kind == "submit":
            self.stats.submits_refused[reason] += 1

    def authorized(self, handle: Callable[[web.Request, Account], Awaitable[web.Response]]) -> Handler:
        async def checked(request: web.Request) -> web.StreamResponse:
            scheme, _, key = request.headers.get("Authorization", "").partition(" ")
            if scheme != "Bearer" or not key.startswith("moltazine_"):
                return failure(401, "UNAUTHORIZED", "Missing or invalid API key")
            account = self.accounts.get(key)
            if account is None:
                account = self.accounts[key] = Account(self.options.credits)
            return await handle(request, account)

        return checked

    # --- credits and workflows

    async def health(self, _: web.Request) -> web.StreamResponse:
        return answer({"status": "ok"})

    async def credits(self, _: web.Request, account: Account) -> web.Response:
        available = account.balance - account.reserved
        entries = list(reversed(account.ledger))
        books = {"balance": account.balance, "reserved": account.reserved, "available": available}
        return answer({**books, "recent_entries": entries})

    def enter(self, account: Account, entry_type: str, amount: int, job_id: str | None) -> None:
        entry = {"id": self.new_id(), "job_id": job_id, "entry_type": entry_type, "status": "completed"}
        account.ledger.append({**entry, "amount": amount, "description": None, "created_at": now_text()})

    async def workflows(self, _: web.Request, __: Account) -> web.Response:
        return answer(
            {"workflows": [{"workflow_id": name, "updated_at": "2026-01-01T00:00:00Z"} for name in WORKFLOWS]}
        )

    async def metadata(self, request: web.Request, _: Account) -> web.Response:
        name = request.match_info["workflow_id"]
        if name not in WORKFLOWS:
            return failure(404, "WORKFLOW_NOT_FOUND", "No such workflow")
        metadata: dict[str, Any] = {"available_fields": list(FIELDS)}
        if self.options.estimate is not None:
            metadata["estimated_time_seconds"] = self.options.estimate
        return answer({"workflow_id": name, "metadata": metadata})

    # --- assets

    async def create_asset(self, request: web.Request, account: Account) -> web.Response:
        body = await read_object(request)
        mime_type, byte_size = body.get("mime_type"), body.get("byte_size")
        if not isinstance(mime_type, str) or not mime_type.startswith("image/") or len(mime_type) > 128:
            return failure(400, "INVALID_REQUEST", "mime_type must start with image/")
        if not isinstance(byte_size, int) or byte_size < 1:
            return failure(400, "INVALID_REQUEST", "byte_size must be a positive integer")
        if account.balance - account.reserved < self.options.asset_price:
            return failure(402, "INSUFFICIENT_CREDITS", "Not enough credits")
        account.balance -= self.options.asset_price
        self.enter(account, "asset_charge", -self.options.asset_price, None)
        asset = Asset(
            self.new_id(), account, mime_type, byte_size, body.get("filename"), body.get("metadata") or {},
            self.new_id(), now_text(), now_text(later_s=3600),
        )  # fmt: skip
        self.assets[asset.asset_id] = asset
        data = {"asset_id": asset.asset_id, "bucket": "assets", "object_path": asset.asset_id}
        data["upload_url"] = f"{self.storage_url}/assets/{asset.asset_id}?token={asset.token}"
        data |= {"upload_token": asset.token, "upload_expires_at": asset.expires_at}
        return answer({**data, "credits_charged": self.options.asset_price}, 201)

    def describe(self, asset: Asset) -> dict[str, Any]:
        ready = asset.status == "ready"
        return {
            "asset_id": asset.asset_id, "status": asset.status, "mime_type": asset.mime_type,
            "byte_size": asset.byte_size, "bucket": "assets", "object_path": asset.asset_id,
            "original_filename": asset.filename, "metadata": asset.metadata, "created_at": asset.created_at,
            "upload_expires_at": asset.expires_at,
            "download_url": f"{self.storage_url}/assets/{asset.asset_id}?token={asset.token}" if ready else None,
        }  # fmt: skip

    async def list_assets(self, _: web.Request, account: Account) -> web.Response:
        own = [asset for asset in self.assets.values() if asset.account is account and asset.status != "deleted"]
        return answer({"assets": [self.describe(asset) for asset in own]})

    async def asset(self, request: web.Request, account: Account) -> web.Response:
        asset = self.assets.get(request.match_info["asset_id"])
        if asset is None or asset.account is not account or asset.status == "deleted":
            return failure(404, "ASSET_NOT_FOUND", "No such asset")
        if request.method == "GET":
            return answer(self.describe(asset))
        asset.status, asset.content = "deleted", b""
        account.balance += self.options.asset_price
        self.enter(account, "asset_rebate", self.options.asset_price, None)
        return answer({"asset_id": asset.asset_id, "deleted": True, "credit_rebate": self.options.asset_price})

    # --- generation and jobs

    def invalid(self, body: dict[str, Any], account: Account) -> web.Response | None:
        params, key = body.get("params"), body.get("idempotency_key", "-")
        if body.get("workflow_id") not in WORKFLOWS:
            return failure(404, "WORKFLOW_NOT_FOUND", "Workflow not found or not approved")
        if not isinstance(params, dict) or not isinstance(key, str) or not 1 <= len(key) <= 128:
            return failure(400, "INVALID_REQUEST", "params must be an object, idempotency_key 1 to 128 characters")
        if not set(params) <= set(FIELDS) or params.get("size.batch_size", 1) != 1:
            return failure(400, "INVALID_PARAMS", "A parameter is unknown, or size.batch_size is not 1")
        asset = self.assets.get(str(params.get("image.image")))
        if "image.image" in params and (asset is None or asset.account is not account or asset.status != "ready"):
            return failure(400, "INVALID_PARAMS", "image.image must be an uploaded asset of the caller")
        return None

    async def submit(self, request: web.Request, account: Account) -> web.Response:
        body = await read_object(request)
        invalid = self.invalid(body, account)
        if invalid is not None:
            return invalid
        key, price = body.get("idempotency_key"), self.options.price
        earlier = account.by_key.get(key) if key is not None else None
        if earlier is not None:
            self.stats.submits_replayed += 1
            return answer({"job_id": earlier.job_id, "status": earlier.status, "requested_credits": price})
        if self.cap is not None and account.in_flight >= self.cap:
            self.count_refusal("cap", "submit")
            return failure(429, "RATE_LIMITED", "Too many requests", self.options.retry_after)
        if account.balance - account.reserved < price:
            return failure(402, "INSUFFICIENT_CREDITS", "Not enough credits")
        job = self.accept(account, body)
        return answer({"job_id": job.job_id, "status": job.status, "requested_credits": price}, 202)

    def accept(self, account: Account, body: dict[str, Any]) -> Job:
        key, workflow_id = body.get("idempotency_key"), body["workflow_id"]
        subject = json.dumps([workflow_id, body["params"]], sort_keys=True)
        job = Job(self.new_id(), account, workflow_id, subject, key, "queued", now_text(), self.new_id())
        self.jobs[job.job_id] = job
        if key is not None:
            account.by_key[key] = job
        account.reserved += self.options.price
        self.enter(account, "reserve", -self.options.price, job.job_id)
        self.stats.submits_accepted += 1
        self.stats.accepted_at[workflow_id].append(time.monotonic())
        self.count_in_flight(account, 1)
        self.pool.put(lambda: setattr(job, "status", "running"), lambda: self.finish(job))
        return job

    def finish(self, job: Job) -> None:
        job.status = "succeeded"
        job.account.reserved -= self.options.price
        job.account.balance -= self.options.price
        self.enter(job.account, "consume", -self.options.price, job.job_id)
        self.stats.charges_by_key[job.key or job.job_id] += 1
        self.stats.charges_by_subject[job.subject] += 1
        self.count_in_flight(job.account, -1)

    def count_in_flight(self, account: Account, change: int) -> None:
        account.in_flight += change
        self.stats.levels.append((time.monotonic(), sum(each.in_flight for each in self.accounts.values())))

    async def job(self, request: web.Request, account: Account) -> web.Response:
        job = self.jobs.get(request.match_info["job_id"])
        if job is None or job.account is not account:
            return failure(404, "JOB_NOT_FOUND", "No such job")
        data = {"job_id": job.job_id, "status": job.status, "workflow_id": job.workflow_id}
        outputs = [self.output(job)] if job.status == "succeeded" else []
        books = {"requested_credits": self.options.price, "error_code": None, "error_message": None}
        return answer({**data, **books, "outputs": outputs})

    def output(self, job: Job) -> dict[str, Any]:
        return {
            "id": job.token, "job_id": job.job_id, "output_index": 0, "storage_provider": "local", "bucket": "outputs",
            "path": f"{job.job_id}.png", "url": f"{self.storage_url}/outputs/{job.job_id}.png?token={job.token}",
            "mime_type": "image/png", "width": SIDE_PX, "height": SIDE_PX, "metadata": {}, "created_at": job.created_at,
        }  # fmt: skip

    def new_id(self) -> str:
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    # --- storage

    @web.middleware
    async def storage_edge(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.stats.requests[request.match_info.route.name or "unknown"] += 1
        self.stats.keys_at_storage += "Authorization" in request.headers
        if self.in_outage(time.monotonic()):
            return web.Response(status=503, text="Service unavailable")
        return await handler(request)

    async def download(self, request: web.Request) -> web.StreamResponse:
        job = self.jobs.get(request.match_info["job_id"])
        if job is None or job.status != "succeeded" or request.query.get("token") != job.token:
            return web.Response(status=403, text="Forbidden")
        self.stats.downloaded.add(job.job_id)
        self.stats.last_download = time.monotonic()
        return web.Response(body=png(job.job_id), content_type="image/png")

    async def upload(self, request: web.Request) -> web.StreamResponse:
        asset = self.assets.get(request.match_info["asset_id"])
        if asset is None or asset.status != "pending_upload" or request.query.get("token") != asset.token:
            return web.Response(status=403, text="Forbidden")
        content = await request.read()
        if len(content) != asset.byte_size or request.headers.get("Content-Type") != asset.mime_type:
            return web.Response(status=400, text="Not what was announced")
        asset.status, asset.content = "ready", content
        self.stats.uploads += 1
        return web.Response()

    async def asset_content(self, request: web.Request) -> web.StreamResponse:
        asset = self.assets.get(request.match_info["asset_id"])
        if asset is None or asset.status != "ready" or request.query.get("token") != asset.token:
            return web.Response(status=403, text="Forbidden")
        return web.Response(body=asset.content, content_type=asset.mime_type)

    # --- the two origins

    async def show_stats(self, _: web.Request) -> web.StreamResponse:
        return web.json_response(self.stats.as_json())

    def api(self) -> web.Application:
        app, checked = web.Application(middlewares=[self.edge]), self.authorized
        app.router.add_get("/_stats", self.show_stats)
        app.router.add_get("/api/health", self.health, name="health")
        app.router.add_get("/api/v1/credits", checked(self.credits), name="credits")
        app.router.add_get("/api/v1/workflows", checked(self.workflows), name="workflows")
        app.router.add_get("/api/v1/workflows/{workflow_id}/metadata", checked(self.metadata), name="metadata")
        app.router.add_post("/api/v1/assets", checked(self.create_asset), name="create_asset")
        app.router.add_get("/api/v1/assets", checked(self.list_assets), name="list_assets")
        app.router.add_get("/api/v1/assets/{asset_id}", checked(self.asset), name="asset")
        app.router.add_delete("/api/v1/assets/{asset_id}", checked(self.asset), name="delete_asset")
        app.router.add_post("/api/v1/generate", checked(self.submit), name="submit")
        app.router.add_get("/api/v1/jobs/{job_id}", checked(self.job), name="poll")
        return app

    def storage(self) -> web.Application:
        app = web.Application(middlewares=[self.storage_edge], client_max_size=64 * 2**20)
        app.router.add_get("/outputs/{job_id}.png", self.download, name="download")
        app.router.add_put("/assets/{asset_id}", self.upload, name="upload")
        app.router.add_get("/assets/{asset_id}", self.asset_content, name="asset_content")
        return app

    @contextlib.asynccontextmanager
    async def serve(self, port: int) -> AsyncIterator[str]:
        """Yield the base URL of the API."""
        runners = [web.AppRunner(app, access_log=None) for app in (self.storage(), self.api())]
        urls = []
        for runner, wanted in zip(runners, (0, port), strict=True):
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", wanted, backlog=1024)
            await site.start()
            urls.append(f"http://127.0.0.1:{runner.addresses[0][1]}")
        self.storage_url = urls[0]
        try:
            yield urls[1]
        finally:
            for runner in runners:
                await runner.cleanup()


async def main() -> None:
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)  # cut connections are wanted
    options = parse()
    async with Gateway(options).serve(options.port) as url:
        print(url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
