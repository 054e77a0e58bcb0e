"""The server as a whole: two origins, start and stop, alone or inside another program."""

import asyncio
import signal
import socket
import subprocess
import sys
import time
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from crucible_batch.sandbox import DEFAULT_KEY, SandboxConfig, serve

HOST_PROGRAM = """
from crucible_batch.sandbox import SandboxConfig, run_forever
run_forever(SandboxConfig(), lambda *found: print(*found, flush=True))
print("stopped", flush=True)
"""


async def test_api_and_storage_are_two_origins(client: Any) -> None:
    api, storage = urlsplit(client.running.api_url), urlsplit(client.running.storage_url)
    assert api.hostname == storage.hostname == "127.0.0.1"
    assert api.port != storage.port
    assert client.running.api_key == DEFAULT_KEY
    assert DEFAULT_KEY not in repr(client.running)


async def test_a_taken_port_is_an_os_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match=r".*"):
        async with serve(SandboxConfig(api_port=taken.getsockname()[1])):
            pass


async def test_it_stops_though_an_answer_is_still_due(start: Any) -> None:
    async with start(slow_answer_s=60) as client:
        await client.configure(faults="credits.slow=1")
        waiting = asyncio.create_task(client.api.get("/api/v1/credits"))
        while not (await client.state())["faults_fired"]:
            await asyncio.sleep(0)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    with pytest.raises(httpx.HTTPError):
        await waiting


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_alone_it_runs_until_a_signal(number: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", HOST_PROGRAM], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        api_url, storage_url, key = process.stdout.readline().split()
        assert httpx.get(f"{api_url}/api/health", trust_env=False).status_code == 200
        assert httpx.get(storage_url, trust_env=False).status_code == 404
        assert key == DEFAULT_KEY
        process.send_signal(number)
        assert process.stdout.read() == "stopped\n"
    assert process.returncode == 0


def test_importing_the_package_loads_no_server_and_no_pictures() -> None:
    heavy = "{'starlette', 'uvicorn', 'PIL', 'pydantic'}"
    check = f"import sys, crucible_batch.sandbox; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
