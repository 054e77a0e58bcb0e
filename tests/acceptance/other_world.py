"""The other gateway's world: its workflows, jobs, assets and money. ``other_gateway`` puts it on
the network.

Money is Decimal, in a ledger that is only appended to; pictures are a function of what was asked
for, so that a test can draw them again; each breach of the contract is noted in ``violations``.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs

from PIL import Image

QUEUED_S, RUNNING_S, ASSET_READY_S, URL_TTL_S = 0.05, 0.15, 0.1, 4.0
UPLOAD_PRICE, REBATE = Decimal("0.05"), Decimal("0.02")
ALWAYS_FAILS, FAILS_ONCE = "[fails]", "[flaky]"


@dataclass(frozen=True)
class Workflow:
    """One workflow.

    ``outputs`` are (output_index, format) in the order in which answers list them.
    """

    price: Decimal
    metadata: dict[str, Any]
    fields: frozenset[str] | None
    outputs: tuple[tuple[int, str], ...]


# Each says what may be sent in another form; each counts its outputs in another way.
WORKFLOWS = {
    "Paint.Text": Workflow(
        Decimal("0.1"),
        {
            "available_fields": {
                "prompt.value": {"type": "string", "default": None},
                "width.value": None,
                "seed.value": {"maximum": 18446744073709551615},
            },
            "estimated_time_seconds": 0.5,
            "title": None,
        },
        frozenset({"prompt.value", "width.value", "seed.value"}),
        ((1, "PNG"),),
    ),
    "edit.v2": Workflow(
        Decimal("2.350"),
        {
            "available_fields": [
                {"key": key, "label": None, "order": n}
                for n, key in enumerate(
                    ["strength", "image.image", "seed", "prompt.text", "size.batch_size"]
                )
            ],
            "estimated_time_seconds": None,
            "price": "ask",
        },
        frozenset({"strength", "image.image", "seed", "prompt.text", "size.batch_size"}),
        ((7, "WEBP"), (3, "JPEG")),
    ),
    "bare": Workflow(Decimal("0.75"), {"estimated_time_seconds": "soon"}, None, ((0, "JPEG"),)),
}


def render(workflow: str, params: Mapping[str, object], output_index: int, fmt: str) -> bytes:
    """Draw an output. ``params`` as sent, but with the image's SHA-256 where an asset id stood."""
    told = json.dumps([workflow, params, output_index], sort_keys=True)
    picture, pixels = io.BytesIO(), hashlib.shake_256(told.encode()).digest(24 * 16 * 3)
    Image.frombytes("RGB", (24, 16), pixels).save(picture, fmt)
    return picture.getvalue()


@dataclass
class Job:
    """A job that was bought.

    ``asked`` is its params with the image's SHA-256 in place of the asset id.
    """

    job_id: str
    key: str | None
    workflow: str
    params: dict[str, Any]
    asked: dict[str, Any]
    price: Decimal
    fails: bool
    born: float = field(default_factory=time.monotonic)
    settled: bool = False
    shown: int = 0
    """How often its outputs were shown."""

    @property
    def status(self) -> str:
        age = time.monotonic() - self.born
        return (
            "queued"
            if age < QUEUED_S
            else "running"
            if age < RUNNING_S
            else "failed"
            if self.fails
            else "succeeded"
        )


@dataclass
class Asset:
    """An upload: declared, paid, then put."""

    asset_id: str
    request: dict[str, Any]
    created_at: str
    expires_at: str
    content: bytes | None = None
    put_at: float = 0.0
    deleted: bool = False

    @property
    def status(self) -> str:
        ready = self.content is not None and time.monotonic() - self.put_at > ASSET_READY_S
        return "deleted" if self.deleted else "ready" if ready else "pending_upload"


class Refusal(Exception):
    """A no to a request, as the contract's failures have it."""

    def __init__(self, status: int, code: str, why: str) -> None:
        super().__init__(why)
        self.status, self.code = status, code


class World:
    """All that the gateway knows and does, but for the HTTP.

    Guarded by ``lock``; whoever serves it takes the lock.
    """

    def __init__(self, balance: Decimal) -> None:
        self.balance = balance
        self.storage_url = ""
        self.lock = threading.RLock()
        self.jobs: dict[str, Job] = {}
        self.assets: dict[str, Asset] = {}
        self.ledger: list[dict[str, Any]] = []
        self.requests: list[dict[str, Any]] = []
        self.violations: list[str] = []
        self.rises: dict[str, tuple[int, Decimal]] = {}
        """Workflow to (n, price): its n-th job and all later ones cost that."""
        self.before_answer: Callable[[str, int], None] = lambda _what, _count: None
        """Called with "job" or "asset" and how many there are, once one is bought and before the
        answer is sent."""
        self._secret = secrets.token_bytes(16)

    # -- what a judge asks

    def total(self, *entry_types: str) -> Decimal:
        """The sum of the ledger's entries of these types."""
        with self.lock:
            self.settle()
            return sum(
                (row["amount"] for row in self.ledger if row["entry_type"] in entry_types),
                Decimal(0),
            )

    def spent(self) -> Decimal:
        """What the account has really lost, and for good."""
        return self.total("consume", "charge") - self.total("rebate")

    def peak(self) -> Decimal:
        """The most that was ever spent and reserved together, over every row of the ledger."""
        sign = {"reserve": 1, "charge": 1, "refund": -1, "rebate": -1, "consume": 0}
        level = highest = Decimal(0)
        for row in list(self.ledger):
            level += sign[row["entry_type"]] * row["amount"]
            highest = max(highest, level)
        return highest

    def seen(self, where: str = "", *methods: str) -> list[str]:
        """The requests so far, as "METHOD path", at "api" or "storage" or both."""
        return [
            f"{row['method']} {row['path']}"
            for row in list(self.requests)
            if where in ("", row["where"]) and (not methods or row["method"] in methods)
        ]

    # -- money

    def enter(self, entry_type: str, amount: Decimal, job_id: str | None = None) -> None:
        self.balance += {"consume": -1, "charge": -1, "rebate": 1}.get(entry_type, 0) * amount
        row = {
            "id": _uuid(),
            "job_id": job_id,
            "entry_type": entry_type,
            "status": "posted",
            "amount": amount,
        }
        self.ledger.append({**row, "description": None, "created_at": now(), "batch": 7})

    def settle(self) -> None:
        for job in self.jobs.values():
            if not job.settled and job.status in ("succeeded", "failed"):
                job.settled = True
                self.enter("refund" if job.fails else "consume", job.price, job.job_id)

    def reserved(self) -> Decimal:
        return sum((job.price for job in self.jobs.values() if not job.settled), Decimal(0))

    def afford(self, price: Decimal) -> None:
        if self.balance - self.reserved() < price:
            raise Refusal(402, "INSUFFICIENT_CREDITS", "not enough credits")

    # -- operations

    def breach(self, what: str) -> Refusal:
        self.violations.append(what)
        return Refusal(400, "INVALID_REQUEST", what)

    def check(
        self, body: Any, rules: Mapping[str, Callable[[Any], bool]], required: set[str]
    ) -> dict[str, Any]:
        """Hold a body against its schema."""
        if not isinstance(body, dict) or not required <= body.keys():
            raise self.breach(f"not an object with {sorted(required)}: {body!r}")
        for name, value in body.items():
            if name not in rules or not rules[name](value):
                raise self.breach(f"the contract doesn't allow {name}: {value!r}")
        return body

    def generate(self, raw: Any) -> tuple[int, dict[str, Any]]:
        rules = {"workflow_id": _text(10_000), "params": _is_object, "idempotency_key": _text(128)}
        body = self.check(raw, rules, {"workflow_id", "params"})
        key, params, workflow = (
            body.get("idempotency_key"),
            body["params"],
            WORKFLOWS.get(body["workflow_id"]),
        )
        for job in self.jobs.values() if key is not None else ():
            if job.key == key:
                if (job.workflow, job.asked) != (body["workflow_id"], self.asked(params)):
                    self.violations.append(f"key {key} was sent again with another body: {body}")
                return 200, {
                    "job_id": job.job_id,
                    "status": job.status,
                    "requested_credits": job.price,
                    "new": False,
                }
        if workflow is None:
            raise Refusal(404, "WORKFLOW_NOT_FOUND", body["workflow_id"])
        if workflow.fields is not None and not params.keys() <= workflow.fields:
            raise self.breach(
                f"params outside available_fields: {sorted(params.keys() - workflow.fields)}"
            )
        if params.get("size.batch_size", 1) != 1 or None in params.values():
            raise self.breach(f"params: {params}")
        asset = self.assets.get(params.get("image.image", ""))
        if "image.image" in params and (asset is None or asset.status != "ready"):
            raise self.breach(f"not an asset that is ready: {params['image.image']!r}")
        count = 1 + sum(job.workflow == body["workflow_id"] for job in self.jobs.values())
        rise = self.rises.get(body["workflow_id"])
        price = rise[1] if rise is not None and count >= rise[0] else workflow.price
        self.afford(price)
        asked, text = self.asked(params), json.dumps(params)
        tried = any(
            (job.workflow, job.asked) == (body["workflow_id"], asked) for job in self.jobs.values()
        )
        fails = ALWAYS_FAILS in text or (FAILS_ONCE in text and not tried)
        job = Job(_uuid(), key, body["workflow_id"], params, asked, price, fails)
        self.jobs[job.job_id] = job
        self.enter("reserve", price, job.job_id)
        self.before_answer("job", len(self.jobs))
        return 202, {
            "job_id": job.job_id,
            "status": "queued",
            "requested_credits": price,
            "queue": {"position": None},
        }

    def asked(self, params: Mapping[str, Any]) -> dict[str, Any]:
        asset = self.assets.get(params.get("image.image", ""))
        content = asset.content if asset is not None else None
        return {
            **params,
            **({"image.image": hashlib.sha256(content).hexdigest()} if content is not None else {}),
        }

    def create_asset(self, raw: Any) -> tuple[int, dict[str, Any]]:
        def image_type(value: Any) -> bool:
            return _text(128)(value) and value.startswith("image/")

        def size(value: Any) -> bool:
            return type(value) is int and value >= 1

        rules = {
            "mime_type": image_type,
            "byte_size": size,
            "filename": _text(255),
            "metadata": _is_object,
        }
        body = self.check(raw, rules, {"mime_type", "byte_size"})
        self.afford(UPLOAD_PRICE)
        asset = Asset(_uuid(), body, now(), now(60))
        self.assets[asset.asset_id] = asset
        self.enter("charge", UPLOAD_PRICE)
        self.before_answer("asset", len(self.assets))
        return 201, {
            "asset_id": asset.asset_id,
            "bucket": "in",
            "object_path": f"../{asset.asset_id}",
            "upload_url": self.sign(f"/up/{asset.asset_id}", 60),
            "upload_token": secrets.token_urlsafe(),
            "upload_expires_at": asset.expires_at,
            "credits_charged": UPLOAD_PRICE,
            "region": None,
        }

    def delete_asset(self, asset_id: str) -> tuple[int, dict[str, Any]]:
        self.find_asset(asset_id).deleted = True
        self.enter("rebate", REBATE)
        return 200, {"asset_id": asset_id, "deleted": True, "credit_rebate": REBATE}

    def find_asset(self, asset_id: str) -> Asset:
        asset = self.assets.get(asset_id)
        if asset is None or asset.deleted:
            raise Refusal(404, "ASSET_NOT_FOUND", asset_id)
        return asset

    def describe_asset(self, asset: Asset) -> dict[str, Any]:
        return {
            "asset_id": asset.asset_id,
            "status": asset.status,
            "mime_type": asset.request["mime_type"],
            "byte_size": asset.request["byte_size"],
            "bucket": "in",
            "object_path": f"../{asset.asset_id}",
            "original_filename": None,
            "metadata": {"scan": "clean", **asset.request.get("metadata", {})},
            "created_at": asset.created_at,
            "upload_expires_at": asset.expires_at,
            "download_url": None,
            "etag": None,
        }

    def describe_job(self, job_id: str) -> dict[str, Any]:
        job = self.jobs.get(job_id)
        if job is None:
            raise Refusal(404, "JOB_NOT_FOUND", job_id)
        answer: dict[str, Any] = {
            "job_id": job_id,
            "status": job.status,
            "workflow_id": job.workflow,
        }
        answer |= {
            "requested_credits": job.price,
            "error_code": None,
            "error_message": None,
            "outputs": [],
            "gpu": None,
        }
        if answer["status"] == "failed":
            answer |= {"error_code": "RENDERER_CRASHED", "error_message": None}
        elif answer["status"] == "succeeded":
            answer["outputs"] = [
                self.describe_output(job, index) for index, _ in WORKFLOWS[job.workflow].outputs
            ]
            job.shown += 1
        return answer

    def describe_output(self, job: Job, index: int) -> dict[str, Any]:
        first = job.shown == 0
        ttl = (
            -1.0 if first and job.workflow == "edit.v2" else URL_TTL_S
        )  # the first that it shows is too old already
        url = (
            None
            if first and job.workflow == "bare"
            else self.sign(f"/dl/{job.job_id}/{index}", ttl)
        )
        hints: dict[str, Any] = {
            "mime_type": "image/png",
            "path": "../../evil.exe",
            "width": 1,
            "height": None,
        }
        if job.workflow != "edit.v2":
            hints = dict.fromkeys(hints)
        output = {
            "id": _uuid(),
            "job_id": job.job_id,
            "output_index": index,
            "storage_provider": "s4",
            "bucket": None,
        }
        return {**output, **hints, "url": url, "metadata": {}, "created_at": now(), "nsfw": False}

    # -- signed addresses

    def sign(self, path: str, ttl_s: float) -> str:
        expires = f"{time.time() + ttl_s:.3f}"
        return (
            f"{self.storage_url}{path}?Expires={expires}&Signature={self._signature(path, expires)}"
        )

    def verify(self, path: str, query: str) -> bool:
        values = {name: found[0] for name, found in parse_qs(query).items()}
        expires, signature = values.get("Expires", "0"), values.get("Signature", "")
        return hmac.compare_digest(
            signature, self._signature(path, expires)
        ) and time.time() < float(expires)

    def _signature(self, path: str, expires: str) -> str:
        return hmac.new(self._secret, f"{path}\n{expires}".encode(), "sha256").hexdigest()


def _uuid() -> str:
    return str(uuid.uuid4()).upper()


def now(later_s: float = 0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=later_s)).isoformat()


def _text(longest: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and 1 <= len(value) <= longest


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)
