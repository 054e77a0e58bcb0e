"""The storage origin: signed uploads and downloads.

It is a separate origin: API keys are refused.
"""

import asyncio
import hashlib
from typing import NoReturn

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crucible_batch.sandbox import views
from crucible_batch.sandbox.assets import (
    MAX_UPLOAD_BYTES,
    Arrival,
    ImageFacts,
    NotAnImageError,
    inspect,
)
from crucible_batch.sandbox.fault_injection import (
    Call,
    Endpoint,
    FaultyEndpoint,
    HalfAnswer,
    Handler,
)
from crucible_batch.sandbox.faults import Stage
from crucible_batch.sandbox.gateway import Gateway
from crucible_batch.sandbox.pictures import Outputs
from crucible_batch.sandbox.records import Asset, Job, RefusedError
from crucible_batch.sandbox.signing import ExpiredError, ForgedError, Verb

_ERROR_PAGE = RefusedError(
    200, "InternalError", "We encountered an internal error. Please try again."
)


def create_storage(gateway: Gateway) -> Starlette:
    storage = _Storage(gateway)
    asset_path = f"/{views.ASSET_BUCKET}/{{account_id}}/{{asset_id}}"
    output_path = f"/{views.OUTPUT_BUCKET}/{{job_id}}/{{name}}"
    routes = [
        Route(asset_path, storage.guard("upload", storage.upload), methods=["PUT"]),
        Route(asset_path, storage.guard("download", storage.download_asset), methods=["GET"]),
        Route(output_path, storage.guard("download", storage.download_output), methods=["GET"]),
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: _unknown_route})


class _Storage:
    """What the storage does, and what it puts on record against a client."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._outputs = Outputs(gateway.store)

    def guard(self, operation: str, handler: Handler) -> Endpoint:
        """Turn requests away that carry an API key, before anything else is done with them."""
        inner = FaultyEndpoint(self._gateway, operation, handler, render_error, MAX_UPLOAD_BYTES)

        async def answer(request: Request) -> Response:
            if self._carries_key(operation, request):
                refused = RefusedError(403, "AccessDenied", "The storage takes no API key.")
                return render_error(refused, "")
            return await inner.answer(request)

        return answer

    async def upload(self, call: Call) -> Response:
        self._check_signature("upload", call)
        asset = self._gateway.world.assets.find(call.request.path_params["asset_id"])
        self._check_declaration(asset, call)
        facts = await self._inspect(asset, call)
        sha256 = hashlib.sha256(call.body).hexdigest()
        self._gateway.store.put_blob(sha256, call.body)
        arrival = Arrival(sha256, facts.width, facts.height)
        # Not call.now: the world's time must not go back, and decoding took some.
        self._gateway.world.receive(asset.asset_id, arrival, self._gateway.now())
        self._gateway.seen.uploads[sha256] += 1
        return Response(b"", headers={"etag": f'"{sha256}"'})

    async def download_asset(self, call: Call) -> Response:
        self._check_signature("download", call)
        asset = self._gateway.world.assets.find(call.request.path_params["asset_id"])
        if asset.upload is None:
            raise _no_such_key()
        return self._body(self._gateway.store.blob(asset.upload.sha256), asset.mime_type)

    async def download_output(self, call: Call) -> Response:
        self._check_signature("download", call)
        job, index = self._find_output(call)
        content = await self._outputs.content(job, index)
        sent = self._gateway.once_sent(self._gateway.seen.downloaded, job.job_id)
        return self._body(content, job.outputs[index].mime_type, sent)

    def _carries_key(self, operation: str, request: Request) -> bool:
        if "authorization" in request.headers:
            self._gateway.report(
                "authorization-at-storage", operation, "an Authorization header reached the storage"
            )
            return True
        if self._gateway.knows_key_in(f"{request.url}\n{request.headers.values()}"):
            self._gateway.report(
                "key-at-storage", operation, "an API key reached the storage in a URL or a header"
            )
            return True
        return False

    def _check_signature(self, verb: Verb, call: Call) -> None:
        url = call.request.url
        try:
            self._gateway.signer.check(verb, url.path, call.request.query_params, call.now)
        except ExpiredError as error:
            raise RefusedError(403, "AccessDenied", "Request has expired") from error
        except ForgedError as error:
            self._gateway.report("bad-signature", verb, url.path)
            raise RefusedError(
                403, "SignatureDoesNotMatch", "The signature does not match."
            ) from error

    def _check_declaration(self, asset: Asset, call: Call) -> None:
        headers = call.request.headers
        if "content-length" not in headers:
            self._refuse_upload(
                "chunked-upload", 411, "MissingContentLength", "You must send Content-Length."
            )
        if headers.get("content-type") != asset.mime_type:
            self._refuse_upload(
                "wrong-content-type",
                400,
                "InvalidArgument",
                "Content-Type is not the declared one.",
            )
        if len(call.body) != asset.byte_size:
            self._refuse_upload(
                "wrong-size", 400, "EntityWrongSize", "The size is not the declared one."
            )

    async def _inspect(self, asset: Asset, call: Call) -> ImageFacts:
        try:
            facts = await asyncio.to_thread(inspect, call.body)
        except NotAnImageError:
            self._refuse_upload("not-an-image", 400, "InvalidImage", "The bytes are not an image.")
        if facts.mime_type != asset.mime_type:
            # A real storage does not look; the client should have.
            self._gateway.report(
                "wrong-image-type", "upload", f"{facts.mime_type} declared as {asset.mime_type}"
            )
        return facts

    def _refuse_upload(self, violation: str, status: int, code: str, text: str) -> NoReturn:
        self._gateway.report(violation, "upload", text)
        raise RefusedError(status, code, text)

    def _find_output(self, call: Call) -> tuple[Job, int]:
        job = self._gateway.world.jobs.find(call.request.path_params["job_id"])
        if job.status(call.now) == "succeeded":
            ending = "/" + call.request.path_params["name"]
            for index in range(len(job.outputs)):
                if views.output_path(job, index).endswith(ending):
                    return job, index
        raise _no_such_key()

    def _body(
        self, content: bytes, mime_type: str, once_sent: BackgroundTask | None = None
    ) -> Response:
        match self._gateway.faults.draw("download", Stage.BODY):
            case "short-body":
                return HalfAnswer(content, mime_type, is_sized=True)
            case "short-unsized":
                return HalfAnswer(content, mime_type, is_sized=False)
            case "error-page":
                return render_error(_ERROR_PAGE, "")
            case _:
                return Response(content, media_type=mime_type, background=once_sent)


def render_error(refused: RefusedError, request_id: str) -> Response:
    """Write a refusal as object stores do: in XML."""
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{refused.code}</Code><Message>{refused.error}</Message>"
        f"<RequestId>{request_id}</RequestId></Error>"
    )
    return Response(text, refused.status, media_type="application/xml")


def _no_such_key() -> RefusedError:
    return RefusedError(404, "NoSuchKey", "The specified key does not exist.")


async def _unknown_route(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # it is registered for these alone
    response = render_error(RefusedError(error.status_code, "InvalidRequest", error.detail), "")
    response.headers.update(error.headers or {})
    return response
