"""The end of a process that has used obstore, whose threads may outlive its last request."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

STARTS = 20
_REQUESTS = """
import asyncio, sys
import obstore
from obstore.store import LocalStore
import crucible_batch.outputs.objects as objects

async def main():
    store = LocalStore(sys.argv[1])
    for _ in range(2):
        await asyncio.gather(
            *(obstore.put_async(store, f"{number}", b"x" * 100) for number in range(40))
        )
    await asyncio.gather(*(obstore.get_async(store, f"{number}") for number in range(40)))

asyncio.run(main())
"""
_COMMAND = """
import crucible_batch.outputs.objects as objects
from crucible_batch.cli.startup import exit_immediately
objects._SETTLE_S = 3600
exit_immediately(3)
"""


@pytest.mark.slow
def test_a_program_that_has_used_obstore_is_not_aborted_at_its_end(tmp_path: Path) -> None:
    words = [sys.executable, "-c", _REQUESTS, str(tmp_path)]
    assert [subprocess.run(words, check=False, timeout=120).returncode for _ in range(STARTS)] == [
        0
    ] * STARTS


def test_a_program_waits_before_it_is_finalized_and_a_command_does_not() -> None:
    program = "import time, crucible_batch.outputs.objects as objects; objects.time.sleep = print"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=120
    )
    assert float(done.stdout) > 0
    assert (
        subprocess.run([sys.executable, "-c", _COMMAND], check=False, timeout=120).returncode == 3
    )
