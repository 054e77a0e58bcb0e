"""The judge's window, outside the contract and without a key: all that the sandbox knows, and its levers."""

from dataclasses import asdict
from decimal import Decimal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crucible_batch.sandbox import exact_json
from crucible_batch.sandbox.config import PriceRise, check_prices, check_pricing
from crucible_batch.sandbox.faults import parse_faults
from crucible_batch.sandbox.gateway import Gateway
from crucible_batch.sandbox.params import prompt
from crucible_batch.sandbox.pricing import parse_pricing
from crucible_batch.sandbox.records import Job


class Levers(BaseModel):
    """What can be changed while the sandbox runs. What is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    faults: str | None = None
    prices: dict[str, Decimal] | None = None
    price_rises: list[PriceRise] | None = None
    pricing: str | None = None
    advance_s: float = Field(default=0, ge=0, allow_inf_nan=False)


def judge_routes(gateway: Gateway) -> list[Route]:
    """Serve the judge."""

    async def state(_request: Request) -> Response:
        body = exact_json.dumps(_state(gateway))
        gateway.commit()
        return Response(body, media_type="application/json")

    async def configure(request: Request) -> Response:
        try:
            _apply(gateway, Levers.model_validate(exact_json.loads(await request.body())))
        except ValueError as error:
            reason = str(error.errors(include_input=False)) if isinstance(error, ValidationError) else str(error)
            return Response(exact_json.dumps({"error": reason}), 400, media_type="application/json")
        return Response(b"{}", media_type="application/json")

    return [
        Route("/_sandbox/state", state, methods=["GET"]),
        Route("/_sandbox/config", configure, methods=["POST"]),
    ]


def _apply(gateway: Gateway, levers: Levers) -> None:
    """Check everything, then change everything."""
    rules = parse_faults(levers.faults) if levers.faults is not None else None
    check_prices(levers.prices or {}, levers.price_rises or [])
    pricing = parse_pricing(levers.pricing or "")
    check_pricing(pricing)
    gateway.advance(levers.advance_s)
    if rules is not None:
        gateway.faults.replace(rules)
    if levers.prices is not None:
        gateway.world.jobs.prices |= levers.prices
    if levers.price_rises is not None:
        gateway.world.jobs.price_rises = tuple(levers.price_rises)
    if levers.pricing is not None:
        gateway.world.jobs.pricing = gateway.world.assets.pricing = pricing


def _state(gateway: Gateway) -> dict[str, object]:
    now, world, seen = gateway.now(), gateway.world, gateway.seen
    audit = world.audit(now)
    return {
        "now": now,
        "audit": asdict(audit),
        "ledger": [asdict(entry) for entry in world.entries],
        "jobs": [_job(job, now) for job in world.jobs],
        "assets": [{**asdict(asset), "status": asset.status(now)} for asset in world.assets],
        "requests": dict(seen.requests),
        "answers": [{"operation": op, "status": status, "count": n} for (op, status), n in seen.answers.items()],
        "keyless_posts": seen.keyless_posts,
        "uploads": dict(seen.uploads),
        "violations": [asdict(violation) for violation in seen.violations],
        "faults_fired": [{"operation": op, "kind": kind, "count": n} for (op, kind), n in gateway.faults.fired.items()],
    }


def _job(job: Job, now: float) -> dict[str, object]:
    return {**asdict(job), "status": job.status(now), "prompt": prompt(job.params)}
