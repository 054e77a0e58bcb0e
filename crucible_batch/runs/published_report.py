"""The report of a run in an object store, beside the outputs there: receipts, report, page and
thumbnails.

Receipts are those of all machines together. Report and page are of the newest process: one that was
frozen at its end, or whose requests were slow, would replace those of another machine that has
continued the run since. So it reads what is there, then the end of the log, and replaces only what
it has read:

    another one has continued the log     nothing is replaced
    has published since                   nothing is replaced: the object is another one now
    continues the log later               it publishes later, too
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from crucible_batch.errors import ReportError
from crucible_batch.journal import Journal
from crucible_batch.outputs import (
    RECEIPTS_FILE,
    ObjectOutputStore,
    ObjectStoreError,
    OutputStore,
)
from crucible_batch.outputs.object_port import ObjectInfo
from crucible_batch.report import PAGE_FILE, REPORT_FILE
from crucible_batch.report.html import FOLDER
from crucible_batch.runs.concurrent_work import for_each
from crucible_batch.runs.log_copy import is_current
from crucible_batch.runs.object_runs import restore_receipts, stored_binding
from crucible_batch.runs.run_log import log_of_run

_PUBLISHED = "published"
_REPORT = "report"
_AT_ONCE = 16
_TRIES = 4

logger = logging.getLogger(__name__)


class _Continued(Exception):  # noqa: N818 - a decision, not an error
    """Another machine has continued the run: what it publishes counts."""


async def publish_report(journal: Journal, store: OutputStore) -> None:
    """Write the report to the object store as ``publish_files`` does, unless it has not changed
    since."""
    current = f"{journal.noted(_REPORT)} {journal.last_number()}"
    if store.url is not None and journal.noted(_PUBLISHED) != current:
        await publish_files(store)
        journal.note(_PUBLISHED, current)


async def publish_files(store: OutputStore) -> None:
    """Write the receipts, the report, and the page with its thumbnails to the object store.

    The receipts are first: without them, the next machine doesn't know what was bought. Objects
    that no run has written are not replaced. Does nothing for a local store, and logs a warning if
    another machine has continued the run. Raises ``ReportError``.
    """
    if not isinstance(store, ObjectOutputStore) or not store.has_reports:
        return
    try:
        taken = await _publish(store, (RECEIPTS_FILE,), of_all=True)
        taken += await _publish(store, (REPORT_FILE, PAGE_FILE))
        await _publish_thumbnails(store)
    except _Continued:
        logger.warning(
            "another machine has continued the run at %s: the report there is its own, and the one"
            " of this run is in %s",
            store.url,
            store.directory,
        )
        return
    except ObjectStoreError as error:
        raise _not_published(store, error.message) from None
    except OSError as error:
        raise _not_published(store, str(error.strerror)) from None
    if taken:
        raise ReportError(
            f"{store.url} has {', '.join(taken)} of another program, which is not replaced",
            hint=f"move it, then: crucible-batch report {store.url}",
        )


def _not_published(store: ObjectOutputStore, reason: str) -> ReportError:
    return ReportError(
        f"the report can't be written to {store.url}: {reason}",
        hint=(
            f"its local copy is in {store.directory}; "
            f"to try again: crucible-batch report {store.url}"
        ),
    )


async def _publish(
    store: ObjectOutputStore, names: Sequence[str], *, of_all: bool = False
) -> list[str]:
    """Write files of the run to the store, and return the names that another program has there.

    ``of_all``: they have what all machines wrote. Raises ``_Continued`` otherwise.
    """
    taken, left = list[str](), list(names)
    for _ in range(_TRIES):
        seen = {name: await store.objects.info(name) for name in left}
        if of_all:
            await restore_receipts(store)
        else:
            await _check_newest(store)
        taken += [name for name, info in seen.items() if info is not None and not info.is_ours]
        left = [
            name
            for name, info in seen.items()
            if name not in taken and not await _replaced(store, name, info)
        ]
        if not left:
            break
    return [name for name in [*taken, *left] if (store.directory / name).is_file()]


async def _replaced(store: ObjectOutputStore, name: str, seen: ObjectInfo | None) -> bool:
    """Write a file in place of the object that was seen, or delete that if there is no file.

    Returns False if another object has the name meanwhile.
    """
    file = store.directory / name
    if not file.is_file():
        if seen is not None:
            await store.objects.delete(name)
        return True
    content = await asyncio.to_thread(file.read_bytes)
    if seen is None:
        return await store.objects.create(name, content)
    return await store.objects.replace(name, content, seen)


async def _check_newest(store: ObjectOutputStore) -> None:
    """Raise ``_Continued`` if another process has continued the log of the run."""
    binding = await stored_binding(store.objects)
    if binding is None:
        return
    state = await log_of_run(store.objects, binding).read_end()
    if state.position and not is_current(store.directory, state):
        raise _Continued


async def _publish_thumbnails(store: ObjectOutputStore) -> None:
    """Create the thumbnails that don't fit into the page.

    Their names are digests, so existing ones are complete.
    """

    async def publish(file: Path) -> None:
        await store.objects.create(
            f"{FOLDER}/{file.name}", await asyncio.to_thread(file.read_bytes)
        )

    await for_each(_thumbnails(store.directory / FOLDER), publish, at_once=_AT_ONCE)


def _thumbnails(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError):
        entries: Iterable[Path] = sorted(folder.iterdir())
        yield from (entry for entry in entries if entry.suffix == ".webp" and entry.is_file())
