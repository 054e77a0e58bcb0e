"""The engine's port straight on the sandbox's world, under the weather: no HTTP, the product's own
retries on top.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

from crucible_batch.core.credits import ZERO, Credits
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
from crucible_batch.core.ports import BeforeRetry, BeforeSend, Gateway
from crucible_batch.errors import GatewayError, KeyRefusedError
from crucible_batch.gateway import Retrier
from crucible_batch.gateway.retries import Operation, decide_retry
from crucible_batch.sandbox import records
from crucible_batch.sandbox.assets import Arrival, Intent
from crucible_batch.sandbox.jobs import Order
from crucible_batch.sandbox.records import RefusedError
from tests.harness.sandbox_audit import price_in
from tests.verification.simulation.mortality import Crashed, Process
from tests.verification.simulation.purse import Purse
from tests.verification.simulation.surroundings import Surroundings, content
from tests.verification.simulation.virtual_time import true_now
from tests.verification.simulation.weather import Fault, Moment

T = TypeVar("T")

_PATIENCE_S = 30.0
_LIST_GROWS_S = 1.9
_ERROR_PAGE = b"<Error><Code>InternalError</Code></Error>"


class SimulatedGateway(Gateway):
    """The port as one process of ours sees it.

    ``purse`` is told of each purchase that leaves and is answered.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        process: Process,
        retrier: Retrier,
        chance: random.Random,
        purse: Purse,
    ) -> None:
        self._around = surroundings
        self._world = surroundings.world
        self._account_id = surroundings.account_id
        self._weather = surroundings.weather
        self._process = process
        self._retrier = retrier
        self._chance = chance
        self._purse = purse
        self._pauses = purse.pauses

    # -- the port

    async def submit(
        self,
        workflow_id: str,
        params: Mapping[str, object],
        *,
        key: str,
        before_send: BeforeSend | None = None,
        before_retry: BeforeRetry | None = None,
    ) -> Submission:
        order = Order(workflow_id, dict(params), key)

        if not self._purse.hold_is_durable(key):
            self._around.requests.complaints.append(
                f"{params} was sent before its hold was durable"
            )

        def effect(now: float) -> tuple[records.Job, bool]:
            if self._world.jobs.earlier(self._account_id, order) is None:
                available = self._around.available(Operation.GENERATE)
                _require(price_in(self._world, self._account_id, order, now), available)
            return self._world.submit(self._account_id, order, now)

        new: list[bool] = []

        def leaving() -> None:
            if before_send is not None:
                before_send()
            if not new:
                new.append(self._purse.sent(key, workflow_id, params))
            self._around.leaves(params)

        doubts: list[GatewayError] = []
        if self._process.is_dead:
            raise Crashed("generate")
        with self._answering(key, new):
            job, is_new = await self._call(
                Operation.GENERATE, effect, doubts, leaving, before_retry, key
            )
        return Submission(
            job.job_id, job.answered_price, existing=not is_new, after_doubt=bool(doubts)
        )

    async def job(self, job_id: str, *, before_retry: BeforeRetry | None = None) -> JobSnapshot:
        def effect(now: float) -> JobSnapshot:
            lost = self._around.requests.lost_jobs
            if self._weather.strikes("job-lost", Operation.JOB):
                lost.add(job_id)
                self._around.requests.ever_lost.add(job_id)
            if job_id in lost:
                raise RefusedError(404, "JOB_NOT_FOUND", "Job not found.")
            return self._snapshot(self._world.job(self._account_id, job_id, now))

        return await self._call(Operation.JOB, effect, before_retry=before_retry)

    async def account(self) -> Account:
        def effect(now: float) -> Account:
            totals, rows = self._world.credits(self._account_id, now)
            entries = tuple(_listed_entry(row, id_in_text=self._around.ids_in_text) for row in rows)
            return Account(
                totals.balance, totals.reserved, self._around.available(Operation.CREDITS), entries
            )

        account = await self._call(Operation.CREDITS, effect)
        self._purse.shown({entry.entry_id for entry in account.entries})
        return account

    async def workflows(self) -> Sequence[str]:
        """Asked only whether the gateway answers; struck by the faults of the account's credits."""

        def effect(_now: float) -> Sequence[str]:
            return ()

        return await self._call(Operation.CREDITS, effect)

    async def workflow(self, workflow_id: str) -> Workflow:
        """Asked only to plan, before a run; no fault strikes it."""
        return Workflow(workflow_id)

    async def assets(self) -> Sequence[AssetSnapshot]:
        def effect(now: float) -> Sequence[AssetSnapshot]:
            lag_s = (
                self._chance.uniform(0.5, 6.0)
                if self._weather.strikes("list-lag", Operation.ASSETS)
                else 0.0
            )
            listed = self._world.assets.listed(self._account_id)
            return tuple(_asset(asset, now) for asset in listed if asset.created_at <= now - lag_s)

        return await self._call(Operation.ASSETS, effect)

    async def asset(self, asset_id: str) -> AssetSnapshot:
        return await self._call(
            Operation.ASSET,
            lambda now: _asset(self._world.assets.get(self._account_id, asset_id), now),
        )

    async def create_asset(
        self, spec: AssetSpec, *, nonce: str, before_send: BeforeSend | None = None
    ) -> UploadIntent:
        intent = Intent(
            spec.mime_type,
            spec.byte_size,
            spec.filename,
            {"cb_sha256": spec.sha256, "cb_nonce": nonce},
        )

        def effect(now: float) -> records.Asset:
            _require(self._world.assets.price(now), self._around.available(Operation.CREATE_ASSET))
            return self._world.create_asset(self._account_id, intent, now)

        new: list[bool] = []

        def leaving() -> None:
            if before_send is not None:
                before_send()
            if not new:
                new.append(self._purse.sent_upload(nonce))

        if self._process.is_dead:
            raise Crashed("create asset")
        with self._answering(nonce, new):
            try:
                asset = await self._call(
                    Operation.CREATE_ASSET, effect, before_send=leaving, key=nonce
                )
            except GatewayError as error:
                if error.in_doubt:  # it is not sent again: from now on it is only searched for
                    self._purse.stakes.came_to_nothing(nonce)
                raise
        expired = self._weather.strikes("expired-upload", Operation.CREATE_ASSET)
        return UploadIntent(asset.asset_id, "expired" if expired else asset.asset_id, asset.charged)

    async def upload(self, intent: UploadIntent, spec: AssetSpec, content: bytes) -> None:
        sha256 = hashlib.sha256(content).hexdigest()

        def effect(now: float) -> None:
            if sha256 != spec.sha256:
                self._around.requests.complaints.append(
                    "other bytes were uploaded than were hashed"
                )
            if intent.upload_url == "expired":
                raise RefusedError(403, "AccessDenied", "Request has expired")
            self._world.receive(intent.asset_id, Arrival(sha256, 64, 64), now)

        await self._call(Operation.UPLOAD, effect)

    async def delete_asset(self, asset_id: str) -> Credits:
        def effect(now: float) -> Credits:
            return self._world.delete_asset(self._account_id, asset_id, now)

        try:
            return await self._call(Operation.DELETE_ASSET, effect)
        except GatewayError as error:
            if error.status == 404 and error.code != "HTTP_404":
                return ZERO
            raise

    @asynccontextmanager
    async def download(self, url: str) -> AsyncIterator[tuple[int | None, AsyncIterator[bytes]]]:
        job_id, index, until = url.split("/")

        def effect(now: float) -> bytes:
            if now > float(until):
                raise RefusedError(403, "AccessDenied", "Request has expired")
            return content(self._world.jobs.find(job_id), int(index))

        body = await self._call(Operation.DOWNLOAD, effect)
        length: int | None = len(body)
        if self._weather.strikes("cut", Operation.DOWNLOAD):
            body = body[: self._chance.randrange(len(body))]
        elif self._weather.strikes("padded", Operation.DOWNLOAD):
            body += b"\0" * self._chance.randrange(1, 9)
        elif self._weather.strikes("cut-unsized", Operation.DOWNLOAD):
            body, length = body[: self._chance.randrange(len(body))], None
        elif self._weather.strikes("unsized", Operation.DOWNLOAD):
            length = None
        elif self._weather.strikes("error-page", Operation.DOWNLOAD):
            body, length = _ERROR_PAGE, len(_ERROR_PAGE)
        yield length, self._stream(body, length)

    @contextmanager
    def _answering(self, key: str, new: Collection[bool]) -> Iterator[None]:
        """Tell the purse of a definite answer.

        A refusal is none where an earlier try may have bought it. ``new`` has whether the key was a
        new one, from the moment when its first try leaves.
        """
        try:
            yield
        except GatewayError as error:
            if any(new) and not error.in_doubt:
                self._purse.stakes.answered(key)
            raise
        self._purse.stakes.answered(key)

    # -- an exchange

    async def _call(
        self,
        operation: Operation,
        effect: Callable[[float], T],
        doubts: list[GatewayError] | None = None,
        before_send: BeforeSend | None = None,
        before_retry: BeforeRetry | None = None,
        key: str | None = None,
    ) -> T:
        async def attempt() -> T:
            if before_send is not None:
                before_send()
            if key is not None:
                self._pauses.leaves(key, f"a request to {operation}")
            try:
                return await self._exchange(operation, effect)
            except GatewayError as error:
                if error.in_doubt and doubts is not None:
                    doubts.append(error)
                if key is not None:
                    self._pauses.failed(key, in_doubt=error.in_doubt)
                    if error.code == "IDEMPOTENCY_KEY_REUSED":
                        self._around.requests.conflicts.add(key)
                raise

        return await self._retrier.run(attempt, before_retry)

    async def _exchange(self, operation: Operation, effect: Callable[[float], T]) -> T:
        self._process.effect(f"{operation} out")
        fault = self._weather.exchange(operation, true_now())
        moment = fault.moment if fault else None
        await asyncio.sleep(self._chance.uniform(0.001, 0.05))
        if fault is not None and moment is Moment.BEFORE:
            raise _failure(operation, fault.status, fault.code, fault)
        if moment is Moment.OVERDUE:
            self._around.postpone(effect)
            await asyncio.sleep(_PATIENCE_S)
            raise _failure(operation, None, "NO_ANSWER")
        refused: GatewayError | None = None
        try:
            result = self._around.carry_out(operation, effect)
        except RefusedError as error:
            refused = _refusal(operation, error)
        self._process.effect(f"{operation} in")
        await asyncio.sleep(
            self._chance.uniform(0.001, _PATIENCE_S - 1 if moment is Moment.LATE else 0.05)
        )
        if fault is not None and moment is Moment.AFTER:
            raise _failure(operation, fault.status, fault.code, fault)
        if refused is not None:
            raise refused
        return result

    async def _stream(self, body: bytes, length: int | None) -> AsyncIterator[bytes]:
        half = len(body) // 2
        for chunk in (body[:half], body[half:]):
            await asyncio.sleep(self._chance.uniform(0, 0.02))
            self._process.effect("chunk")
            yield chunk
        if length is not None and len(body) < length:
            raise _failure(Operation.DOWNLOAD, None, "NO_ANSWER")

    def _listed(self, job: records.Job) -> int:
        """How many outputs of a job that has succeeded are listed: for a while it may be some, at
        three looks none.
        """
        empty, all_of_them = self._around.requests.empty_lists, len(job.outputs)
        if empty[job.job_id] >= 3 or not self._weather.strikes("no-outputs", Operation.JOB):
            return all_of_them
        if true_now() < job.finished_at + _LIST_GROWS_S:
            return self._chance.randrange(all_of_them)
        empty[job.job_id] += 1
        return 0

    def _snapshot(self, job: records.Job) -> JobSnapshot:
        status = _status(job)
        if self._weather.strikes("odd-status", Operation.JOB):
            status = JobStatus.UNKNOWN
        links: tuple[OutputLink, ...] = ()
        if status is JobStatus.SUCCEEDED:
            until = true_now() + (
                -1.0 if self._weather.strikes("expired-download", Operation.JOB) else 300.0
            )
            urls = [f"{job.job_id}/{index}/{until!r}" for index in range(self._listed(job))]
            bare = self._weather.strikes("no-links", Operation.JOB)
            links = tuple(
                OutputLink(index, None if bare else url) for index, url in enumerate(urls)
            )
        error = ErrorInfo(job.error_code, job.error_message or "") if job.error_code else None
        return JobSnapshot(
            job.job_id,
            status,
            job.recorded_price,
            error if status is JobStatus.FAILED else None,
            links,
        )


def _require(price: Credits, available: Credits) -> None:
    if price > available:
        raise RefusedError(
            402, "INSUFFICIENT_CREDITS", f"This costs {price} credits; {available} are available."
        )


def _status(job: records.Job) -> JobStatus:
    return JobStatus(job.status(true_now()))


def _listed_entry(row: records.Entry, *, id_in_text: bool) -> LedgerEntry:
    """An entry as the contract shows it: without the id of an asset, and at times that of a job is
    in its text.
    """
    is_moved = id_in_text and row.job_id is not None
    return LedgerEntry(
        entry_id=row.entry_id,
        entry_type=row.entry_type,
        amount=row.amount,
        at=row.created_at,
        job_id=None if is_moved else row.job_id,
        description=f"{row.description} (job {row.job_id})" if is_moved else row.description,
    )


def _asset(asset: records.Asset, now: float) -> AssetSnapshot:
    sha256, nonce = asset.metadata.get("cb_sha256"), asset.metadata.get("cb_nonce")
    return AssetSnapshot(
        asset.asset_id,
        AssetStatus(asset.status(now)),
        asset.byte_size,
        sha256 if isinstance(sha256, str) else None,
        nonce if isinstance(nonce, str) else None,
    )


def _refusal(operation: Operation, refused: RefusedError) -> GatewayError:
    storage = operation in (Operation.UPLOAD, Operation.DOWNLOAD)
    return _failure(
        operation, refused.status, f"HTTP_{refused.status}" if storage else refused.code
    )


def _failure(
    operation: Operation, status: int | None, code: str, fault: Fault | None = None
) -> GatewayError:
    """The product's own table says what is in doubt, as it does for HTTP."""
    kind = KeyRefusedError if status == 401 else GatewayError
    return kind(
        fault.name if fault else code,
        code=code or "NO_ANSWER",
        operation=operation,
        status=status,
        in_doubt=decide_retry(operation, status).in_doubt,
        retry_after_s=2.0 if status in (429, 503) else None,
    )
