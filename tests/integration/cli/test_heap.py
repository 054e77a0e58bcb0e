"""Threads share one heap once that was said, and have one each where it wasn't: asked of the C
library itself.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

THREADS = """
import ctypes, threading
from crucible_batch.cli.startup import share_one_heap
if {shared}:
    share_one_heap()
libc, all_there = ctypes.CDLL(None), threading.Barrier(4)

def allocate():
    libc.malloc(5000)
    all_there.wait()

threads = [threading.Thread(target=allocate) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc.malloc_stats()
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="other C libraries have one heap anyway"
)
@pytest.mark.parametrize(
    ("shared", "environment", "heaps"),
    [(True, {}, 1), (False, {}, 5), (True, {"MALLOC_ARENA_MAX": "3"}, 3)],
    ids=["shared", "as it comes", "what the environment says goes first"],
)
def test_threads_have_as_many_heaps(shared: bool, environment: dict[str, str], heaps: int) -> None:
    own = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    script = THREADS.format(shared=shared)
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**own, **environment},
    )
    assert done.stderr.count("Arena ") == heaps
