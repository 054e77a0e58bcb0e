"""Runs with their outputs in an object store.

    outputs                                  below the URL, created when they are saved
    report.json, report.html, receipts       below the URL, written at the end of each run
    journal, lock, temporary files           in a local state directory, named after the URL

The state directory is an ordinary run directory without outputs, and its journal has a note of the
URL. Therefore each command that reads runs accepts either of the two.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from crucible_batch.core.output_path import may_hold_output
from crucible_batch.core.plan import InputImage
from crucible_batch.errors import RunDirectoryError, UserError
from crucible_batch.input_images import InputError, checked_content, load_input
from crucible_batch.journal import Binding, Journal
from crucible_batch.object_url import ObjectUrl
from crucible_batch.outputs import (
    MAX_BYTES,
    MAX_PIXELS,
    RECEIPTS_FILE,
    DirectoryObjects,
    ObjectOutputStore,
    ObjectPort,
    OutputStore,
    Receipts,
    ShardOutputStore,
)
from crucible_batch.runs.request import RunRequest
from crucible_batch.runs.run_journal import OUTPUTS_AT, directory_outputs_url, journal_outputs_url
from crucible_batch.runs.shard_notes import noted_shard
from crucible_batch.shell_command import install_hint

RUN_FILE = ".crucible/run.json"
"""The object that binds a prefix to one run, as the journal binds a directory."""
T = TypeVar("T")


def note_url(journal: Journal, url: ObjectUrl | None) -> None:
    """Note in the journal where the outputs are, unless that is its own directory."""
    if url is not None and journal_outputs_url(journal) != url:
        journal.note(OUTPUTS_AT, str(url))


def open_store(
    directory: Path,
    url: ObjectUrl | None,
    *,
    max_bytes: int = MAX_BYTES,
    max_pixels: int = MAX_PIXELS,
    is_shard: bool = False,
) -> OutputStore:
    """Return the store of a run's outputs, or of a shard's. Makes no request.

    Raises ``UserError`` if the extra ``object-store`` is needed and not installed, and
    ``ObjectStoreError`` if its settings are invalid.
    """
    if url is None:
        return OutputStore(directory, max_bytes=max_bytes, max_pixels=max_pixels)
    kind = ShardOutputStore if is_shard else ObjectOutputStore
    return kind(directory, objects_at(url), max_bytes=max_bytes, max_pixels=max_pixels)


def objects_of(store: OutputStore) -> ObjectPort:
    """Return the objects beside the outputs of a run: plans, logs and commands of its shards."""
    if isinstance(store, ObjectOutputStore):
        return store.objects
    return DirectoryObjects(store.directory)


def objects_at(url: ObjectUrl) -> ObjectPort:
    """Return the objects at a place. Makes no request. Raises as ``open_store`` does."""
    if url.folder is not None:
        return DirectoryObjects(url.folder, url)
    try:
        from crucible_batch.outputs.objects import Objects  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "obstore":
            raise
        raise UserError(
            f"{url.scheme}:// addresses need the extra object-store, which is not installed",
            hint=f"{install_hint('object-store')}; nothing was spent",
        ) from None
    return Objects.at(url)


def limits_of(request: RunRequest) -> dict[str, int]:
    """Return the limits of an output, as ``open_store`` takes them."""
    return {
        "max_bytes": request.max_output_bytes or MAX_BYTES,
        "max_pixels": request.max_pixels or MAX_PIXELS,
    }


def store_of(directory: Path) -> OutputStore:
    """Return the store of an existing run's outputs. Raises as ``open_store`` does."""
    if not Journal.exists(directory):
        return open_store(directory, None)
    with Journal.read(directory) as journal:
        return store_by(journal, directory)


def store_by(journal: Journal, directory: Path) -> OutputStore:
    """Return the store of the outputs of an open journal. Raises as ``open_store`` does."""
    return open_store(
        directory, journal_outputs_url(journal), is_shard=noted_shard(journal) is not None
    )


def image_loader(store: OutputStore) -> Callable[[InputImage], Awaitable[bytes]]:
    """Return what reads an input image for its upload: an output of the run from its store, any
    other from disk.

    It raises ``InputError`` as ``load_input`` does, and ``ObjectStoreError``.
    """
    if not isinstance(store, ObjectOutputStore):
        return load_input
    directory = store.directory.resolve()

    async def load(image: InputImage) -> bytes:
        if not image.path.is_relative_to(directory):
            return await load_input(image)
        key = image.path.relative_to(directory).as_posix()
        content = None
        if may_hold_output(key):
            content = await store.objects.read(key)
        if content is None:
            restored = f"crucible-batch check {store.url} --fix restores it at no cost"
            raise InputError(f"{store.objects.address(key)} is not in the store; {restored}")
        return checked_content(image, content)

    return load


async def claim_prefix(store: OutputStore, binding: Binding, *, may_be_empty: bool = False) -> None:
    """Bind the prefix to this run, and check that the store accepts objects and never replaces one.

    The caller must hold the lock of the directory. Nothing but the object ``RUN_FILE`` is written,
    and nothing for a local store. Raises ``RunDirectoryError`` if the prefix belongs to another
    run, if it isn't bound any more unless ``may_be_empty``, if the store replaces objects, or if a
    run has its journal there, and ``ObjectStoreError``.
    """
    if not isinstance(store, ObjectOutputStore):
        return
    objects = store.objects
    _refuse_run_directory(objects.url)
    ours = json.dumps(
        {
            "tool": "crucible-batch",
            "manifest": binding.manifest_name,
            "run_id": binding.run_id,
            "gateway": binding.gateway,
        },
        indent=2,
    ).encode()
    found = await objects.read(RUN_FILE)
    if found is None and not may_be_empty and directory_outputs_url(store.directory) is not None:
        raise RunDirectoryError(
            f"{objects.url} has no {RUN_FILE}, but outputs of this run were saved there: "
            "it is another store, or its objects were deleted",
            hint=(
                "check the endpoint and the account, or that it is mounted; "
                "to restore deleted outputs at no cost: "
                f"crucible-batch check {objects.url} --fix"
            ),
        )
    if found is None and not await objects.create(RUN_FILE, ours):
        found = await objects.read(RUN_FILE)  # another machine was faster
    if found is not None and found != ours:
        raise RunDirectoryError(
            f"{objects.url} belongs to another run: {_described(found)}",
            hint="choose another prefix with --out-dir; nothing was spent",
        )
    # It exists now, so this request has to be refused, as each one for an output that exists.
    if await objects.create(RUN_FILE, ours):
        raise RunDirectoryError(
            f"the store of {objects.url} replaces existing objects although it is asked not to",
            hint="use a store with conditional writes (If-None-Match); nothing was spent",
        )


def _refuse_run_directory(url: ObjectUrl) -> None:
    """Raise ``RunDirectoryError`` if the directory of a URL is that of a run which was given by its
    path: what that has bought is in its journal, and in no log."""
    if url.directory is None and url.folder is not None and Journal.exists(url.folder):
        raise RunDirectoryError(
            f"{url.folder} is a run directory, with the journal in it: it can't be continued at"
            f" {url}",
            hint="give it without file://, or another directory; nothing was spent",
        )


async def stored_binding(objects: ObjectPort) -> Binding | None:
    """Return the run that a prefix is bound to; None if that isn't known."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        found = json.loads(await objects.read(RUN_FILE) or b"null")
        return Binding(str(found["manifest"]), str(found["run_id"]), str(found["gateway"]))
    return None


async def restore_receipts(store: OutputStore) -> None:
    """Add the receipts in the store, also those of runs on other machines, to those here.

    Raises ``ObjectStoreError``.
    """
    if isinstance(store, ObjectOutputStore):
        content = await store.objects.read(RECEIPTS_FILE)
        if content is not None:
            await asyncio.to_thread(Receipts(store.directory).add_missing, content)


def in_thread(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in a thread, since the caller may have an event loop."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(asyncio.run, work).result()


def _described(content: bytes) -> str:
    """Describe the run that a prefix is bound to, by the content of its object, which isn't
    trusted."""
    with contextlib.suppress(ValueError):
        found = json.loads(content)
        if isinstance(found, dict) and found.get("tool") == "crucible-batch":
            return ", ".join(
                f"{name} {str(found.get(name))[:100]!r}"
                for name in ("manifest", "run_id", "gateway")
            )
    return f"its {RUN_FILE} is of another program"
