"""A gateway from the contract alone, on a loopback port in a thread of its own, which writes down what it does."""

import asyncio
import io
import json
import threading
import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from aiohttp import web
from PIL import Image

from tests.verification.pricing.book import UPLOADS, Answer, Arrival, Book, Cut, Listed, Record, Returned, now
from tests.verification.pricing.till import Asset, Charged, Job, Till, stamp
from tests.verification.pricing.world import World

KEY = "moltazine_pricing_test_key"
FIELDS = ["prompt.text", "sampler.seed", "sampler.steps", "size.width", "size.height", "image.image", "style.value"]
NO_SHAPE = {"prompt.text", "sampler.seed", "image.image"}


@dataclass
class Gateway:
    """`with Gateway(world) as gateway:` serves at `gateway.url` until the end of the block."""

    world: World
    book: Book = field(default_factory=Book)
    url: str = ""
    waiting: set[str] = field(default_factory=set)  # units whose answer is on its way
    uploads: int = 0

    def __enter__(self) -> "Gateway":
        self.loop = asyncio.new_event_loop()
        self.till = Till(self.world, self.book, self.loop)
        ready = threading.Event()
        self.thread = threading.Thread(target=self._serve, args=(ready,), daemon=True)
        self.thread.start()
        if not ready.wait(120):
            raise TimeoutError("the gateway did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.over.set)
        self.thread.join(120)

    def _serve(self, ready: threading.Event) -> None:
        async def main() -> None:
            self.over = asyncio.Event()
            runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            ready.set()
            await self.over.wait()
            await runner.cleanup()

        try:
            self.loop.run_until_complete(main())
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.run_until_complete(asyncio.sleep(0))
        finally:
            self.loop.close()

    def _application(self) -> web.Application:
        app = web.Application(middlewares=[self._keyed], client_max_size=64 * 1024 * 1024)
        app.router.add_get("/api/health", self.health)
        app.router.add_get("/api/v1/credits", self.credits)
        app.router.add_get("/api/v1/workflows", self.workflows)
        app.router.add_get("/api/v1/workflows/{workflow}/metadata", self.metadata)
        app.router.add_get("/api/v1/assets", self.list_assets)
        app.router.add_post("/api/v1/assets", self.create_asset)
        app.router.add_get("/api/v1/assets/{asset}", self.get_asset)
        app.router.add_delete("/api/v1/assets/{asset}", self.delete_asset)
        app.router.add_post("/api/v1/generate", self.generate)
        app.router.add_get("/api/v1/jobs/{job}", self.get_job)
        app.router.add_put("/storage/in/{asset}", self.put_bytes)
        app.router.add_get("/storage/out/{job}.png", self.picture)
        return app

    @web.middleware
    async def _keyed(self, request: web.Request, handler: object) -> web.StreamResponse:
        known = request.headers.get("Authorization") == f"Bearer {KEY}"
        if request.path.startswith("/api/v1") and not known:
            return failure(401, "UNAUTHORIZED")
        if request.path.startswith("/storage") and "Authorization" in request.headers:
            return failure(400, "KEY_LEAKED")
        return await handler(request)

    # what costs

    async def generate(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read(), parse_float=Decimal)
        workflow, params = body["workflow_id"], body["params"]
        key = body.get("idempotency_key") or str(uuid.uuid4())
        shape = words({name: value for name, value in params.items() if name not in NO_SHAPE})
        arrival = self.book.arrival(key, workflow, shape, f"{workflow} {words(params)}")
        if workflow not in self.till.world.workflows:
            return await self._refuse(arrival, 404, "WORKFLOW_NOT_FOUND")
        bought = await self._buy(request, arrival, params)
        if isinstance(bought, web.StreamResponse):
            return bought
        job, status = bought.thing, bought.thing.status()
        self._answers(arrival, 202 if bought.new else 200, job.quote.answer, failed=status == "failed")
        data = {"job_id": job.job_id, "status": status, "requested_credits": job.quote.answer}
        return success(data, 202 if bought.new else 200)

    async def create_asset(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        self.uploads += 1
        arrival = self.book.arrival(f"upload-{self.uploads}", UPLOADS, UPLOADS, "")
        bought = await self._buy(request, arrival, body)
        if isinstance(bought, web.StreamResponse):
            return bought
        asset = bought.thing
        self._answers(arrival, 201, asset.quote.answer)
        link = {"upload_url": f"{self.url}/storage/in/{asset.asset_id}?token=t", "upload_token": "t"}
        return success({**self._described(asset), **link, "credits_charged": asset.quote.answer}, 201)

    async def _buy(self, request: web.Request, arrival: Arrival, params: dict) -> Charged | web.StreamResponse:
        """Charge what was asked for at once, and come back when the time for its answer has come."""
        ask = self.till.ask(arrival, params)
        fault, trip = self.till.world.fault(ask), self.till.world.random.uniform(*self.till.world.rtt)
        self.waiting.add(arrival.unit)
        try:
            if fault in ("429", "503"):
                return await self._refuse(arrival, int(fault), "BUSY", {"Retry-After": "0"})
            bought = None if fault == "cut-before" else self.till.charge(arrival, ask)
            await asyncio.sleep(trip)
            if fault in ("cut-before", "cut-after"):
                self.book.note(Cut(now(), arrival.number, arrival.unit))
                if request.transport is not None:  # else the client has gone before
                    request.transport.abort()
                return web.Response()
            return bought or await self._refuse(arrival, 402, "INSUFFICIENT_CREDITS")
        finally:
            self.waiting.discard(arrival.unit)

    def _answers(self, arrival: Arrival, status: int, figure: Decimal | None = None, *, failed: bool = False) -> None:
        self.book.note(Answer(now(), arrival.number, arrival.unit, status, figure, failed))

    async def _refuse(self, arrival: Arrival, status: int, code: str, headers: dict | None = None) -> web.Response:
        if status in (429, 503, 404):
            await asyncio.sleep(self.till.world.rtt[0])
        self._answers(arrival, status)
        return failure(status, code, headers)

    # what costs nothing

    async def health(self, _request: web.Request) -> web.Response:
        return success({"status": "ok"})

    async def credits(self, _request: web.Request) -> web.Response:
        left = self.till.left()
        return success({"balance": left, "reserved": 0, "available": left, "recent_entries": self.till.entries()})

    async def workflows(self, _request: web.Request) -> web.Response:
        listed = [{"workflow_id": name, "updated_at": stamp()} for name in self.till.world.workflows]
        return success({"workflows": listed})

    async def metadata(self, request: web.Request) -> web.Response:
        name = request.match_info["workflow"]
        if name not in self.till.world.workflows:
            return failure(404, "WORKFLOW_NOT_FOUND")
        known = {"available_fields": FIELDS, "estimated_time_seconds": self.till.world.service}
        return success({"workflow_id": name, "metadata": known})

    async def get_job(self, request: web.Request) -> web.Response:
        job = next((job for job in self.till.jobs.values() if job.job_id == request.match_info["job"]), None)
        if job is None:
            return failure(404, "JOB_NOT_FOUND")
        status = job.status()
        self.book.note(Record(now(), job.key, job.quote.record, failed=status == "failed"))
        data = {"job_id": job.job_id, "status": status, "workflow_id": job.workflow, "outputs": []}
        data |= {"requested_credits": job.quote.record, "error_code": None, "error_message": None}
        if status == "failed":
            data |= {"error_code": "WORKER_FAILED", "error_message": "the worker has failed"}
        if status == "succeeded":
            data["outputs"] = [self._output(job)]
        return success(data)

    def _output(self, job: Job) -> dict[str, object]:
        kept = {"storage_provider": "disk", "bucket": "out", "path": f"{job.job_id}.png", "mime_type": "image/png"}
        link = {"url": f"{self.url}/storage/out/{job.job_id}.png?signature=s", "width": 16, "height": 16}
        names = {"id": str(uuid.uuid5(uuid.NAMESPACE_URL, job.job_id)), "job_id": job.job_id, "output_index": 0}
        return {**names, **kept, **link, "metadata": {}, "created_at": stamp()}

    async def picture(self, request: web.Request) -> web.Response:
        return web.Response(body=png(request.match_info["job"]), content_type="image/png")

    async def list_assets(self, _request: web.Request) -> web.Response:
        seen = {f"upload-{number}" for number in range(1, self.uploads + 1)} - self.waiting
        self.book.note(Listed(now(), frozenset(seen)))
        return success({"assets": [self._described(a) for a in self.till.assets.values() if a.status != "deleted"]})

    async def get_asset(self, request: web.Request) -> web.Response:
        asset = self.till.assets.get(request.match_info["asset"])
        return failure(404, "ASSET_NOT_FOUND") if asset is None else success(self._described(asset))

    async def delete_asset(self, request: web.Request) -> web.Response:
        asset = self.till.assets.get(request.match_info["asset"])
        if asset is None or asset.status == "deleted":
            return failure(404, "ASSET_NOT_FOUND")
        asset.status = "deleted"
        rebate = asset.quote.ledger * self.till.world.rebate
        self.till.row("rebate", asset.unit, -rebate)
        self.book.note(Returned(now(), asset.unit, asset.quote.ledger, rebate))
        return success({"asset_id": asset.asset_id, "deleted": True, "credit_rebate": rebate})

    async def put_bytes(self, request: web.Request) -> web.Response:
        asset = self.till.assets[request.match_info["asset"]]
        asset.content, asset.status = await request.read(), "ready"
        return web.Response()

    def _described(self, asset: Asset) -> dict[str, object]:
        body, expires = asset.body, (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        kept = {"asset_id": asset.asset_id, "status": asset.status, "bucket": "in", "object_path": asset.asset_id}
        said = {"mime_type": body["mime_type"], "byte_size": body["byte_size"], "metadata": body.get("metadata", {})}
        name = {"original_filename": body.get("filename"), "download_url": None}
        return {**kept, **said, **name, "created_at": asset.created, "upload_expires_at": expires}

    def change(self, **changes: object) -> None:
        """Another price or other manners from now on, between two runs."""
        self.till.world = replace(self.till.world, **changes)


def words(params: dict[str, object]) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(params.items()))


def png(name: str) -> bytes:
    stream = io.BytesIO()
    colour = tuple(uuid.UUID(name).bytes[:3])
    Image.new("RGB", (16, 16), colour).save(stream, "PNG")
    return stream.getvalue()


class Exact(json.JSONEncoder):
    """Credits as JSON numbers."""

    def default(self, value: object) -> object:
        return float(value) if isinstance(value, Decimal) else super().default(value)


def success(data: dict[str, object], status: int = 200) -> web.Response:
    return web.json_response({"success": True, "data": data, "request_id": "r"}, status=status, dumps=dump)


def failure(status: int, code: str, headers: dict[str, str] | None = None) -> web.Response:
    body = {"success": False, "code": code, "error": code.lower().replace("_", " "), "request_id": "r"}
    return web.json_response(body, status=status, headers=headers)


def dump(value: object) -> str:
    return json.dumps(value, cls=Exact)
