"""Process settings that save time or memory. ``docs/performance.md`` has the figures."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import sys
from collections.abc import Sequence
from types import ModuleType

_OBJECTS_BEFORE_COLLECTION = 200_000
_M_ARENA_MAX = -8
"""The maximum number of heaps (``malloc.h``)."""


def collect_garbage_rarely() -> None:
    """Collect garbage after 200,000 new objects instead of 700, and not at exit.

    Imports make many lasting objects.
    """
    gc.set_threshold(_OBJECTS_BEFORE_COLLECTION)
    atexit.register(gc.freeze)


def skip_unused_help_imports(argv: Sequence[str]) -> None:
    """Before help is shown, replace two of Typer's imports, which load parsers and lexers.

    They aren't needed: help is written in Rich markup, not Markdown, and tracebacks are Python's
    own.
    """
    if argv and not {"--help", "-h", "--help-all"} & set(argv):
        return
    for module, name in (("rich.markdown", "Markdown"), ("rich.traceback", "Traceback")):
        vars(sys.modules.setdefault(module, ModuleType(module))).setdefault(name, object)


def share_one_heap() -> None:
    """Make all threads allocate from one heap.

    With glibc's default of one each, memory grows with the length of a run.

    ``MALLOC_ARENA_MAX`` in the environment takes precedence. Does nothing with other C libraries.
    """
    import ctypes  # noqa: PLC0415 - only a run needs it

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and "MALLOC_ARENA_MAX" not in os.environ:
        mallopt(_M_ARENA_MAX, 1)


def exit_immediately(code: int) -> None:
    """Exit without Python's finalization, which can abort a process whose command has succeeded.

    Threads of obstore release Python objects when their requests have ended. During the
    finalization, Python ends a thread that waits for its lock, and Rust aborts the process then.
    """
    objects = sys.modules.get("crucible_batch.outputs.objects")
    if objects is not None:
        atexit.unregister(objects.wait_for_threads)  # it is for programs that are finalized
    atexit._run_exitfuncs()  # noqa: SLF001 - the rest of an exit has no public name
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
