"""The engine's gateway port over the two HTTP clients: converts wire records to domain types."""

from __future__ import annotations

import logging
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import MAXYEAR, MINYEAR, UTC, datetime
from decimal import Decimal
from typing import TypeVar, cast

import httpx

from crucible_batch.core.credits import Credits
from crucible_batch.core.gateway_types import (
    Account,
    AssetSnapshot,
    AssetSpec,
    AssetStatus,
    ErrorInfo,
    JobSnapshot,
    JobStatus,
    LedgerEntry,
    OutputLink,
    Submission,
    UploadIntent,
    Workflow,
)
from crucible_batch.core.identity import Json
from crucible_batch.core.output_list import MOST_OUTPUTS
from crucible_batch.core.parameter_info import ParameterInfo, read_parameter
from crucible_batch.core.ports import BeforeRetry, BeforeSend, Gateway
from crucible_batch.core.redaction import CODE_LIMIT, clean_message
from crucible_batch.gateway.api_key import ApiKey
from crucible_batch.gateway.client import CrucibleClient
from crucible_batch.gateway.response_errors import bad_request
from crucible_batch.gateway.retries import Operation, Retrier, RetryPolicy, as_retrier
from crucible_batch.gateway.storage import StorageClient
from crucible_batch.gateway.url_guard import parse_api_base
from crucible_batch.gateway.wire import AssetDescriptor, CreditLedgerEntry, JobData, JobOutput

S = TypeVar("S", JobStatus, AssetStatus)

_NAME_KEYS = ("name", "key", "id")
_LONGEST_ESTIMATE_S = 7 * 24 * 3600.0  # a larger value is in milliseconds, or a mistake


def read_fields(metadata: Mapping[str, object]) -> tuple[str, ...] | None:
    """Return the parameter names in ``available_fields``, in order and each once.

    It may be a list of names, a list of objects that hold the name under ``name``, ``key`` or
    ``id``, or a mapping by name. None if it is absent or of another form.
    """
    listed = _listed(metadata)
    if listed is None:
        return None
    known = [name for name, _ in listed if name]
    # One unreadable entry makes the list incomplete, and an incomplete list would reject parameters
    # that exist.
    if len(known) < len(listed):
        return None
    return tuple(dict.fromkeys(known))


def read_parameters(metadata: Mapping[str, object]) -> dict[str, ParameterInfo]:
    """Return what the metadata has of each listed parameter, by its cleaned name.

    A bare name has no entry.
    """
    return {
        clean_message(name): read_parameter(details)
        for name, details in _listed(metadata) or ()
        if name and isinstance(details, Mapping)
    }


def _listed(metadata: Mapping[str, object]) -> list[tuple[str | None, object]] | None:
    """Return the name and the metadata of each entry in ``available_fields``, if there are any."""
    listed = metadata.get("available_fields")
    if isinstance(listed, Mapping):
        return [(_name(name), details) for name, details in listed.items()]
    if isinstance(listed, list):
        return [(_name(entry), entry) for entry in listed]
    return None


def read_expected_s(metadata: Mapping[str, object]) -> float | None:
    """Return ``estimated_time_seconds``; None if it is absent or not between 0 and one week."""
    value = metadata.get("estimated_time_seconds")
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    if not 0 < value <= _LONGEST_ESTIMATE_S:
        return None
    return float(value)


def _name(entry: object) -> str | None:
    """Return the parameter's name, from a name or an object that holds one."""
    if isinstance(entry, str):
        return entry
    if not isinstance(entry, Mapping):
        return None
    names = (entry.get(key) for key in _NAME_KEYS)
    return next((name for name in names if isinstance(name, str)), None)


logger = logging.getLogger(__name__)

_BEYOND_INDICES = 2**32
FILENAME_LIMIT = 255  # AssetCreateRequest.filename


class HttpGateway(Gateway):
    """The gateway port over HTTP. Methods behave as documented in the port.

    It doesn't close its clients; ``open_gateway`` does.
    """

    def __init__(self, api: CrucibleClient, storage: StorageClient) -> None:
        self._api = api
        self._storage = storage
        self._warned: set[str] = set()

    async def submit(
        self,
        workflow_id: str,
        params: Mapping[str, object],
        *,
        key: str,
        before_send: BeforeSend | None = None,
        before_retry: BeforeRetry | None = None,
    ) -> Submission:
        # The port's type allows any object; the client rejects values that JSON can't represent.
        sendable = cast("Mapping[str, Json]", params)
        job = await self._api.generate(
            workflow_id,
            sendable,
            idempotency_key=key,
            before_send=before_send,
            before_retry=before_retry,
        )
        return Submission(
            job_id=job.job_id,
            credits=job.requested_credits,
            existing=job.existing,
            after_doubt=job.after_doubt,
        )

    async def job(self, job_id: str, *, before_retry: BeforeRetry | None = None) -> JobSnapshot:
        job = await self._api.job(job_id, before_retry=before_retry)
        if len(job.outputs) > MOST_OUTPUTS:
            self._warn_once(
                f"a job lists {len(job.outputs)} outputs; only the first {MOST_OUTPUTS} are used"
            )
        return JobSnapshot(
            job_id=job.job_id,
            status=_status(JobStatus, job.status),
            credits=job.requested_credits,
            error=_job_error(job),
            outputs=_output_links(job.outputs),
            workflow_id=job.workflow_id,
            params=_params(job),
        )

    async def account(self) -> Account:
        found = await self._api.credits()
        entries = tuple(_ledger_entry(entry) for entry in found.recent_entries)
        return Account(
            balance=found.balance,
            reserved=found.reserved,
            available=found.available,
            entries=entries,
        )

    async def workflows(self) -> Sequence[str]:
        return tuple(
            clean_message(workflow.workflow_id) for workflow in await self._api.workflows()
        )

    async def workflow(self, workflow_id: str) -> Workflow:
        metadata = (await self._api.workflow(workflow_id)).metadata
        fields = read_fields(metadata)
        if not fields:
            self._warn_once(
                f"workflow {workflow_id} does not list its parameters; they are sent unchecked"
            )
        if fields is not None:
            fields = tuple(clean_message(name) for name in fields)
        return Workflow(workflow_id, fields, read_expected_s(metadata), read_parameters(metadata))

    async def assets(self) -> Sequence[AssetSnapshot]:
        return tuple(_asset_snapshot(asset) for asset in await self._api.assets())

    async def asset(self, asset_id: str) -> AssetSnapshot:
        return _asset_snapshot(await self._api.asset(asset_id))

    async def create_asset(
        self, spec: AssetSpec, *, nonce: str, before_send: BeforeSend | None = None
    ) -> UploadIntent:
        created = await self._api.create_asset(
            mime_type=spec.mime_type,
            byte_size=spec.byte_size,
            filename=spec.filename[-FILENAME_LIMIT:] or None,
            metadata={"cb_sha256": spec.sha256, "cb_nonce": nonce},
            before_send=before_send,
        )
        return UploadIntent(
            asset_id=created.asset_id,
            upload_url=created.upload_url,
            credits=created.credits_charged,
        )

    async def upload(self, intent: UploadIntent, spec: AssetSpec, content: bytes) -> None:
        if len(content) != spec.byte_size:
            raise bad_request(
                Operation.UPLOAD, f"{len(content)} bytes where {spec.byte_size} were declared"
            )
        await self._storage.put(intent.upload_url, content, spec.mime_type)

    async def delete_asset(self, asset_id: str) -> Credits:
        return (await self._api.delete_asset(asset_id)).credit_rebate

    def download(
        self, url: str
    ) -> AbstractAsyncContextManager[tuple[int | None, AsyncIterator[bytes]]]:
        return self._storage.get(url)

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            logger.warning("%s", message)


@asynccontextmanager
async def open_gateway(
    base_url: str,
    key: ApiKey | str,
    *,
    transport: httpx.AsyncBaseTransport | None = None,
    proxy: str | None = None,
    storage_hosts: Iterable[str] = (),
    timeout_s: float = 30.0,
    retry: RetryPolicy | Retrier | None = RetryPolicy(),  # noqa: B008 - frozen
) -> AsyncIterator[HttpGateway]:
    """Open a gateway with its clients, and close them at the end of the block.

    ``transport`` is used for storage too. ``storage_hosts`` are hosts that storage links may lead
    to although their addresses aren't public.
    """
    retrier = as_retrier(retry)
    if not isinstance(key, ApiKey):
        key = ApiKey(key)
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(
            CrucibleClient(
                key,
                base_url=base_url,
                transport=transport,
                proxy=proxy,
                timeout_s=timeout_s,
                retry=retrier,
            )
        )
        storage = StorageClient(
            parse_api_base(base_url),
            retrier.for_storage(),
            transport=transport,
            proxy=proxy,
            timeout_s=timeout_s,
            trusted_hosts=storage_hosts,
            hide=key.mask_in,
        )
        stack.push_async_callback(storage.aclose)
        yield HttpGateway(api, storage)


def _status(kind: type[S], word: str) -> S:
    try:
        return kind(word)
    except ValueError:
        return kind("unknown")


def _job_error(job: JobData) -> ErrorInfo | None:
    if job.status != JobStatus.FAILED and not job.error_code:
        return None
    code = clean_message(job.error_code or "", CODE_LIMIT)
    message = clean_message(job.error_message or "")
    return ErrorInfo(
        code=code or "JOB_FAILED",
        message=message or "the gateway reports the job as failed, without a message",
    )


def _params(job: JobData) -> Mapping[str, object]:
    """Return the parameters of the job's request, if the record has them.

    The contract does not list them.
    """
    found = (job.model_extra or {}).get("params")
    if not isinstance(found, dict):
        return {}
    return found


def _output_links(outputs: Sequence[JobOutput]) -> tuple[OutputLink, ...]:
    """Order the outputs by index, and give each a unique number.

    The number is the same each time the job is read. It is the output's index. If several outputs
    share an index, which the contract doesn't intend, it is computed from the output's id: a
    position would change with the list. An output without an id gets the next free number, so that
    no file replaces another. An output that is listed twice counts once.
    """
    if len(outputs) == 1:
        return (OutputLink(index=outputs[0].output_index, url=outputs[0].url),)
    outputs = _without_repetitions(outputs)
    shared = Counter(output.output_index for output in outputs)
    links: dict[int, OutputLink] = {}
    for output in sorted(outputs, key=lambda output: (output.output_index, output.id)):
        number = output.output_index
        if shared[number] > 1 and output.id:
            number = _BEYOND_INDICES + zlib.crc32(output.id.encode())
        while number in links:
            number += 1
        links[number] = OutputLink(index=number, url=output.url)
    return tuple(links.values())[:MOST_OUTPUTS]


def _without_repetitions(outputs: Sequence[JobOutput]) -> list[JobOutput]:
    """Return the outputs, each once.

    A record repeats another if its id, index and link (without the query) are equal. A repetition
    in one answer only would otherwise change the numbers, and those recorded then would never be
    found.
    """
    once: dict[tuple[int, str | int, str], JobOutput] = {}
    for position, output in enumerate(outputs):
        link = (output.url or "").partition("?")[0]
        once.setdefault((output.output_index, output.id or position, link), output)
    return list(once.values())


def _ledger_entry(entry: CreditLedgerEntry) -> LedgerEntry:
    more = (entry.model_extra or {}).values()
    return LedgerEntry(
        entry_id=entry.id,
        entry_type=clean_message(entry.entry_type),
        amount=entry.amount,
        at=_seconds(entry.created_at),
        job_id=entry.job_id or None,
        status=clean_message(entry.status),
        description=clean_message(entry.description or ""),
        more=tuple(text for value in more for text in _texts(value)),
    )


def _texts(value: object) -> Iterator[str]:
    """Yield the texts of an unknown field, or of an object's direct members.

    Any of them may be an id.
    """
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (member for member in value.values() if isinstance(member, str))


def _seconds(timestamp: str) -> float | None:
    """Return an RFC 3339 timestamp as Unix time; one without an offset is UTC.

    Returns None if it isn't a timestamp, or one that has no date in each time zone, such as the
    zero time of many servers.
    """
    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError:
        return None
    if not MINYEAR < moment.year < MAXYEAR:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()


def _asset_snapshot(asset: AssetDescriptor) -> AssetSnapshot:
    sha256, nonce = asset.metadata.get("cb_sha256"), asset.metadata.get("cb_nonce")
    return AssetSnapshot(
        asset_id=asset.asset_id,
        status=_status(AssetStatus, asset.status),
        byte_size=asset.byte_size or 0,
        sha256=sha256 if isinstance(sha256, str) else None,
        nonce=nonce if isinstance(nonce, str) else None,
    )
