"""The API origin: the contract's ten operations, and the sandbox's own state and settings."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crucible_batch.sandbox import exact_json, views
from crucible_batch.sandbox.assets import Intent
from crucible_batch.sandbox.config import check_prices, check_pricing
from crucible_batch.sandbox.fault_injection import Call, Endpoint, FaultyEndpoint
from crucible_batch.sandbox.faults import Stage, parse_faults
from crucible_batch.sandbox.gateway import Gateway
from crucible_batch.sandbox.jobs import KeyReusedError, Order
from crucible_batch.sandbox.judge import judge
from crucible_batch.sandbox.pricing import parse_pricing
from crucible_batch.sandbox.records import RefusedError
from crucible_batch.sandbox.workflows import WORKFLOWS, prompt


class ConfigChange(BaseModel):
    """What can be changed while the sandbox runs. What is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    faults: str | None = None
    prices: dict[str, Decimal] | None = None
    pricing: str | None = None
    recent_entries: int | None = Field(default=None, ge=0)
    advance_s: float = Field(default=0, ge=0, allow_inf_nan=False)


def state_routes(gateway: Gateway) -> list[Route]:
    async def state(_request: Request) -> Response:
        body = exact_json.dumps(_state(gateway))
        gateway.commit()
        return Response(body, media_type="application/json")

    async def configure(request: Request) -> Response:
        try:
            _apply(gateway, ConfigChange.model_validate(exact_json.loads(await request.body())))
        except ValueError as error:
            reason = str(error)
            if isinstance(error, ValidationError):
                reason = str(error.errors(include_input=False))
            return Response(exact_json.dumps({"error": reason}), 400, media_type="application/json")
        return Response(b"{}", media_type="application/json")

    async def verdict(_request: Request) -> Response:
        return Response(exact_json.dumps(judge(gateway)), media_type="application/json")

    return [
        Route("/_sandbox/state", state, methods=["GET"]),
        Route("/_sandbox/verdict", verdict, methods=["GET"]),
        Route("/_sandbox/config", configure, methods=["POST"]),
    ]


def _apply(gateway: Gateway, change: ConfigChange) -> None:
    """Check everything, then change everything."""
    rules = parse_faults(change.faults or "")
    check_prices(change.prices or {})
    pricing = parse_pricing(change.pricing or "")
    check_pricing(pricing)
    gateway.advance(change.advance_s)
    if change.faults is not None:
        gateway.faults.replace(rules)
    if change.prices is not None:
        gateway.world.jobs.prices |= change.prices
    if change.recent_entries is not None:
        gateway.world.recent_entries = change.recent_entries
    if change.pricing is not None:
        gateway.world.jobs.pricing = gateway.world.assets.pricing = pricing


def _state(gateway: Gateway) -> dict[str, object]:
    now, world, seen = gateway.now(), gateway.world, gateway.seen
    world.jobs.settle(now)
    return {
        "now": now,
        "ledger": world.entries,
        "jobs": [
            {**exact_json.members(job), "status": job.status(now), "prompt": prompt(job.params)}
            for job in world.jobs
        ],
        "assets": [
            {**exact_json.members(asset), "status": asset.status(now)} for asset in world.assets
        ],
        "requests": dict(seen.requests),
        "answers": [
            {"operation": op, "status": status, "count": n}
            for (op, status), n in seen.answers.items()
        ],
        "keyless_posts": seen.keyless_posts,
        "uploads": dict(seen.uploads),
        "violations": seen.violations,
        "faults_fired": [
            {"operation": op, "kind": kind, "count": n}
            for (op, kind), n in gateway.faults.fired.items()
        ],
    }


_MAX_BODY_BYTES = 1024 * 1024
# A signature that ended this long ago: the fault `expired-url`.
_LONG_AGO_S = 60.0

Answer = tuple[int, views.Data]


class _Body(BaseModel):
    """A JSON object.

    Strict: the text "1" is not an integer. An optional field may be left out, but not be null.
    """

    model_config = ConfigDict(strict=True)


class _AssetCreateRequest(_Body):
    mime_type: str = Field(min_length=1, max_length=128)
    byte_size: int = Field(ge=1)
    filename: str = Field(default="", min_length=1, max_length=255)
    metadata: dict[str, Any] = Field(default_factory=dict)


class _GenerateRequest(_Body):
    workflow_id: str = Field(min_length=1)
    params: dict[str, Any]
    idempotency_key: str = Field(default="", min_length=1, max_length=128)


_BodyT = TypeVar("_BodyT", bound=_Body)


def create_api(gateway: Gateway) -> Starlette:
    routes = [
        Route(path, _endpoint(gateway, name, handler), methods=[method])
        for name, (method, path, handler) in _OPERATIONS.items()
    ]
    app = Starlette(
        routes=routes + state_routes(gateway),
        exception_handlers={HTTPException: _unknown_route(gateway)},
    )
    # A client must not follow redirects with its key, so none is ever needed: a slash too many is a
    # 404.
    app.router.redirect_slashes = False
    return app


def _endpoint(
    gateway: Gateway, name: str, handler: Callable[["_Api", str, Call], Answer]
) -> Endpoint:
    async def answer(call: Call) -> Response:
        if name == "health":
            status, data = handler(_Api(gateway), "", call)
            return _json_response(status, {"success": True, "data": data}, call.request_id)
        account_id = gateway.world.authenticate(_bearer(call.request))
        status, data = handler(_Api(gateway), account_id, call)
        body = {"success": True, "data": data, "request_id": call.request_id}
        response = _json_response(status, body, call.request_id)
        if name == "generate":
            response.background = gateway.once_sent(gateway.seen.answered, str(data["job_id"]))
        return response

    return FaultyEndpoint(gateway, name, answer, render_failure, _MAX_BODY_BYTES).answer


@dataclass(frozen=True, slots=True)
class _Api:
    """What each operation does: read the call, ask the world, show the result."""

    gateway: Gateway

    def health(self, _account_id: str, _call: Call) -> Answer:
        return 200, {"status": "ok"}

    def credits(self, account_id: str, call: Call) -> Answer:
        totals, entries = self.gateway.world.credits(account_id, call.now)
        return 200, views.credits(totals, entries)

    def workflows(self, _account_id: str, _call: Call) -> Answer:
        updated_at = views.WORKFLOWS_UPDATED_AT
        return 200, {
            "workflows": [
                {"workflow_id": each.workflow_id, "updated_at": updated_at} for each in WORKFLOWS
            ]
        }

    def metadata(self, _account_id: str, call: Call) -> Answer:
        workflow = self.gateway.world.workflow(call.request.path_params["workflow_id"])
        return 200, {"workflow_id": workflow.workflow_id, "metadata": workflow.metadata()}

    def list_assets(self, account_id: str, call: Call) -> Answer:
        links = self._links(call, self.gateway.config.download_ttl_s)
        listed = self.gateway.world.assets.listed(account_id)
        return 200, {"assets": [views.asset(asset, call.now, links) for asset in listed]}

    def create_asset(self, account_id: str, call: Call) -> Answer:
        body = _parse(_AssetCreateRequest, call)
        intent = Intent(body.mime_type, body.byte_size, body.filename or None, body.metadata)
        asset = self.gateway.world.create_asset(account_id, intent, call.now)
        return 201, views.asset_intent(asset, self._links(call, self.gateway.config.upload_ttl_s))

    def get_asset(self, account_id: str, call: Call) -> Answer:
        asset = self.gateway.world.assets.get(account_id, call.request.path_params["asset_id"])
        ready = asset.status(call.now) == "ready"
        return 200, views.asset(asset, call.now, self._download_links(call, hands_out_urls=ready))

    def delete_asset(self, account_id: str, call: Call) -> Answer:
        asset_id = call.request.path_params["asset_id"]
        rebate = self.gateway.world.delete_asset(account_id, asset_id, call.now)
        return 200, {"asset_id": asset_id, "deleted": True, "credit_rebate": rebate}

    def generate(self, account_id: str, call: Call) -> Answer:
        body = _parse(_GenerateRequest, call)
        if not body.idempotency_key:
            self.gateway.seen.keyless_posts += 1
        order = Order(body.workflow_id, body.params, body.idempotency_key or None)
        try:
            job, is_new = self.gateway.world.submit(account_id, order, call.now)
        except KeyReusedError:
            self.gateway.seen.keys_of_other_jobs += 1
            raise
        status, job_status = 200, job.status(call.now)
        if is_new:
            # A new job is shown as it was taken in, though a runner may have been free for it.
            status, job_status = 202, "queued"
        return status, {
            "job_id": job.job_id,
            "status": job_status,
            "requested_credits": job.answered_price,
        }

    def job(self, account_id: str, call: Call) -> Answer:
        job = self.gateway.world.job(account_id, call.request.path_params["job_id"], call.now)
        succeeded = job.status(call.now) == "succeeded"
        return 200, views.job(job, call.now, self._download_links(call, hands_out_urls=succeeded))

    def _download_links(self, call: Call, *, hands_out_urls: bool) -> views.Links:
        # Asked only where URLs go out, so that `job.expired-url=2` means the first two answers that
        # have some.
        ttl_s = self.gateway.config.download_ttl_s
        if hands_out_urls:
            fault = self.gateway.faults.draw(call.operation, Stage.SIGNING)
            if fault == "expired-url":
                ttl_s = -_LONG_AGO_S
        return self._links(call, ttl_s)

    def _links(self, call: Call, ttl_s: float) -> views.Links:
        return views.Links(self.gateway.storage_url, self.gateway.signer, call.now + ttl_s)


_OPERATIONS: dict[str, tuple[str, str, Callable[[_Api, str, Call], Answer]]] = {
    "health": ("GET", "/api/health", _Api.health),
    "credits": ("GET", "/api/v1/credits", _Api.credits),
    "workflows": ("GET", "/api/v1/workflows", _Api.workflows),
    "metadata": ("GET", "/api/v1/workflows/{workflow_id}/metadata", _Api.metadata),
    "asset-list": ("GET", "/api/v1/assets", _Api.list_assets),
    "asset-create": ("POST", "/api/v1/assets", _Api.create_asset),
    "asset-get": ("GET", "/api/v1/assets/{asset_id}", _Api.get_asset),
    "asset-delete": ("DELETE", "/api/v1/assets/{asset_id}", _Api.delete_asset),
    "generate": ("POST", "/api/v1/generate", _Api.generate),
    "job": ("GET", "/api/v1/jobs/{job_id}", _Api.job),
}


def render_failure(refused: RefusedError, request_id: str) -> Response:
    """Write a refusal as the contract's ApiFailure."""
    failure: views.Data = {
        "success": False,
        "code": refused.code,
        "error": refused.error,
        "request_id": request_id,
    }
    if refused.hint is not None:
        failure["hint"] = refused.hint
    return _json_response(refused.status, failure, request_id)


def _json_response(status: int, body: views.Data, request_id: str) -> Response:
    return Response(
        exact_json.dumps(body), status, {"x-request-id": request_id}, "application/json"
    )


def _unknown_route(gateway: Gateway) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # it is registered for these alone
        code = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}.get(
            error.status_code, "INVALID_REQUEST"
        )
        refused = RefusedError(
            error.status_code, code, error.detail, "The contract lists the operations."
        )
        response = render_failure(refused, gateway.request_ids.next())
        response.headers.update(error.headers or {})
        return response

    return answer


def _bearer(request: Request) -> str:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return ""
    return key.strip()


def _parse(model: type[_BodyT], call: Call) -> _BodyT:
    content_type = call.request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise RefusedError(
            400, "INVALID_REQUEST", "The body is not JSON.", "Send Content-Type: application/json."
        )
    try:
        value = exact_json.loads(call.body)
    except ValueError as error:
        raise RefusedError(
            400, "INVALID_REQUEST", "The body is not valid JSON.", "Send one JSON object."
        ) from error
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "body"
        raise RefusedError(
            400,
            "INVALID_REQUEST",
            f"{where}: {first['msg']}",
            "Send the body that the contract describes.",
        ) from error
