"""The API tested from its own description: answers as described, and no request that breaks it.

Schemathesis takes a second to load, so it is loaded where one of these tests runs, and not by each worker of each run.
"""

import asyncio
import functools
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from crucible_batch.sandbox import Running, SandboxConfig, serve
from crucible_batch.sandbox.openapi import describe


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """Run a sandbox in a thread of its own, since schemathesis calls synchronously."""
    found: Future[tuple[Running, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def main() -> None:
        stop = asyncio.Event()
        async with serve(SandboxConfig(time_scale=0)) as running:
            found.set_result((running, asyncio.get_running_loop(), stop))
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    running, loop, stop = found.result(timeout=120)
    yield running
    loop.call_soon_threadsafe(stop.set)
    thread.join()


MODES = ("positive", "negative")
OPERATIONS = [
    (method, path, mode)
    for path, item in describe()["paths"].items()
    for method, described in item.items()
    for mode in MODES
    # Nothing can be wrong in a request that says nothing.
    if mode == "positive" or described.keys() & {"parameters", "requestBody"}
]


@functools.cache
def _schema() -> Any:
    import schemathesis

    assert {mode.value for mode in schemathesis.GenerationMode} == set(MODES)
    return schemathesis.openapi.from_dict(describe())


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path", "mode"), OPERATIONS)
def test_the_api_keeps_to_its_description(running: Running, method: str, path: str, mode: str) -> None:
    from schemathesis import GenerationMode, checks

    @given(case=_schema()[path][method].as_strategy(generation_mode=GenerationMode(mode)))
    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    def check(case: Any) -> None:
        case.call_and_validate(
            base_url=running.api_url,
            headers={"Authorization": f"Bearer {running.api_key}"},
            # A body may have the right shape and still name a field that the workflow lacks.
            excluded_checks=[checks.positive_data_acceptance],
        )

    check()
