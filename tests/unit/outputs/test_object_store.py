"""What an object store adds to the contract of output stores: failures, and what is sent along."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    GenericError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import MemoryStore

from crucible_batch.errors import ExitCode
from crucible_batch.object_url import ObjectUrl
from crucible_batch.outputs import ObjectOutputStore, ObjectStoreError, OutputError, objects
from crucible_batch.outputs.errors import DamagedUploadError
from crucible_batch.outputs.object_store import ShardOutputStore
from crucible_batch.outputs.objects import Objects
from tests.harness.object_fakes import DictObjects, unusable
from tests.unit.outputs.making import PNG, files
from tests.unit.outputs.store_contract import PATH, save, saved, sha

URL = ObjectUrl("s3", "bucket", "prefix")
CANARIES = ("canary-secret-0123456789", "AKIACANARY0123456789", "canary-signature")
TEXT = (
    "Error performing PUT https://bucket.example/prefix/a.png?X-Amz-Signature=canary-signature "
    "in 1ms - Server returned non-2xx status code: {status}: "
    "<Error><Code>{code}</Code><Message>canary-secret-0123456789</Message>"
    "<AWSAccessKeyId>AKIACANARY0123456789</AWSAccessKeyId></Error>\n\n"
    "Debug source:\nGeneric {{ ... }}"
)


@pytest.fixture
def fake() -> DictObjects:
    return DictObjects(URL)


@pytest.fixture
def store(tmp_path: Path, fake: DictObjects) -> ObjectOutputStore:
    return ObjectOutputStore(tmp_path, fake)


@pytest.mark.parametrize("is_foreign", [False, True])
async def test_a_shard_saves_beside_an_output_of_another_shard_and_not_beside_a_file_of_the_user(
    tmp_path: Path, fake: DictObjects, is_foreign: bool
) -> None:
    async def nobody(_path: str, _sha256: str) -> None:
        """The journal of the shard has no output at the path."""

    other = b"another output"
    await fake.create(PATH, other)
    fake.foreign = {PATH} if is_foreign else set()
    store = ShardOutputStore(tmp_path, fake)
    if is_foreign:
        with pytest.raises(OutputError, match="another object exists at"):
            await save(store, PNG, find_path=nobody)
    else:
        file = await save(store, PNG, find_path=nobody)
        assert fake.content[file.path.as_posix()] == PNG
        assert file.path.as_posix() != PATH
    assert (fake.content[PATH], len(fake.content)) == (other, 1 if is_foreign else 2)


async def test_an_output_that_is_not_stored_stops_purchases_until_one_is(
    store: ObjectOutputStore, fake: DictObjects, tmp_path: Path
) -> None:
    def fault(_request: str, key: str) -> None:
        raise unusable(key)

    assert store.shortage() is None
    fake.fault = fault
    with pytest.raises(OutputError) as caught:
        await save(store, PNG)
    assert (caught.value.code, caught.value.final) == ("OUTPUT_NOT_STORED", True)
    assert (shortage := store.shortage()) is not None
    assert shortage.code == "OBJECT_STORE"
    assert files(tmp_path) == []
    fake.fault = lambda _request, _key: None
    await save(store, PNG)
    assert store.shortage() is None


async def test_no_request_is_made_to_learn_that_saved_outputs_are_there(
    store: ObjectOutputStore, fake: DictObjects
) -> None:
    assert store.has("a.png", 1)
    assert not fake.requests


async def test_the_digest_in_the_metadata_proves_an_output_and_without_it_its_bytes_are_read(
    store: ObjectOutputStore, fake: DictObjects
) -> None:
    await save(store, PNG)
    fake.requests.clear()
    assert await store.is_true(saved(PNG))
    assert dict(fake.requests) == {"info png": 1}
    fake.foreign.add(PATH)
    assert await store.is_true(saved(PNG))
    assert fake.requests["digest png"] == 1


async def test_an_output_changed_while_it_is_restored_is_not_replaced(
    store: ObjectOutputStore, fake: DictObjects
) -> None:
    fake.content[PATH] = b"damaged"

    def fault(request: str, _key: str) -> None:
        if request == "replace":
            fake.content[PATH] = b"somebody else's"

    fake.fault = fault
    with pytest.raises(OutputError):
        await store._put_back_content(PATH, PNG, sha(PNG))
    assert fake.content[PATH] == b"somebody else's"


async def test_an_object_that_changes_while_it_moves_aside_is_not_copied(
    store: ObjectOutputStore, fake: DictObjects
) -> None:
    await fake.create(PATH, b"changed")
    with pytest.raises(OutputError, match="was changed while it was moved"):
        await store.add_name(PATH, "job/aside.png", sha(PNG))
    assert list(fake.content) == [PATH]


class Waits:
    """Time that passes only while a request waits to be repeated."""

    def __init__(self) -> None:
        self.now = 1000.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)

    def objects(self, backend: Any) -> Objects:
        return Objects(backend, URL, checks_uploads=True, sleep=self.sleep, clock=lambda: self.now)


def _raising(error: Exception) -> Any:
    async def fail(*_arguments: object, **_options: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "message", "exit_code"),
    [
        (
            FileNotFoundError(TEXT.format(status=404, code="NoSuchBucket")),
            "bucket bucket of .* doesn't exist",
            2,
        ),
        (
            PermissionDeniedError(TEXT.format(status=403, code="AccessDenied")),
            r"access is denied \(AccessDenied\)",
            2,
        ),
        (
            PermissionDeniedError(TEXT.format(status=403, code="SignatureDoesNotMatch")),
            "rejects the credentials",
            2,
        ),
        (
            PermissionDeniedError(TEXT.format(status=403, code="InvalidAccessKeyId")),
            "rejects the credentials",
            2,
        ),
        (
            UnauthenticatedError("401 canary-secret-0123456789"),
            "no valid credentials were found",
            2,
        ),
        (
            GenericError("PUT http://169.254.169.254/latest/api/token - HTTP error"),
            "no valid credentials",
            2,
        ),
        (
            GenericError("PUT http://x - HTTP error: builder error"),
            "settings of the store can't be used",
            2,
        ),
        (GenericError(TEXT.format(status=503, code="SlowDown")), r"not usable \(SlowDown\)", 5),
        (
            GenericError("PUT http://x - HTTP error: error sending request"),
            r"not usable \(no connection\)",
            5,
        ),
    ],
)
async def test_a_failure_names_place_and_cause_and_no_secret(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    message: str,
    exit_code: int,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(obstore, "put_async", _raising(error))
    with pytest.raises(ObjectStoreError, match=message) as caught:
        await Waits().objects(MemoryStore()).create("a.png", PNG)
    failure = caught.value
    assert failure.exit_code is ExitCode(exit_code)
    assert failure.hint
    seen, text = failure, ""
    while seen is not None:
        text += f"{seen!r} {seen}"
        seen = (
            None
            if seen.__suppress_context__ and seen.__cause__ is None
            else (seen.__cause__ or seen.__context__)
        )
    assert not any(canary in f"{text} {failure.hint} {caplog.text}" for canary in CANARIES)


class Outage:
    """Requests of obstore that fail until ``ends_at``, or as long as ``error`` returns an error for
    a try."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, waits: Waits, ends_at: float, error: BaseError
    ) -> None:
        self.tries = 0
        self.waits, self.ends_at, self.error = waits, ends_at, error
        for name in ("put_async", "get_async", "delete_async"):
            monkeypatch.setattr(obstore, name, self._failing(getattr(obstore, name)))

    def _failing(self, request: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def ask(*arguments: Any, **options: Any) -> Any:
            self.tries += 1
            if self.waits.now < self.ends_at:
                raise self.error
            return await request(*arguments, **options)

        return ask


UNUSABLE = GenericError(TEXT.format(status=503, code="SlowDown"))
CUT = GenericError("PUT http://x - HTTP error: error sending request")
REQUESTS: dict[str, Callable[[Objects], Awaitable[object]]] = {
    "create": lambda objects: objects.create("a.png", PNG),
    "read": lambda objects: objects.read("b.png"),
    "digest": lambda objects: objects.digest("b.png"),
    "info": lambda objects: objects.info("b.png"),
    "delete": lambda objects: objects.delete("b.png"),
}


@pytest.mark.parametrize("error", [UNUSABLE, CUT], ids=["503", "cut"])
@pytest.mark.parametrize("request_name", REQUESTS)
async def test_each_request_is_repeated_for_two_minutes(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    request_name: str,
    error: BaseError,
) -> None:
    waits, backend = Waits(), MemoryStore()
    await obstore.put_async(backend, "b.png", PNG)
    outage = Outage(monkeypatch, waits, waits.now + 115, error)
    await REQUESTS[request_name](waits.objects(backend))
    assert 10 < outage.tries < 60
    assert caplog.text.count("trying again for up to 120 s") == 1

    began, outage.ends_at = waits.now, waits.now + 1000
    with pytest.raises(ObjectStoreError, match="not usable"):
        await REQUESTS[request_name](waits.objects(backend))
    assert waits.now - began == pytest.approx(120)


@pytest.mark.parametrize("status", ["400", "404", "501"])
async def test_what_the_store_answers_for_good_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    waits = Waits()
    outage = Outage(monkeypatch, waits, 1e9, GenericError(TEXT.format(status=status, code="Other")))
    with pytest.raises(ObjectStoreError):
        await waits.objects(MemoryStore()).create("a.png", PNG)
    assert (outage.tries, waits.now) == (1, 1000.0)


async def test_requests_that_wait_for_their_turn_in_an_outage_have_its_patience_and_not_one_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits = Waits()
    objects = waits.objects(MemoryStore())
    outage = Outage(monkeypatch, waits, 1e9, UNUSABLE)
    for _ in range(20):
        with pytest.raises(ObjectStoreError):
            await objects.create("a.png", PNG)
    assert waits.now == pytest.approx(1120)
    outage.ends_at = 0
    assert await objects.create("a.png", PNG)
    outage.ends_at = waits.now + 100
    assert await objects.create("b.png", PNG)


async def test_a_request_that_fails_while_others_are_answered_is_not_repeated_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits, backend = Waits(), MemoryStore()
    objects, get = waits.objects(backend), obstore.get_async

    async def fail_for_one(backend: Any, key: str, **options: Any) -> Any:
        if key == "a.png":
            raise UNUSABLE
        return await get(backend, key, **options)

    async def sleep(seconds: float) -> None:
        await waits.sleep(seconds)
        await objects.read("other.png")

    monkeypatch.setattr(obstore, "get_async", fail_for_one)
    objects._sleep = sleep
    with pytest.raises(ObjectStoreError, match="not usable"):
        await objects.read("a.png")
    assert waits.now == pytest.approx(1120)


CONFLICT = AlreadyExistsError(TEXT.format(status=409, code="ConditionalRequestConflict"))


async def test_a_conflict_is_an_answer_only_if_the_name_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits, backend, put = Waits(), MemoryStore(), obstore.put_async
    conflicts = 3

    async def conflict(*arguments: Any, **options: Any) -> Any:
        nonlocal conflicts
        if conflicts:
            conflicts -= 1
            raise CONFLICT
        return await put(*arguments, **options)

    monkeypatch.setattr(obstore, "put_async", conflict)
    objects = waits.objects(backend)
    assert await objects.create("a.png", PNG)
    assert (conflicts, waits.now > 1000) == (0, True)

    conflicts, before = 3, waits.now
    assert not await objects.create("a.png", b"other")
    assert (conflicts, waits.now) == (2, before)

    conflicts = 3
    info = await objects.info("a.png")
    assert info is not None
    assert await objects.replace("a.png", b"new", info)
    conflicts = 3
    assert not await objects.replace("a.png", b"newer", info)
    assert (conflicts, await objects.read("a.png")) == (2, b"new")


async def test_an_object_that_was_changed_meanwhile_is_not_replaced() -> None:
    backend = MemoryStore()
    objects = Objects(backend, URL, checks_uploads=True)
    assert await objects.create("a.png", PNG)
    info = await objects.info("a.png")
    assert info is not None
    await obstore.put_async(backend, "a.png", b"changed")
    assert not await objects.replace("a.png", b"new", info)
    assert await objects.read("a.png") == b"changed"


async def test_a_conflict_that_does_not_end_is_a_failure_and_not_another_object(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits = Waits()
    monkeypatch.setattr(obstore, "put_async", _raising(CONFLICT))
    with pytest.raises(ObjectStoreError, match=r"not usable \(HTTP 409\)"):
        await waits.objects(MemoryStore()).create("a.png", PNG)


async def test_a_replacement_whose_answer_was_lost_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits, backend, put = Waits(), MemoryStore(), obstore.put_async
    objects = waits.objects(backend)
    await objects.create("a.png", PNG)
    info = await objects.info("a.png")
    assert info is not None
    is_lost = True

    async def lose(*arguments: Any, **options: Any) -> Any:
        nonlocal is_lost
        done = await put(*arguments, **options)
        if is_lost:
            is_lost = False
            raise CUT
        return done

    monkeypatch.setattr(obstore, "put_async", lose)
    assert await objects.replace("a.png", b"new", info)
    assert await objects.read("a.png") == b"new"


async def test_a_bucket_that_is_missing_is_no_missing_object(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        obstore,
        "get_async",
        _raising(FileNotFoundError(TEXT.format(status=404, code="NoSuchBucket"))),
    )
    found = Objects(MemoryStore(), URL, checks_uploads=True)
    for request in (found.info, found.read, found.digest):
        with pytest.raises(ObjectStoreError, match="doesn't exist"):
            await request("a.png")


async def test_a_store_that_received_other_bytes_has_no_object_and_the_output_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        obstore, "put_async", _raising(GenericError(TEXT.format(status=400, code="BadDigest")))
    )
    store = ObjectOutputStore(tmp_path, Objects(MemoryStore(), URL, checks_uploads=True))
    with pytest.raises(OutputError) as caught:
        await save(store, PNG)
    assert (caught.value.code, caught.value.final) == ("OUTPUT_NOT_STORED", False)
    assert store.shortage() is None


async def test_where_the_store_checks_nothing_the_bytes_are_read_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put = obstore.put_async

    async def damaged(backend: Any, key: str, content: bytes, **options: Any) -> Any:
        return await put(backend, key, content[:-1] + b"\0", **options)

    monkeypatch.setattr(obstore, "put_async", damaged)
    backend = MemoryStore()
    with pytest.raises(DamagedUploadError):
        await Objects(backend, URL, checks_uploads=False).create("a.png", PNG)
    assert obstore.list(backend).collect() == []


async def test_type_and_digest_are_sent_along() -> None:
    backend = MemoryStore()
    await Objects(backend, URL, checks_uploads=True).create("a.png", PNG)
    found = obstore.get(backend, "a.png")
    assert found.attributes == {
        "Content-Type": "image/png",
        "sha256": hashlib.sha256(PNG).hexdigest(),
        "crucible-batch": "1",
    }


def test_the_clients_of_all_three_stores_are_made_without_a_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    for scheme, checks in (("s3", True), ("gs", False), ("az", False)):
        made = Objects.at(ObjectUrl(scheme, "bucket", "prefix"))
        assert made._checks_uploads is checks
    assert made._backend.prefix == "prefix"


def test_an_http_endpoint_is_used_only_if_the_environment_permits_it() -> None:
    plain = Objects.at(URL, {"AWS_ALLOW_HTTP": "true"})._backend.client_options
    assert plain is not None
    assert str(plain["allow_http"]).lower() == "true"
    strict = Objects.at(URL, {})._backend.client_options
    assert strict is not None
    assert str(strict["allow_http"]).lower() == "false"
    assert objects._RETRIES > 0
