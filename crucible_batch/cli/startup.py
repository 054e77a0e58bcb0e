"""Settings of the process that a start or a run makes for time or memory. ``docs/performance.md`` has the figures."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Sequence
from types import ModuleType

_OBJECTS_BEFORE_COLLECTION = 50_000
_M_ARENA_MAX = -8
"""``malloc.h``: the greatest number of heaps."""


def collect_garbage_rarely() -> None:
    """Collect after 50,000 new objects instead of 700, and not at exit: imports make many objects, and keep them."""
    gc.set_threshold(_OBJECTS_BEFORE_COLLECTION)
    atexit.register(gc.freeze)


def skip_unused_help_imports(argv: Sequence[str]) -> None:
    """Before help is shown, put empty classes in place of two of Typer's imports, which bring parsers and lexers.

    Help is written in Rich's markup, not Markdown, and tracebacks are Python's own.
    """
    if argv and not {"--help", "-h"} & set(argv):
        return
    for module, name in (("rich.markdown", "Markdown"), ("rich.traceback", "Traceback")):
        vars(sys.modules.setdefault(module, ModuleType(module))).setdefault(name, object)


def share_one_heap() -> None:
    """Have all threads allocate from one heap; with one each, glibc's way, memory grows with the length of a run.

    ``MALLOC_ARENA_MAX`` in the environment is respected. Does nothing with other C libraries.
    """
    import ctypes  # noqa: PLC0415 - only a run needs it

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and "MALLOC_ARENA_MAX" not in os.environ:
        mallopt(_M_ARENA_MAX, 1)
