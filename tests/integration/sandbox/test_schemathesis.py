"""The API tested from its own description: answers as described, and no request that breaks it."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.generation import GenerationMode

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


SCHEMA = schemathesis.openapi.from_dict(describe())
OPERATIONS = [
    (method, path, mode)
    for path, item in describe()["paths"].items()
    for method, described in item.items()
    for mode in GenerationMode
    # Nothing can be wrong in a request that says nothing.
    if mode is GenerationMode.POSITIVE or described.keys() & {"parameters", "requestBody"}
]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path", "mode"), OPERATIONS)
def test_the_api_keeps_to_its_description(running: Running, method: str, path: str, mode: GenerationMode) -> None:
    @given(case=SCHEMA[path][method].as_strategy(generation_mode=mode))
    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    def check(case: Any) -> None:
        case.call_and_validate(
            base_url=running.api_url,
            headers={"Authorization": f"Bearer {running.api_key}"},
            # A body may have the right shape and still name a field that the workflow lacks.
            excluded_checks=[schemathesis.checks.positive_data_acceptance],
        )

    check()
