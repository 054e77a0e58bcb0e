"""Objects below one URL of an object store, by obstore.

Every failure is an ``ObjectStoreError`` without secrets. Imported only for such a URL, since
obstore is an extra. An object is complete before its name exists, in all three stores: that is how
a put request is defined.

    a request ends with                      repeated, until the store has been unusable for 2 min
    no answer, or a cut one                  yes
    5xx but 501, 408, 429, RequestTimeout    yes
    409, and the name is not taken           yes: another request for it is in progress
    409 or 412, and the name is taken        no: that is an answer
    anything else                            no
"""

from __future__ import annotations

import asyncio
import atexit
import hashlib
import logging
import os
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import ObjectStore as Backend
from obstore.store import S3Store, from_url
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from crucible_batch.core.output_path import PICTURE_EXTENSIONS
from crucible_batch.errors import ObjectStoreError
from crucible_batch.object_url import ObjectUrl
from crucible_batch.outputs.errors import DamagedUploadError
from crucible_batch.outputs.object_port import ObjectInfo

_DIGEST = "sha256"
"""The name of the metadata with an object's SHA-256."""
_OURS = "crucible-batch"
"""The name of the metadata that each object of a run has."""
_PATIENCE_S = 120.0
_TOLD_AFTER_S = 5.0
_WAIT = wait_random_exponential(multiplier=0.4, max=10)
_RETRIES = 2
"""Those of obstore, within a second. They serve the requests for a role's credentials as well."""
_SILENCE_S = 60.0
_SLOWEST_BYTES_PER_S = 50_000
_TRUE = frozenset({"true", "1", "yes", "on"})
_VARIABLES = {"s3": "AWS", "gs": "GOOGLE", "az": "AZURE"}
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_TYPES = {
    **{extension: f"image/{kind.lower()}" for kind, extension in PICTURE_EXTENSIONS.items()},
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".html": "text/html; charset=utf-8",
}

_THREADS_S = 0.1
_T = TypeVar("_T")
logger = logging.getLogger(__name__)


class _UnusableError(ObjectStoreError):
    """A failure of the store that may end by itself: the request is repeated."""


@atexit.register
def wait_for_threads() -> None:
    """Let the threads of obstore release what their last requests hold.

    This is done before Python's finalization. A thread that waits for Python's lock during the
    finalization is ended there, and Rust then aborts the process, with code 134. There is no sign
    that the threads have done it; it takes them less than a millisecond.
    """
    time.sleep(_THREADS_S)


class Objects:
    """The objects below ``url``, as ``ObjectPort`` describes.

    ``checks_uploads``: the store compares the bytes it received with a checksum that was sent
    along. If it doesn't, each object is read again after it was created. ``sleep`` and ``clock``
    (monotonic, seconds) are parameters for tests.
    """

    def __init__(
        self,
        backend: Backend,
        url: ObjectUrl,
        *,
        checks_uploads: bool,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = url
        self._backend = backend
        self._checks_uploads = checks_uploads
        self._sleep = sleep
        self._clock = clock
        self._unusable_since: float | None = None
        self._is_told = False

    @classmethod
    def at(cls, url: ObjectUrl, environ: Mapping[str, str] = os.environ) -> Objects:
        """Make a client with the settings of the environment.

        Raises ``ObjectStoreError`` if one is invalid. No request is made.
        """
        family = _VARIABLES[url.scheme]
        connect: Callable[..., Backend] = from_url
        if url.scheme == "s3":
            connect = partial(S3Store.from_url, checksum_algorithm="SHA256")
        client_options: dict[str, object] = {
            "connect_timeout": "10 seconds",
            "timeout": "30 minutes",  # of one request; _try has the limit
            "allow_http": environ.get(f"{family}_ALLOW_HTTP", "").lower() in _TRUE,
        }
        proxy = environ.get(f"{family}_PROXY_URL")
        if proxy:
            client_options["proxy_url"] = proxy
        with _explained(url, str(url)):
            backend = connect(
                str(url),
                client_options=client_options,
                retry_config={
                    "max_retries": _RETRIES,
                    "retry_timeout": timedelta(seconds=_PATIENCE_S),
                },
            )
        return cls(backend, url, checks_uploads=url.scheme == "s3")

    def address(self, key: str) -> str:
        return f"{self.url}/{key}"

    async def create(self, key: str, content: bytes) -> bool:
        if not await self._put(key, content):
            return False
        if self._checks_uploads:
            return True
        if await self.digest(key) == hashlib.sha256(content).hexdigest():
            return True
        await self.delete(key)
        raise DamagedUploadError(
            f"{self.address(key)}: the store has other bytes than were sent",
            hint="run the same command again; nothing is paid for twice",
        )

    async def replace(self, key: str, content: bytes, info: ObjectInfo) -> bool:
        if await self._put(key, content, info):
            return True
        # The answer to an earlier try may be lost: then the object has these bytes.
        present = await self.info(key)
        return present is not None and present.sha256 == hashlib.sha256(content).hexdigest()

    async def _put(self, key: str, content: bytes, replaced: ObjectInfo | None = None) -> bool:
        return await self._repeat(
            key, lambda _: self._put_once(key, content, replaced), len(content)
        )

    async def _put_once(self, key: str, content: bytes, replaced: ObjectInfo | None) -> bool:
        _, dot, extension = key.rpartition(".")
        attributes = {
            "Content-Type": _TYPES.get(dot + extension.lower(), "application/octet-stream"),
            _DIGEST: hashlib.sha256(content).hexdigest(),
            _OURS: "1",
        }
        try:
            await obstore.put_async(
                self._backend,
                key,
                content,
                mode="create" if replaced is None else {"e_tag": replaced.e_tag},
                attributes=attributes,
                use_multipart=False,
            )
        except (AlreadyExistsError, PreconditionError) as error:
            if _status_of(error) != "409":
                return False
            if _e_tag(await self._head(key)) != _e_tag(replaced):
                return False
            raise _unusable(self.address(key), "HTTP 409") from None
        except FileNotFoundError:
            raise _no_bucket(self.url) from None
        return True

    async def info(self, key: str) -> ObjectInfo | None:
        return await self._repeat(key, lambda _: self._head(key))

    async def _head(self, key: str) -> ObjectInfo | None:
        try:
            found = await obstore.get_async(self._backend, key, options={"head": True})
        except FileNotFoundError as error:
            _refuse_missing_bucket(error, self.url)
            return None
        attributes, meta = found.attributes, found.meta
        return ObjectInfo(meta["size"], attributes.get(_DIGEST), meta["e_tag"], _OURS in attributes)

    async def digest(self, key: str) -> str | None:
        async def digest_once(limit: asyncio.Timeout) -> str | None:
            digest = hashlib.sha256()
            if not await self._each_block(key, limit, digest.update):
                return None
            return digest.hexdigest()

        return await self._repeat(key, digest_once)

    async def read(self, key: str) -> bytes | None:
        async def read_once(limit: asyncio.Timeout) -> bytes | None:
            blocks = list[bytes]()
            if not await self._each_block(key, limit, blocks.append):
                return None
            return b"".join(blocks)

        return await self._repeat(key, read_once)

    async def _each_block(
        self, key: str, limit: asyncio.Timeout, take: Callable[[bytes], None]
    ) -> bool:
        """Give each block of an object to ``take``; return False if there is no object."""
        try:
            found = await obstore.get_async(self._backend, key)
        except FileNotFoundError as error:
            _refuse_missing_bucket(error, self.url)
            return False
        try:
            async for block in found.stream(min_chunk_size=1 << 20):
                limit.reschedule(asyncio.get_running_loop().time() + _SILENCE_S)
                take(bytes(block))
        except BaseError:  # of a connection that was cut, or of the rest that obstore asks for then
            raise _unusable(self.address(key), "its answer was cut") from None
        return True

    async def names(self, folder: str) -> list[str]:
        async def list_once(limit: asyncio.Timeout) -> list[str]:
            found = list[str]()
            try:
                async for page in obstore.list(self._backend, folder):
                    limit.reschedule(asyncio.get_running_loop().time() + _SILENCE_S)
                    found += (entry["path"] for entry in page)
            except FileNotFoundError as error:
                _refuse_missing_bucket(error, self.url)
            return found

        return await self._repeat(folder, list_once)

    async def delete(self, key: str) -> None:
        await self._repeat(key, lambda _: self._delete_once(key))

    async def _delete_once(self, key: str) -> None:
        try:
            await obstore.delete_async(self._backend, key)
        except FileNotFoundError as error:
            _refuse_missing_bucket(error, self.url)

    async def _repeat(
        self, key: str, request: Callable[[asyncio.Timeout], Awaitable[_T]], byte_size: int = 0
    ) -> _T:
        """Make a request until it is answered, or until it has failed for ``_PATIENCE_S``.

        It also ends if all requests have failed for that time: in an outage, those that wait for
        their turn don't each take that time after one another.
        """
        failing_since: float | None = None

        def lasted_s() -> float:
            assert failing_since is not None
            return self._clock() - min(failing_since, self._unusable_since or failing_since)

        async def attempt() -> _T:
            nonlocal failing_since
            try:
                result = await self._try(key, request, byte_size)
            except _UnusableError:
                failing_since = failing_since or self._clock()
                self._unusable_since = self._unusable_since or self._clock()
                raise
            self._unusable_since, self._is_told = None, False
            return result

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_UnusableError),
            wait=lambda state: min(_WAIT(state), _PATIENCE_S - lasted_s()),
            stop=lambda _: lasted_s() >= _PATIENCE_S,
            before_sleep=lambda state: self._tell(state, lasted_s()),
            sleep=self._sleep,
            reraise=True,
        )
        return await retrying(attempt)

    def _tell(self, state: RetryCallState, lasted_s: float) -> None:
        """Log once that requests are repeated; a single failure is not worth it."""
        if lasted_s >= _TOLD_AFTER_S and not self._is_told and state.outcome is not None:
            self._is_told = True
            logger.warning(
                "%s; trying again for up to %.0f s", state.outcome.exception(), _PATIENCE_S
            )

    async def _try(
        self, key: str, request: Callable[[asyncio.Timeout], Awaitable[_T]], byte_size: int
    ) -> _T:
        """Make a request once, within a limit of time, and explain its failure."""
        try:
            async with asyncio.timeout(_SILENCE_S + byte_size / _SLOWEST_BYTES_PER_S) as limit:
                with _explained(self.url, self.address(key)):
                    return await request(limit)
        except TimeoutError:
            raise _unusable(self.address(key), "no answer in time") from None


_CODE = re.compile(r"<Code>([A-Za-z][A-Za-z0-9]{0,60})</Code>")
_STATUS = re.compile(r"status code: ([1-5]\d\d)\b")
_TEMPORARY = re.compile(r"5(?!01)\d\d|408|409|429")
_NO_BUCKET = frozenset({"NoSuchBucket", "ContainerNotFound"})
_DAMAGED = frozenset(
    {
        "BadDigest",
        "InvalidDigest",
        "XAmzContentSHA256Mismatch",
        "XAmzContentChecksumMismatch",
        "Md5Mismatch",
    }
)
_WRONG_KEYS = frozenset(
    {
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "ExpiredToken",
        "InvalidToken",
        "AuthenticationFailed",
    }
)


@contextmanager
def _explained(url: ObjectUrl, place: str) -> Iterator[None]:
    """Raise ``ObjectStoreError`` for obstore's errors.

    Their text is not used, and they are not chained: it has the store's answer, which may contain a
    key or signature.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except (BaseError, ValueError, OSError) as error:
        raise _failure(error, url, place) from None


def _failure(error: Exception, url: ObjectUrl, place: str) -> ObjectStoreError:
    """Explain an error by its type, the code of the store's answer and its status."""
    name, text = type(error).__name__, str(error)
    code, status = _code_of(error), _status_of(error)
    answer = ""
    if code or status:
        answer = code or f"HTTP {status}"
    if code in _NO_BUCKET:
        return _no_bucket(url)
    if code in _DAMAGED:
        return DamagedUploadError(
            f"{place}: the store received other bytes than were sent ({answer})",
            hint="run the same command again; nothing is paid for twice",
        )
    asks_for_credentials = any(
        part in text for part in ("169.254.", "latest/api/token", "token request", "metadata.")
    )
    if code in _WRONG_KEYS or name == "UnauthenticatedError" or asks_for_credentials:
        reason = "no valid credentials were found"
        if code:
            reason = f"the store rejects the credentials ({answer})"
        return ObjectStoreError(
            f"{url}: {reason}",
            hint=f"set {_CREDENTIALS[url.scheme]}, or run where a role provides them",
            is_refused=True,
        )
    if name == "PermissionDeniedError" or status == "403":
        detail = f" ({answer})" if answer else ""
        return ObjectStoreError(
            f"{place}: access is denied{detail}",
            hint=(
                "the credentials need permission to read, list and create objects below the prefix"
            ),
            is_refused=True,
        )
    is_sent = status is not None or "error sending request" in text or "HTTP error" in text
    if "builder error" in text or not is_sent:
        family = _VARIABLES[url.scheme]
        return ObjectStoreError(
            f"{url}: the settings of the store can't be used",
            hint=(
                f"check the {family}_ variables; "
                f"an endpoint with http:// also needs {family}_ALLOW_HTTP=true"
            ),
            is_refused=True,
        )
    reason = answer or "no connection"
    if status is None or _TEMPORARY.fullmatch(status) or code == "RequestTimeout":
        return _unusable(place, reason)
    return _unusable(place, reason, ObjectStoreError)


def _status_of(error: Exception) -> str | None:
    """Return the status of the store's answer, which obstore has in the text of its errors only."""
    return next(iter(_STATUS.findall(str(error))), None)


def _code_of(error: Exception) -> str | None:
    """Return the code of the store's answer, from the text of the error too."""
    return next(iter(_CODE.findall(str(error))), None)


def _e_tag(info: ObjectInfo | None) -> str | None:
    if info is None:
        return None
    return info.e_tag


def _refuse_missing_bucket(error: FileNotFoundError, url: ObjectUrl) -> None:
    if _code_of(error) in _NO_BUCKET:
        raise _no_bucket(url) from None


def _no_bucket(url: ObjectUrl) -> ObjectStoreError:
    what = "container" if url.scheme == "az" else "bucket"
    variables = f"{_VARIABLES[url.scheme]}_ variables"
    return ObjectStoreError(
        f"the {what} {url.bucket} of {url} doesn't exist",
        hint=f"create it, or correct --out-dir and the {variables} of the endpoint",
        is_refused=True,
    )


def _unusable(
    place: str, reason: str, kind: type[ObjectStoreError] = _UnusableError
) -> ObjectStoreError:
    return kind(
        f"{place}: the object store is not usable ({reason})",
        hint=(
            "check the network and the store, then run the same command again; "
            "nothing is paid for twice"
        ),
    )
