"""One heap for all threads of a run.

glibc gives each thread that allocates a heap of its own, and each keeps what it once needed: with the journal's thread
and those that wait for the disk, a run peaks higher the longer it goes on, though it keeps nothing
(`python -m benchmarks.memory JOBS` has the figures, with `MALLOC_ARENA_MAX=8` in the environment those without this).
Threads seldom wait for each other there: most of what they allocate, they do with the interpreter's lock held.
"""

from __future__ import annotations

import ctypes
import os

_M_ARENA_MAX = -8
"""``malloc.h``: how many heaps there may be. An environment that says it has the last word."""


def share_one_heap() -> None:
    """Have threads that are begun from now on allocate where the first one does. Nothing where the C library isn't
    glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and "MALLOC_ARENA_MAX" not in os.environ:
        mallopt(_M_ARENA_MAX, 1)
