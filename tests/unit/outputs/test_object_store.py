"""What an object store adds to the contract of output stores: its failures, and what is sent along."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.exceptions import GenericError, PermissionDeniedError, UnauthenticatedError
from obstore.store import MemoryStore

from crucible_batch.errors import ExitCode
from crucible_batch.object_url import ObjectUrl
from crucible_batch.outputs import ObjectOutputStore, ObjectStoreError, OutputError, objects
from crucible_batch.outputs.errors import DamagedUploadError
from crucible_batch.outputs.object_store import ShardOutputStore
from crucible_batch.outputs.objects import Objects
from tests.unit.outputs.making import PNG, files
from tests.unit.outputs.object_fakes import DictObjects, unusable
from tests.unit.outputs.store_contract import PATH, save, saved, sha

URL = ObjectUrl("s3", "bucket", "prefix")
CANARIES = ("canary-secret-0123456789", "AKIACANARY0123456789", "canary-signature")
TEXT = (
    "Error performing PUT https://bucket.example/prefix/a.png?X-Amz-Signature=canary-signature in 1ms - Server returned"
    " non-2xx status code: {status}: <Error><Code>{code}</Code><Message>canary-secret-0123456789</Message>"
    "<AWSAccessKeyId>AKIACANARY0123456789</AWSAccessKeyId></Error>\n\nDebug source:\nGeneric {{ ... }}"
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


async def test_a_creation_whose_answer_is_lost_is_found_by_its_bytes(
    store: ObjectOutputStore, fake: DictObjects
) -> None:
    def fault(request: str, key: str) -> None:
        if request == "answer":
            raise unusable(key)

    fake.fault = fault
    with pytest.raises(OutputError):
        await save(store, PNG)
    fake.fault = lambda _request, _key: None
    assert (await save(store, PNG)).sha256 == sha(PNG)


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


def _raising(error: Exception) -> Any:
    async def fail(*_arguments: object, **_options: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "message", "exit_code"),
    [
        (FileNotFoundError(TEXT.format(status=404, code="NoSuchBucket")), "bucket bucket of .* doesn't exist", 2),
        (PermissionDeniedError(TEXT.format(status=403, code="AccessDenied")), r"access is denied \(AccessDenied\)", 2),
        (PermissionDeniedError(TEXT.format(status=403, code="SignatureDoesNotMatch")), "rejects the credentials", 2),
        (PermissionDeniedError(TEXT.format(status=403, code="InvalidAccessKeyId")), "rejects the credentials", 2),
        (UnauthenticatedError("401 canary-secret-0123456789"), "no valid credentials were found", 2),
        (GenericError("PUT http://169.254.169.254/latest/api/token - HTTP error"), "no valid credentials", 2),
        (GenericError("PUT http://x - HTTP error: builder error"), "settings of the store can't be used", 2),
        (GenericError(TEXT.format(status=503, code="SlowDown")), r"not usable \(SlowDown\)", 5),
        (GenericError("PUT http://x - HTTP error: error sending request"), r"not usable \(no connection\)", 5),
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
        await Objects(MemoryStore(), URL, checks_uploads=True).create("a.png", PNG)
    failure = caught.value
    assert failure.exit_code is ExitCode(exit_code)
    assert failure.hint
    seen, text = failure, ""
    while seen is not None:
        text += f"{seen!r} {seen}"
        seen = None if seen.__suppress_context__ and seen.__cause__ is None else (seen.__cause__ or seen.__context__)
    assert not any(canary in f"{text} {failure.hint} {caplog.text}" for canary in CANARIES)


async def test_a_bucket_that_is_missing_is_no_missing_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(obstore, "get_async", _raising(FileNotFoundError(TEXT.format(status=404, code="NoSuchBucket"))))
    found = Objects(MemoryStore(), URL, checks_uploads=True)
    for request in (found.info, found.read, found.digest):
        with pytest.raises(ObjectStoreError, match="doesn't exist"):
            await request("a.png")


async def test_a_store_that_received_other_bytes_has_no_object_and_the_output_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(obstore, "put_async", _raising(GenericError(TEXT.format(status=400, code="BadDigest"))))
    store = ObjectOutputStore(tmp_path, Objects(MemoryStore(), URL, checks_uploads=True))
    with pytest.raises(OutputError) as caught:
        await save(store, PNG)
    assert (caught.value.code, caught.value.final) == ("OUTPUT_NOT_STORED", False)
    assert store.shortage() is None


async def test_where_the_store_checks_nothing_the_bytes_are_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_the_clients_of_all_three_stores_are_made_without_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
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
