"""The public client: the contract's ten operations as methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self, TypeVar

import httpx
from pydantic import ValidationError

from crucible_batch.domain.credits import ZERO
from crucible_batch.domain.identity import Json, canonical
from crucible_batch.domain.ports import MayResend, always
from crucible_batch.errors import JOB_OF_ANOTHER_KEY, GatewayError
from crucible_batch.gateway.aiohttp_transport import new_channel
from crucible_batch.gateway.api_key import ApiKey
from crucible_batch.gateway.exchange import ApiExchange, Call
from crucible_batch.gateway.json_text import UnreadableError
from crucible_batch.gateway.response_errors import HttpAnswer, bad_request
from crucible_batch.gateway.retries import OnRetry, Operation, Retrier, RetryPolicy, as_retrier
from crucible_batch.gateway.transport import Channel, HttpxChannel, KeyChannel, KeyTransport, new_client
from crucible_batch.gateway.url_guard import PRODUCTION, check_id, check_workflow_id, parse_api_base, workflow_segment
from crucible_batch.gateway.wire import (
    AssetCreateData,
    AssetCreateRequest,
    AssetCreateSuccessResponse,
    AssetDeleteData,
    AssetDeleteSuccessResponse,
    AssetDescriptor,
    AssetGetSuccessResponse,
    AssetListData,
    AssetListSuccessResponse,
    CreditsData,
    CreditsSuccessResponse,
    GenerateData,
    GenerateRequest,
    GenerateSuccessResponse,
    HealthData,
    HealthSuccessResponse,
    JobData,
    JobSuccessResponse,
    SuccessResponse,
    WireModel,
    WorkflowListData,
    WorkflowListSuccessResponse,
    WorkflowMetadataData,
    WorkflowMetadataSuccessResponse,
    first_problem,
    read_answer,
)

REMEMBERED_JOBS: Final = 4096
"""Job ids that are told apart by key. An answer that belongs to another request comes soon after that one's own."""

T = TypeVar("T")
D = TypeVar("D", bound=WireModel)


class _OtherKeyError(UnreadableError):
    code = JOB_OF_ANOTHER_KEY


class GeneratedJob(GenerateData):
    """The definite answer to ``generate``. ``existing`` tells 200 (the key was known) from 202 (a job was bought).

    ``after_doubt`` is true where an earlier try of the same call may have taken effect: an existing job is then most
    likely that try's.
    """

    existing: bool
    after_doubt: bool = False


class CrucibleClient:
    """A client of the Crucible gateway, safe to use concurrently::

        async with CrucibleClient(key) as client:
            job = await client.generate("zimage-base", {"prompt.text": "a lighthouse"}, idempotency_key="spring-1")
            print((await client.job(job.job_id)).status)

    Every method raises ``GatewayError`` where it can't return what it promises (``KeyRefusedError`` for 401), after
    the retries that ``retry`` allows. The error's ``in_doubt`` says that the request may have taken effect.
    ``timeout_s`` is the deadline of each try. Proxies are used only where ``proxy`` names one. A ``transport`` that is
    passed in is closed with the client, as httpx does.
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
        self._channel: Channel = (
            KeyChannel(new_channel(proxy=proxy, silence_s=timeout_s), key, base)
            if transport is None
            else HttpxChannel(new_client(KeyTransport(transport, key, base), timeout_s=timeout_s))
        )
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
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections. May be called twice."""
        await self._channel.aclose()

    async def health(self) -> HealthData:
        """Ask whether the service is up."""
        return await self._get(Operation.HEALTH, "/api/health", HealthSuccessResponse)

    async def credits(self) -> CreditsData:
        """Read the account's credits and its latest ledger entries."""
        return await self._get(Operation.CREDITS, "/api/v1/credits", CreditsSuccessResponse)

    async def workflows(self) -> WorkflowListData:
        """List the active workflows."""
        return await self._get(Operation.WORKFLOWS, "/api/v1/workflows", WorkflowListSuccessResponse)

    async def workflow(self, workflow_id: str) -> WorkflowMetadataData:
        """Read a workflow's metadata. Code ``WORKFLOW_NOT_FOUND`` where there is none."""
        path = f"/api/v1/workflows/{workflow_segment(workflow_id)}/metadata"
        return await self._get(
            Operation.WORKFLOW, path, WorkflowMetadataSuccessResponse, asked=("workflow_id", workflow_id)
        )

    async def assets(self) -> AssetListData:
        """List the account's assets."""
        return await self._get(Operation.ASSETS, "/api/v1/assets", AssetListSuccessResponse)

    async def asset(self, asset_id: str) -> AssetDescriptor:
        """Look at one asset. Code ``ASSET_NOT_FOUND`` where there is none."""
        path = f"/api/v1/assets/{check_id(asset_id, what='asset id')}"
        return await self._get(Operation.ASSET, path, AssetGetSuccessResponse, asked=("asset_id", asset_id))

    async def create_asset(
        self,
        *,
        mime_type: str,
        byte_size: int,
        filename: str | None = None,
        metadata: Mapping[str, Json] | None = None,
        may_resend: MayResend = always,
    ) -> AssetCreateData:
        """Buy an upload intent.

        It has no idempotency key, so only an answer that nothing happened (429) is tried again; after an error that
        is ``in_doubt``, look for it in ``assets()`` by its metadata.
        """
        wanted: dict[str, Json] = {"mime_type": mime_type, "byte_size": byte_size}
        if filename is not None:
            wanted["filename"] = filename
        if metadata is not None:
            wanted["metadata"] = dict(metadata)
        body = _body(Operation.CREATE_ASSET, AssetCreateRequest, wanted)
        return await self._call(
            Operation.CREATE_ASSET,
            "POST",
            "/api/v1/assets",
            lambda answer: _data(answer, AssetCreateSuccessResponse),
            body,
            may_resend=may_resend,
        )

    async def delete_asset(self, asset_id: str) -> AssetDeleteData:
        """Delete an asset. One that the gateway doesn't know counts as deleted, with a rebate of 0."""
        path = f"/api/v1/assets/{check_id(asset_id, what='asset id')}"

        def read(answer: HttpAnswer) -> AssetDeleteData:
            return _same(_data(answer, AssetDeleteSuccessResponse), "asset_id", asset_id)

        try:
            return await self._call(Operation.DELETE_ASSET, "DELETE", path, read)
        except GatewayError as error:
            # An HTML 404 is an edge's, or a wrong base URL's: it says nothing of the asset.
            if error.status == 404 and error.code != "HTTP_404":
                return AssetDeleteData(asset_id=asset_id, deleted=True, credit_rebate=ZERO)
            raise

    async def generate(
        self,
        workflow_id: str,
        params: Mapping[str, Json],
        *,
        idempotency_key: str,
        may_resend: MayResend = always,
    ) -> GeneratedJob:
        """Buy one job under the key (1 to 128 characters), or find the one that the key bought.

        Safe to call again with the same key and params. A job that failed stays failed under its key.
        """
        check_workflow_id(workflow_id)
        wanted: dict[str, Json] = {
            "workflow_id": workflow_id,
            "params": dict(params),
            "idempotency_key": idempotency_key,
        }
        body = _body(Operation.GENERATE, GenerateRequest, wanted)
        doubts: list[GatewayError] = []

        def read(answer: HttpAnswer) -> GeneratedJob:
            data = _data(answer, GenerateSuccessResponse)
            self._check_job_is_of_key(data.job_id, idempotency_key)
            # The data was checked just now: to check it again would cost as much as to read it.
            return GeneratedJob.model_construct(
                **{**dict(data), "existing": answer.status == 200, "after_doubt": bool(doubts)}
            )

        path = "/api/v1/generate"
        return await self._call(Operation.GENERATE, "POST", path, read, body, doubts=doubts, may_resend=may_resend)

    async def job(self, job_id: str) -> JobData:
        """Look at a job. Code ``JOB_NOT_FOUND`` where there is none."""
        path = f"/api/v1/jobs/{check_id(job_id, what='job id')}"
        return await self._get(Operation.JOB, path, JobSuccessResponse, asked=("job_id", job_id))

    async def _get(
        self,
        operation: Operation,
        path: str,
        envelope: type[SuccessResponse[D]],
        asked: tuple[str, str] | None = None,
    ) -> D:
        def read(answer: HttpAnswer) -> D:
            data = _data(answer, envelope)
            return _same(data, *asked) if asked else data

        return await self._call(operation, "GET", path, read)

    def _check_job_is_of_key(self, job_id: str, key: str) -> None:
        """Refuse a job that another key bought: an answer to ``generate`` names nothing else to tell it by."""
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
        may_resend: MayResend = always,
    ) -> T:
        """Make a call with its retries. ``doubts`` collects the tries that may have taken effect, before the answer."""
        call = Call(operation, method, self._prefix + path, read, body)

        async def attempt() -> T:
            try:
                return await self._exchange.perform(call)
            except GatewayError as error:
                if error.in_doubt and doubts is not None:
                    doubts.append(error)
                raise

        return await self._retrier.run(attempt, may_resend)


def _body(operation: Operation, model: type[WireModel], wanted: dict[str, Json]) -> bytes:
    """Write a request's body: the same bytes for the same content, whatever the order of its keys, in any process."""
    try:
        model.model_validate(wanted)
        return canonical(wanted).encode("ascii")
    except ValidationError as error:
        raise bad_request(operation, first_problem(error)) from None
    except (ValueError, TypeError, RecursionError) as error:  # NaN, a lone surrogate, what JSON has no form for
        raise bad_request(operation, str(error)) from error


def _data(answer: HttpAnswer, envelope: type[SuccessResponse[D]]) -> D:
    return read_answer(answer.body, envelope).data


def _same(data: D, field: str, asked: str) -> D:
    """Return ``data`` if it is about what was asked: an answer can belong to another request on the connection."""
    if str(getattr(data, field)).lower() != asked.lower():
        raise UnreadableError(f"it is about another {field}")
    return data
