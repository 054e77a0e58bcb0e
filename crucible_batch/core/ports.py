"""The ports of the engine: the gateway, with the contract by which its implementations are tested,
and derivations.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from crucible_batch.core.credits import Credits
from crucible_batch.core.events import Saved
from crucible_batch.core.gateway_types import (
    Account,
    AssetSnapshot,
    AssetSpec,
    JobSnapshot,
    Submission,
    UploadIntent,
    Workflow,
)
from crucible_batch.core.plan import PlannedJob
from crucible_batch.errors import GatewayError

BeforeSend = Callable[[], None]
"""Called right before each try of a request is sent, when nothing is waited for any more but its
connection. What it raises ends the call, and the try is not sent."""

BeforeRetry = Callable[[GatewayError, float], Awaitable[None]]
"""Called after a failed try that is to be repeated, with its error and the seconds to wait. It does
the waiting. The error's ``in_doubt`` is true if any try so far may have taken effect."""


class Gateway(Protocol):
    """The gateway's API and its storage.

    On failure every method raises ``GatewayError``, or ``KeyRefusedError`` for 401, and nothing
    else. The error's ``in_doubt`` is true whenever the request may have taken effect: any transport
    error after the first byte could have been sent, any 5xx, any unreadable answer. Once a try of a
    call was in doubt, only a success ends the doubt: a later 402 or 404 of the same call is still
    in doubt. Cancellation is not delayed. Methods may be called concurrently.
    """

    async def submit(
        self,
        workflow_id: str,
        params: Mapping[str, object],
        *,
        key: str,
        before_send: BeforeSend | None = None,
        before_retry: BeforeRetry | None = None,
    ) -> Submission:
        """Buy one job under ``key``, or find the existing job of that key.

        Safe to call again with the same key.
        """
        ...

    async def job(self, job_id: str, *, before_retry: BeforeRetry | None = None) -> JobSnapshot:
        """Read a job.

        Raises with code ``JOB_NOT_FOUND`` and status 404 if the gateway doesn't know it.
        """
        ...

    async def account(self) -> Account:
        """Read the account's credits and the newest entries of its ledger, unchanged."""
        ...

    async def workflows(self) -> Sequence[str]:
        """List the ids of the active workflows."""
        ...

    async def workflow(self, workflow_id: str) -> Workflow:
        """Read a workflow's metadata. Raises with code ``WORKFLOW_NOT_FOUND`` if there is none."""
        ...

    async def assets(self) -> Sequence[AssetSnapshot]:
        """List the account's assets, including those that other programs uploaded."""
        ...

    async def asset(self, asset_id: str) -> AssetSnapshot:
        """Read one asset. Raises with code ``ASSET_NOT_FOUND`` if there is none."""
        ...

    async def create_asset(
        self, spec: AssetSpec, *, nonce: str, before_send: BeforeSend | None = None
    ) -> UploadIntent:
        """Buy an upload intent that carries the image's digest and ``nonce`` in its metadata.

        There is no idempotency key, so it is never retried automatically once it is in doubt.
        """
        ...

    async def upload(self, intent: UploadIntent, spec: AssetSpec, content: bytes) -> None:
        """Put the bytes to the intent's URL, with the spec's content type. May be called again."""
        ...

    async def delete_asset(self, asset_id: str) -> Credits:
        """Delete an asset and return the rebate; 0 if it was already deleted (404)."""
        ...

    def download(
        self, url: str
    ) -> AbstractAsyncContextManager[tuple[int | None, AsyncIterator[bytes]]]:
        """Open a signed URL, and return the declared length in bytes, if there is one, with the
        body.

        The body's iterator raises ``GatewayError`` if it ends before its declared length.
        """
        ...


class Derivation(Protocol):
    """Which jobs an output leads to, so that they are added to the plan of a run while it is
    active."""

    def derive(self, planned: PlannedJob, saved: Saved) -> Sequence[PlannedJob]:
        """Return the jobs that are made from an output of ``planned``, which may have been given
        before: then with less known of its job.

        One with the position of ``planned`` is asked for in its place.
        """
        ...

    def counts(self, planned: PlannedJob, saved: Saved) -> bool:
        """Return whether an output counts although its job has left the plan."""
        ...

    def gives_way(self, planned: PlannedJob) -> bool:
        """Return whether an output of a job is saved aside if an unknown file is at its path."""
        ...

    def arrange(self) -> None:
        """Bring the plan into manifest order, at the end of the run."""
        ...
