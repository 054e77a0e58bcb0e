"""The public API client, with one method for each of the contract's ten operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Self, TypeVar

import httpx
from pydantic import ValidationError

from crucible_batch.core.credits import ZERO
from crucible_batch.core.identity import Json, canonical
from crucible_batch.core.ports import BeforeRetry, BeforeSend
from crucible_batch.errors import JOB_OF_ANOTHER_KEY, GatewayError
from crucible_batch.gateway import wire
from crucible_batch.gateway.api_key import ApiKey
from crucible_batch.gateway.exchange import ApiExchange
from crucible_batch.gateway.json_text import UnreadableError
from crucible_batch.gateway.response_errors import HttpAnswer, bad_request
from crucible_batch.gateway.retries import (
    PURCHASES,
    OnRetry,
    Operation,
    Retrier,
    RetryPolicy,
    as_retrier,
)
from crucible_batch.gateway.transport import (
    Channel,
    HttpxChannel,
    KeyChannel,
    KeyTransport,
    new_client,
)
from crucible_batch.gateway.url_guard import (
    PRODUCTION,
    check_id,
    check_workflow_id,
    parse_api_base,
    workflow_segment,
)
from crucible_batch.gateway.wire import SuccessResponse, WireModel, first_problem, read_answer

REMEMBERED_JOBS = 4096
"""Number of job ids whose idempotency key is remembered. A response that belongs to another
request arrives soon after that request's own, so older ids aren't needed."""

T = TypeVar("T")
D = TypeVar("D", bound=WireModel)


class _OtherKeyError(UnreadableError):
    code = JOB_OF_ANOTHER_KEY


class GeneratedJob(wire.GenerateData):
    """The response to ``generate``.

    ``existing`` is true for 200 (the key was known), false for 202 (a job was bought).
    ``after_doubt`` is true if an earlier attempt of the same call may have taken effect; an
    existing job was then most likely bought by that attempt.
    """

    existing: bool
    after_doubt: bool = False


class CrucibleClient:
    """A client of the Crucible gateway, safe to use concurrently::

        async with CrucibleClient(key) as client:
            params = {"prompt.text": "a lighthouse"}
            job = await client.generate("zimage-base", params, idempotency_key="spring-1")
            print((await client.job(job.job_id)).status)

    Every method raises ``GatewayError`` if the request fails (``KeyRefusedError`` for 401) after
    the retries that ``retry`` allows. If the error's ``in_doubt`` is true, the request may have
    taken effect. ``timeout_s`` is the deadline of each attempt. No proxy is used unless ``proxy``
    is given. A ``transport`` is closed with the client, as in httpx.
    """

    def __init__(
        self,
        api_key: ApiKey | str,
        *,
        base_url: str = PRODUCTION,
        transport: httpx.AsyncBaseTransport | None = None,
        proxy: str | None = None,
        timeout_s: float = 30.0,
        retry: RetryPolicy | Retrier | None = RetryPolicy(),  # noqa: B008 - frozen
        on_retry: OnRetry | None = None,
    ) -> None:
        key = api_key if isinstance(api_key, ApiKey) else ApiKey(api_key)
        base = parse_api_base(base_url)
        self._prefix = str(base).rstrip("/")
        self._retrier = as_retrier(retry, on_retry)
        self._keys: dict[str, str] = {}  # by job id, oldest first
        self._channel: Channel
        if transport is None:
            # aiohttp takes 50 ms, and commands on run directories send no request.
            from crucible_batch.gateway.aiohttp_transport import new_channel  # noqa: PLC0415

            # No limit of silence, since each exchange has a deadline.
            self._channel = KeyChannel(new_channel(proxy=proxy, silence_s=None), key, base)
        else:
            keyed = KeyTransport(transport, key, base)
            self._channel = HttpxChannel(new_client(keyed, timeout_s=timeout_s))
        self._exchange = ApiExchange(
            self._channel,
            key,
            timeout_s=timeout_s,
            retry_after_cap_s=self._retrier.policy.retry_after_cap_s,
            now=lambda: datetime.now(UTC),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections. May be called twice."""
        await self._channel.aclose()

    async def health(self) -> wire.HealthData:
        """Return the status of the service."""
        return await self._read(Operation.HEALTH, "/api/health", wire.HealthSuccessResponse)

    async def credits(self) -> wire.CreditsData:
        """Return the account's credits and its latest ledger entries."""
        return await self._read(Operation.CREDITS, "/api/v1/credits", wire.CreditsSuccessResponse)

    async def workflows(self) -> list[wire.WorkflowSummary]:
        """Return the active workflows."""
        path, answer = "/api/v1/workflows", wire.WorkflowListSuccessResponse
        return (await self._read(Operation.WORKFLOWS, path, answer)).workflows

    async def workflow(self, workflow_id: str) -> wire.WorkflowMetadataData:
        """Return a workflow's metadata.

        The error code is ``WORKFLOW_NOT_FOUND`` if it doesn't exist.
        """
        path = f"/api/v1/workflows/{workflow_segment(workflow_id)}/metadata"
        return await self._read(
            Operation.WORKFLOW,
            path,
            wire.WorkflowMetadataSuccessResponse,
            asked=("workflow_id", workflow_id),
        )

    async def assets(self) -> list[wire.AssetDescriptor]:
        """Return the account's assets."""
        return (
            await self._read(Operation.ASSETS, "/api/v1/assets", wire.AssetListSuccessResponse)
        ).assets

    async def asset(self, asset_id: str) -> wire.AssetDescriptor:
        """Return an asset. The error code is ``ASSET_NOT_FOUND`` if it doesn't exist."""
        path = f"/api/v1/assets/{check_id(asset_id, what='asset id')}"
        return await self._read(
            Operation.ASSET, path, wire.AssetGetSuccessResponse, asked=("asset_id", asset_id)
        )

    async def create_asset(
        self,
        *,
        mime_type: str,
        byte_size: int,
        filename: str | None = None,
        metadata: Mapping[str, Json] | None = None,
        before_send: BeforeSend | None = None,
    ) -> wire.AssetCreateData:
        """Buy an upload intent.

        It has no idempotency key, so it is retried only after 429, which rules out that it took
        effect. After an error with ``in_doubt``, search ``assets()`` for the asset by its metadata.
        """
        wanted: dict[str, Json] = {"mime_type": mime_type, "byte_size": byte_size}
        if filename is not None:
            wanted["filename"] = filename
        if metadata is not None:
            wanted["metadata"] = dict(metadata)
        body = _body(Operation.CREATE_ASSET, wire.AssetCreateRequest, wanted)
        envelope = wire.AssetCreateSuccessResponse
        return await self._read(
            Operation.CREATE_ASSET,
            "/api/v1/assets",
            envelope,
            "POST",
            body,
            before_send=before_send,
        )

    async def delete_asset(self, asset_id: str) -> wire.AssetDeleteData:
        """Delete an asset. One that doesn't exist counts as deleted, with a rebate of 0."""
        path = f"/api/v1/assets/{check_id(asset_id, what='asset id')}"
        asked = ("asset_id", asset_id)
        try:
            return await self._read(
                Operation.DELETE_ASSET, path, wire.AssetDeleteSuccessResponse, "DELETE", asked=asked
            )
        except GatewayError as error:
            # A 404 without a JSON error comes from a proxy or a wrong base URL; it doesn't show
            # that the asset is gone.
            if error.status == 404 and error.code != "HTTP_404":
                return wire.AssetDeleteData(asset_id=asset_id, deleted=True, credit_rebate=ZERO)
            raise

    async def generate(
        self,
        workflow_id: str,
        params: Mapping[str, Json],
        *,
        idempotency_key: str,
        before_send: BeforeSend | None = None,
        before_retry: BeforeRetry | None = None,
    ) -> GeneratedJob:
        """Buy one job with this idempotency key, or return the job already bought with it.

        The key has 1 to 128 characters. Safe to repeat with the same key and params. A key whose
        job failed can't be used for another job.
        """
        check_workflow_id(workflow_id)
        wanted: dict[str, Json] = {
            "workflow_id": workflow_id,
            "params": dict(params),
            "idempotency_key": idempotency_key,
        }
        body = _body(Operation.GENERATE, wire.GenerateRequest, wanted)
        doubts: list[GatewayError] = []

        def read(answer: HttpAnswer) -> GeneratedJob:
            data = read_answer(answer.body, wire.GenerateSuccessResponse).data
            self._check_job_is_of_key(data.job_id, idempotency_key)
            # Not validated again: the data was validated above, and it would double the cost.
            return GeneratedJob.model_construct(
                **{**dict(data), "existing": answer.status == 200, "after_doubt": bool(doubts)}
            )

        return await self._call(
            Operation.GENERATE,
            "POST",
            "/api/v1/generate",
            read,
            body,
            doubts=doubts,
            before_send=before_send,
            before_retry=before_retry,
        )

    async def job(self, job_id: str, *, before_retry: BeforeRetry | None = None) -> wire.JobData:
        """Return a job.

        The error code is ``JOB_NOT_FOUND`` if it doesn't exist. ``before_retry`` does the waiting.
        """
        path = f"/api/v1/jobs/{check_id(job_id, what='job id')}"
        asked = ("job_id", job_id)
        return await self._read(
            Operation.JOB, path, wire.JobSuccessResponse, asked=asked, before_retry=before_retry
        )

    async def _read(
        self,
        operation: Operation,
        path: str,
        envelope: type[SuccessResponse[D]],
        method: str = "GET",
        body: bytes | None = None,
        *,
        asked: tuple[str, str] | None = None,
        before_send: BeforeSend | None = None,
        before_retry: BeforeRetry | None = None,
    ) -> D:
        """Make a call and return its data.

        ``asked`` is the field and the id that the data must be about.
        """

        def read(answer: HttpAnswer) -> D:
            data = read_answer(answer.body, envelope).data
            if asked is None:
                return data
            return _same(data, *asked)

        return await self._call(
            operation, method, path, read, body, before_send=before_send, before_retry=before_retry
        )

    def _check_job_is_of_key(self, job_id: str, key: str) -> None:
        """Raise an error for the job of another idempotency key.

        The response to ``generate`` doesn't hold its key.
        """
        if self._keys.setdefault(job_id, key) != key:
            raise _OtherKeyError("it is about the job of another idempotency key")
        while len(self._keys) > REMEMBERED_JOBS:
            del self._keys[next(iter(self._keys))]

    async def _call(
        self,
        operation: Operation,
        method: str,
        path: str,
        read: Callable[[HttpAnswer], T],
        body: bytes | None = None,
        *,
        doubts: list[GatewayError] | None = None,
        before_send: BeforeSend | None = None,
        before_retry: BeforeRetry | None = None,
    ) -> T:
        """Make a call with its retries.

        The errors of attempts that may have taken effect are added to ``doubts``.
        """
        url = self._prefix + path

        async def attempt() -> T:
            try:
                return await self._exchange.perform(
                    operation, method, url, read, body, before_send=before_send
                )
            except GatewayError as error:
                if error.in_doubt and doubts is not None:
                    doubts.append(error)
                raise

        found = await self._retrier.run(attempt, before_retry, url=url)
        if operation in PURCHASES:
            self._retrier.outage.has_bought = True
        return found


def _body(operation: Operation, model: type[WireModel], wanted: dict[str, Json]) -> bytes:
    """Return a request's body as canonical JSON.

    The bytes are the same for the same content, in any key order or process.
    """
    try:
        model.model_validate(wanted)
        return canonical(wanted).encode("ascii")
    except ValidationError as error:
        raise bad_request(operation, first_problem(error)) from None
    except (ValueError, TypeError, RecursionError) as error:
        # NaN, a lone surrogate, or a type that JSON lacks.
        raise bad_request(operation, str(error)) from error


def _same(data: D, field: str, asked: str) -> D:
    """Return ``data`` if it is for the requested id.

    A response can belong to another request on the connection. Raises ``UnreadableError``
    otherwise.
    """
    if str(getattr(data, field)).lower() != asked.lower():
        raise UnreadableError(f"it is about another {field}")
    return data
