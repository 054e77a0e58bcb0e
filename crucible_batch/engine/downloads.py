"""Downloads outputs of succeeded jobs, with a fresh link for each try."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from msgspec.structs import replace
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from crucible_batch.core.attempt import Attempt
from crucible_batch.core.events import Saved, Unavailable
from crucible_batch.core.gateway_types import ErrorInfo, JobSnapshot, OutputLink
from crucible_batch.core.output_path import is_planned_path
from crucible_batch.core.plan import PlannedJob, RunTerms
from crucible_batch.core.ports import Gateway
from crucible_batch.core.provenance import Metadata, embedded_text, sidecar
from crucible_batch.engine.clock import Clock
from crucible_batch.engine.shutdown import message_with_operation
from crucible_batch.errors import UNSAFE_URL, GatewayError, KeyRefusedError
from crucible_batch.outputs import Folder, OutputError, OutputStore, SavedFile
from crucible_batch.outputs.output_properties import possible_metadata, properties_of

logger = logging.getLogger(__name__)

OUTPUT_UNAVAILABLE = "OUTPUT_UNAVAILABLE"
OUTPUT_CHANGED = "OUTPUT_CHANGED"
_TRIES = 4
_TRIES_OF_DEFINITE = 2
"""Tries of an output refused for its content or address: one more link, immediately, since waiting
changes nothing.
"""
_BASE_WAIT_S = 0.2
_LONGEST_WAIT_S = 5.0
_LINK_STATUSES = {400, 403, 404, 410}
"""Statuses of a storage for an expired or wrong link; a fresh link may work."""


T = TypeVar("T")
Take = Callable[[AsyncIterator[bytes], int | None], Awaitable[T]]
"""Consumes a body, given its declared length if there is one."""


@dataclass(frozen=True, slots=True)
class Restored:
    """An output restored to its path. ``kept``: where the file that was there before is now."""

    saved: Saved
    kept: str | None


def _unread(_record: JobSnapshot) -> None:
    """The default: records are ignored."""


async def _no_other_path(_planned: PlannedJob, _path: str, _sha256: str) -> None:
    return None


class Downloader:
    """Saves outputs to disk, with sidecars if ``terms`` ask for them. ``jitter`` returns random
    numbers in [0, 1).

    ``find_path`` returns where to save an output whose path is taken, as
    ``OutputRelocator.find_path`` does; ``on_record`` receives each record that is read.
    ``same_bytes``: an output that is missing is embedded as it was, and not as ``terms`` ask. The
    bytes are part of the identity of jobs that are made from it.
    """

    def __init__(
        self,
        gateway: Gateway,
        store: OutputStore,
        clock: Clock,
        *,
        jitter: Callable[[], float],
        terms: RunTerms,
        find_path: Callable[[PlannedJob, str, str], Awaitable[str | None]] = _no_other_path,
        on_record: Callable[[JobSnapshot], None] = _unread,
        same_bytes: bool = False,
    ) -> None:
        self._gateway = gateway
        self._store = store
        self._clock = clock
        self._jitter = jitter
        self._terms = terms
        self._find_path = find_path
        self._on_record = on_record
        self._same_bytes = same_bytes
        self._sidecars = store.sidecars()
        self._snapshots: dict[str, JobSnapshot] = {}

    def seen(self, snapshot: JobSnapshot) -> None:
        """Keep a poll's links for the first try of each output.

        In memory only, since links are secrets and expire.
        """
        self._snapshots[snapshot.job_id] = snapshot

    def forget(self, job_id: str) -> None:
        self._snapshots.pop(job_id, None)

    async def fetch(
        self,
        planned: PlannedJob,
        attempt: Attempt,
        index: int,
        number: int | None = None,
        *,
        missed: Saved | None = None,
    ) -> Saved | Unavailable:
        """Save one output of an accepted attempt. ``Unavailable``: it is paid for and can't be
        downloaded now.

        ``number`` is the gateway's number of the output; None if it was not recorded, and the order
        of the list counts. ``missed`` is the output as it was saved before. A file that is still at
        its path was changed by someone else: it is kept under another name, and only if the saved
        bytes can be downloaded again. Raises ``GatewayError`` if the gateway, its storage or the
        connection failed: nothing is known of the output.
        """
        if missed is not None and self._is_changed(planned, missed):
            return await self._replace_changed(planned, attempt, missed, number)
        embed, like = self._embedded(planned, attempt, index), None
        if missed is not None and self._same_bytes:
            embed, like = self._embedded_before(planned, attempt, missed), missed.sha256

        async def save(body: AsyncIterator[bytes], length: int | None) -> Saved:
            saved = list[Saved]()

            def note(file: SavedFile, folder: Folder | None) -> None:
                saved.append(_saved(self._clock.now(), index, file))
                if self._terms.sidecars:
                    self._sidecars.write(
                        saved[0].path, sidecar(self._terms, planned, attempt, saved[0]), folder
                    )

            find_path = partial(self._find_path, planned)
            token = _token(planned)
            await self._store.save(
                planned.output,
                index,
                token,
                body,
                length,
                embed=embed,
                like=like,
                find_path=find_path,
                note=note,
            )
            return saved[0]

        return await self._download(attempt.job_id or "", index, number, save)

    def _embedded(self, planned: PlannedJob, attempt: Attempt, index: int) -> Sequence[Metadata]:
        """Return what the terms ask to be embedded in an output, if anything."""
        text = None
        if self._terms.embed:
            text = embedded_text(self._terms, planned, attempt, index)
        wanted = Metadata(text, properties_of(planned, self._terms.properties))
        return () if wanted == Metadata() else (wanted,)

    def _embedded_before(
        self, planned: PlannedJob, attempt: Attempt, saved: Saved
    ) -> Sequence[Metadata]:
        """Return what may have been embedded in an output that was saved before, if anything was;
        first what the terms ask for.
        """
        if saved.sent is None:
            return ()
        text = embedded_text(self._terms, planned, attempt, saved.index)
        wanted = self._embedded(planned, attempt, saved.index)
        return possible_metadata(text, planned, *wanted)

    def _is_changed(self, planned: PlannedJob, missed: Saved) -> bool:
        """Return whether a file is at the path of a missed output, and the plan puts that output
        there."""
        is_planned = is_planned_path(planned.output, missed.index, missed.sha256, missed.path)
        return is_planned and self._store.has(missed.path)

    async def _replace_changed(
        self, planned: PlannedJob, attempt: Attempt, missed: Saved, number: int | None
    ) -> Saved | Unavailable:
        # The file may be an output of another job, which was saved there after this one was
        # deleted.
        free = await self._find_path(planned, missed.path, missed.sha256)
        restored = await self.restore(
            planned, attempt, replace(missed, path=free or missed.path), number
        )
        if isinstance(restored, Unavailable):
            return restored
        if restored.kept is not None:
            logger.warning(
                "%s was changed after it was saved; the changed file is now %s",
                missed.path,
                restored.kept,
            )
        if self._terms.sidecars:
            about = sidecar(self._terms, planned, attempt, restored.saved)
            await asyncio.to_thread(self._sidecars.write, restored.saved.path, about)
        return restored.saved

    async def restore(
        self, planned: PlannedJob, attempt: Attempt, saved: Saved, number: int | None = None
    ) -> Restored | Unavailable:
        """Restore an output that was saved before: the same bytes at the same path, or nothing.

        Raises ``GatewayError`` as ``fetch`` does.
        """
        embed = self._embedded_before(planned, attempt, saved)
        token = f"{_token(planned)}-{saved.index}"

        async def restore(body: AsyncIterator[bytes], _length: int | None) -> Restored:
            byte_size = (saved.sent or saved).byte_size
            kept = await self._store.restore(
                saved.path,
                saved.sha256,
                token,
                body,
                byte_size=byte_size,
                sent=saved.sent,
                embed=embed,
            )
            return Restored(replace(saved, at=self._clock.now()), kept)

        return await self._download(attempt.job_id or "", saved.index, number, restore)

    async def _download(
        self, job_id: str, index: int, number: int | None, take: Take[T]
    ) -> T | Unavailable:
        try:
            return await self._try_often(job_id, index, number, take)
        except OutputError as error:
            return Unavailable(at=self._clock.now(), error=unavailable(error.code, error.message))
        except GatewayError as error:
            of_link = error.status in _LINK_STATUSES and not isinstance(error, KeyRefusedError)
            if of_link or _is_definite(error):
                return Unavailable(
                    at=self._clock.now(),
                    error=unavailable(error.code, message_with_operation(error)),
                )
            raise

    async def _try_often(self, job_id: str, index: int, number: int | None, take: Take[T]) -> T:
        try:
            return await self._try(job_id, index, number, take)
        except (GatewayError, OutputError) as error:
            if not _may_pass(error):
                raise
            failed = [error]
        # Made only now, since tenacity's loop costs half a request. It hears of the first try by
        # its error.
        tries = AsyncRetrying(
            sleep=self._clock.sleep,
            stop=_is_over,
            wait=self._wait_s,
            retry=retry_if_exception(_may_pass),
            reraise=True,
        )

        async def again() -> T:
            if failed:
                raise failed.pop()
            return await self._try(job_id, index, number, take)

        return await tries(again)

    def _wait_s(self, state: RetryCallState) -> float:
        """Full jitter, so that downloads that failed together are not repeated together."""
        if _is_definite(_failure(state)):
            return 0.0
        return self._jitter() * min(
            _LONGEST_WAIT_S, _BASE_WAIT_S * 2.0 ** (state.attempt_number - 1)
        )

    async def _try(self, job_id: str, index: int, number: int | None, take: Take[T]) -> T:
        snapshot = self._snapshots.get(job_id)
        if snapshot is None:
            snapshot = await self._gateway.job(job_id)
            self._on_record(snapshot)
        url = _url(snapshot, index, number)
        if url is None:
            self.forget(job_id)
            raise OutputError("OUTPUT_MISSING", f"the gateway lists no link for output {index}")
        self._snapshots[job_id] = snapshot
        try:
            async with self._gateway.download(url) as (length, body):
                taken = await take(body, length)
        except (GatewayError, OutputError):
            self.forget(job_id)  # the next try asks for a fresh link
            raise
        if index + 1 >= len(snapshot.outputs):
            self.forget(job_id)  # outputs are downloaded in order, and this was the last
        return taken


def _token(planned: PlannedJob) -> str:
    """Return what distinguishes the temporary files of a job: generations may be saved together."""
    token = planned.identity[:16]
    return f"{token}-g{planned.generation}" if planned.generation else token


def _url(snapshot: JobSnapshot, index: int, number: int | None) -> str | None:
    links: Iterable[OutputLink] = snapshot.outputs[index : index + 1]
    if number is not None:
        links = (link for link in snapshot.outputs if link.index == number)
    return next((link.url for link in links), None)


def _saved(at: float, index: int, file: SavedFile) -> Saved:
    return Saved(
        at=at,
        index=index,
        path=file.path.as_posix(),
        sha256=file.sha256,
        byte_size=file.byte_size,
        mime_type=file.picture.mime_type,
        width=file.picture.width,
        height=file.picture.height,
        sent=file.sent,
    )


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, OutputError):
        return not error.final
    return isinstance(error, GatewayError) and not isinstance(error, KeyRefusedError)


def _is_definite(error: BaseException | None) -> bool:
    """Whether it was refused for its address, size, pixels, type or encoding."""
    if isinstance(error, OutputError):
        return error.definite
    if not isinstance(error, GatewayError):
        return False
    return error.code == UNSAFE_URL or (
        error.code == "BAD_ANSWER" and error.operation == "download"
    )


def _is_over(state: RetryCallState) -> bool:
    tries = _TRIES
    if _is_definite(_failure(state)):
        tries = _TRIES_OF_DEFINITE
    return state.attempt_number >= tries


def _failure(state: RetryCallState) -> BaseException | None:
    assert state.outcome is not None  # it is asked for after a try
    return state.outcome.exception()


def unavailable(code: str, message: str) -> ErrorInfo:
    """Return the error of an output that is paid for and can't be downloaded."""
    if code == "OUTPUT_EXISTS":
        return ErrorInfo(code, message)
    if code == OUTPUT_CHANGED:
        hint = (
            "to use the new bytes instead, delete the file and run the same manifest again, "
            "at no cost"
        )
        return ErrorInfo(code, message, hint)
    return ErrorInfo(
        OUTPUT_UNAVAILABLE,
        f"{code}: {message}",
        hint="the output is paid for: run the same command again to download it, at no cost",
    )
