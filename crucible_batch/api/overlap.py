"""Overlap: what a run does while another run of the same manifest is active.

    results of the run      another run is active if                                             lock taken here
    outputs/NAME/RUN_ID     it has the lock of outputs/NAME, or that of a run directory in it    outputs/NAME
    chosen with out_dir     it has the lock of the same directory                                none

The lock of ``outputs/NAME`` is taken only by runs that ask for it, so that any others are found by their directories.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import sleep

from crucible_batch.api.cancellation import Deadline
from crucible_batch.errors import RunBusyError
from crucible_batch.journal import lock_results, refuse_if_locked

_LOOK_S = 0.5


@contextmanager
def hold_results(
    folder: Path, run_dir: Path, deadline: Deadline, *, wait: bool, on_wait: Callable[[str], None]
) -> Iterator[bool]:
    """Hold the results of a manifest for the block, and return whether another run had to be waited for.

    ``folder`` is that of all runs of the manifest; if ``run_dir`` isn't in it, only ``run_dir`` is checked. Without
    ``wait``, raises ``RunBusyError`` if another run is active. With it, calls ``on_wait`` once with a description
    of that run, and raises ``DeadlineError`` if the deadline passes first. Also raises ``RunDirectoryError``. Blocks
    the thread.
    """
    with ExitStack() as stack:
        waited = False
        while True:
            try:
                _enter(stack, folder, run_dir)
                break
            except RunBusyError as error:
                if not wait:
                    raise
                if not waited:
                    on_wait(error.message)
            waited = True
            deadline.check()
            sleep(_LOOK_S if deadline.left_s is None else min(_LOOK_S, deadline.left_s))
        yield waited


def _enter(stack: ExitStack, folder: Path, run_dir: Path) -> None:
    if run_dir.parent != folder:
        refuse_if_locked(run_dir)
        return
    with ExitStack() as attempt:
        attempt.enter_context(lock_results(folder))
        for directory in sorted(folder.iterdir()):
            if not directory.name.startswith(".") and directory.is_dir() and not directory.is_symlink():
                refuse_if_locked(directory)
        stack.push(attempt.pop_all())
