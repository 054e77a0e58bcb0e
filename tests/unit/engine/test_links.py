"""Links are secrets and expire: the fetcher forgets a job's with its last output, and with any that
fails.
"""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.core.attempt import Attempt
from crucible_batch.core.credits import ZERO
from crucible_batch.core.events import Saved, Unavailable
from crucible_batch.core.gateway_types import JobSnapshot, JobStatus, OutputLink
from crucible_batch.engine import SystemClock
from crucible_batch.engine.downloads import Downloader
from crucible_batch.errors import UNSAFE_URL, GatewayError, KeyRefusedError
from crucible_batch.outputs import OutputError, OutputStore
from tests.harness.planning import Desk
from tests.harness.run_terms import run_terms
from tests.unit.outputs.making import PNG

TERMS = run_terms(manifest_name="test", attempts=1)
ATTEMPT = Attempt(1, "key", 0.0, job_id="job-1")
SIGNATURE = "CANARY-SIGNATURE"


class Gateway:
    """Gives a job's links, with another signature each time, and a picture for each of them."""

    def __init__(self, outputs: int) -> None:
        self._outputs = outputs
        self.asked = 0
        self.downloads: list[str] = []
        self.fails: GatewayError | OutputError | None = None

    async def job(self, job_id: str, **_before_retry: object) -> JobSnapshot:
        self.asked += 1
        return snapshot(self._outputs, self.asked)

    @asynccontextmanager
    async def download(self, url: str) -> AsyncIterator[tuple[int | None, AsyncIterator[bytes]]]:
        self.downloads.append(url)
        if self.fails is not None:
            raise self.fails

        async def content() -> AsyncIterator[bytes]:
            yield PNG

        yield len(PNG), content()


def snapshot(outputs: int, number: int = 0) -> JobSnapshot:
    links = tuple(
        OutputLink(index, f"https://s.test/{index}?{SIGNATURE}-{number}")
        for index in range(outputs)
    )
    return JobSnapshot("job-1", JobStatus.SUCCEEDED, ZERO, outputs=links)


def fetcher_for(gateway: Any, directory: Path) -> Downloader:
    return Downloader(
        gateway, OutputStore(directory), SystemClock(), jitter=lambda: 0.0, terms=TERMS
    )


def links_held(fetcher: Downloader) -> list[str]:
    """Every link that can be reached from the fetcher, wherever it keeps it."""
    # Not its __dict__, whose values Python 3.13 counts as those of the object alone.
    seen, todo, found = set[int](), list[Any]([fetcher]), []
    while todo:
        thing: Any = todo.pop()
        if (
            id(thing) in seen
            or isinstance(thing, type)
            or callable(thing)
            or isinstance(thing, Gateway)
        ):
            continue
        seen.add(id(thing))
        if isinstance(thing, str):
            found += [thing] if SIGNATURE in thing else []
        else:
            todo += gc.get_referents(thing)
    return found


@pytest.mark.parametrize("outputs", [1, 2, 3])
async def test_the_links_of_a_poll_serve_each_output_and_are_gone_after_the_last(
    tmp_path: Path, outputs: int
) -> None:
    planned = Desk(tmp_path).job("jobs: [{name: a, prompt: one}]")
    gateway = Gateway(outputs)
    fetcher = fetcher_for(gateway, tmp_path / "out")
    fetcher.seen(snapshot(outputs))
    for index in range(outputs):
        assert len(links_held(fetcher)) == outputs
        assert isinstance(await fetcher.fetch(planned, ATTEMPT, index), Saved)
    assert links_held(fetcher) == []
    assert (gateway.asked, len(gateway.downloads)) == (0, outputs)
    await fetcher.fetch(planned, ATTEMPT, outputs - 1)
    assert gateway.asked == 1  # for a link of its own: the poll's may have expired
    assert links_held(fetcher) == []


@pytest.mark.parametrize("status", [403, 500])
async def test_the_links_are_gone_with_an_output_that_cant_be_had(
    tmp_path: Path, status: int
) -> None:
    planned = Desk(tmp_path).job("jobs: [{name: a, prompt: one}]")
    gateway = Gateway(2)
    gateway.fails = GatewayError("no", code=f"HTTP_{status}", operation="download", status=status)
    fetcher = fetcher_for(gateway, tmp_path / "out")
    fetcher.seen(snapshot(2))
    with suppress(
        GatewayError
    ):  # what passes is raised, and a link that doesn't serve is an output to be told of
        assert isinstance(await fetcher.fetch(planned, ATTEMPT, 0), Unavailable)
    assert links_held(fetcher) == []
    assert len(set(gateway.downloads)) == len(gateway.downloads) > 1  # a fresh link for each try


async def test_no_saved_output_is_journalled_with_its_link(tmp_path: Path) -> None:
    planned = Desk(tmp_path).job("jobs: [{name: a, prompt: one}]")
    fetcher = fetcher_for(Gateway(1), tmp_path / "out")
    saved = await fetcher.fetch(planned, ATTEMPT, 0)
    assert SIGNATURE not in repr(saved)
    for path in (tmp_path / "out").rglob("*"):
        assert path.is_dir() or SIGNATURE.encode() not in path.read_bytes()


def failing(status: int | None, code: str, *, key: bool = False) -> GatewayError:
    return (KeyRefusedError if key else GatewayError)(
        "no", code=code, operation="download", status=status
    )


@pytest.mark.parametrize(
    ("error", "is_unavailable", "tries"),
    [
        (failing(403, "HTTP_403"), True, 4),
        (failing(404, "HTTP_404"), True, 4),
        (failing(None, UNSAFE_URL), True, 2),
        (failing(200, "BAD_ANSWER"), True, 2),
        (failing(500, "HTTP_500"), False, 4),
        (failing(None, "NO_ANSWER"), False, 4),
        (failing(403, "FORBIDDEN", key=True), False, 1),
        (OutputError("OUTPUT_EXISTS", "its path is taken", final=True), True, 1),
    ],
)
async def test_an_output_is_unavailable_only_by_its_link_or_its_content(
    tmp_path: Path, error: GatewayError | OutputError, is_unavailable: bool, tries: int
) -> None:
    """Any other failure shows nothing of an output: the run ends with the error, and the next one
    fetches it.
    """
    planned = Desk(tmp_path).job("jobs: [{name: a, prompt: one}]")
    gateway = Gateway(1)
    gateway.fails = error
    fetcher = fetcher_for(gateway, tmp_path / "out")
    if is_unavailable:
        assert isinstance(await fetcher.fetch(planned, ATTEMPT, 0), Unavailable)
    else:
        with pytest.raises(type(error)):
            await fetcher.fetch(planned, ATTEMPT, 0)
    assert len(gateway.downloads) == tries


async def test_an_output_is_fetched_by_its_number_and_not_by_its_place(tmp_path: Path) -> None:
    """The list may have grown since in front of it."""
    planned = Desk(tmp_path).job("jobs: [{name: a, prompt: one}]")
    gateway = Gateway(3)
    assert isinstance(
        await fetcher_for(gateway, tmp_path / "out").fetch(planned, ATTEMPT, 0, 2), Saved
    )
    assert [url.partition("?")[0] for url in gateway.downloads] == ["https://s.test/2"]
    assert isinstance(
        await fetcher_for(gateway, tmp_path / "out").fetch(planned, ATTEMPT, 0, 7), Unavailable
    )
