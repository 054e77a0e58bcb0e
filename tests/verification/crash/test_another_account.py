"""The command, killed with its first submit in doubt, and started again with the key of another account."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from decimal import Decimal
from pathlib import Path

import httpx

from crucible_batch.sandbox import SandboxConfig, parse_faults, serve
from tests.preloaded import Process, start_command

MANIFEST = """\
version: 1
name: trial
workflow: zimage-base
params: {size.width: 64, size.height: 64}
budget: {credits: 10}
jobs: [{name: a, prompt: one}]
"""


def start(folder: Path, url: str, key: str) -> Process:
    environment = {**os.environ, "MOLTAZINE_API_KEY": key, "CRUCIBLE_API_BASE": url}
    return start_command(["run", "m.yaml", "--out-dir", "out", "--json"], cwd=folder, env=environment)


def run(folder: Path, url: str, key: str) -> tuple[int | None, str, str]:
    process = start(folder, url, key)
    out, err = process.communicate(timeout=180)
    return process.returncode, out, err


def run_killed_once_held(folder: Path, url: str, key: str) -> None:
    """Send SIGKILL when the job's credits are held: its submit is under way, and no answer has come."""
    process = start(folder, url, key)
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line).get("event") == "held":
            process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL


async def test_a_submit_in_doubt_is_not_bought_again_on_another_account(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST)
    keys = {"moltazine_ours": Decimal(50), "moltazine_other": Decimal(50)}
    config = SandboxConfig(accounts=keys, faults=parse_faults("generate.slow=1"), slow_answer_s=10, time_scale=0)
    async with serve(config) as found, httpx.AsyncClient(trust_env=False) as http, asyncio.timeout(180):

        async def bought() -> int:
            return len((await http.get(f"{found.api_url}/_sandbox/state")).json()["jobs"])

        await asyncio.to_thread(run_killed_once_held, tmp_path, found.api_url, "moltazine_ours")
        code, out, err = await asyncio.to_thread(run, tmp_path, found.api_url, "moltazine_other")
        assert code == 2, err
        error = json.loads(out.splitlines()[-1])["error"]
        assert error["code"] == "RUN_DIRECTORY"
        assert "--same-account" in error["hint"]
        assert await bought() <= 1
        # If the submit had not left, the next one would be the first, whose answer is slow.
        answer = await http.post(f"{found.api_url}/_sandbox/config", json={"faults": ""})
        assert answer.status_code == 200
        code, _, err = await asyncio.to_thread(run, tmp_path, found.api_url, "moltazine_ours")
        assert code == 0, err
        assert await bought() == 1
