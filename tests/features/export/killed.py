"""A process that ends, as a kill does, right before one of its changes of the file system."""

from __future__ import annotations

import itertools
import os
import sys
import traceback
import warnings
from collections.abc import Callable

_KILLED, _BROKEN = 9, 3
_CHANGES = {"os.rename", "os.link", "os.remove", "os.mkdir"}
PLACES = {"captions": 15, "imagefolder": 15, "webdataset": 8, "csv": 15, "zip": 8}
"""How many changes an export of the tests has at least, by its form."""


def killed_at(number: int, work: Callable[[], object]) -> bool:
    """Do the work in a process that ends before its change with this number, and return whether it
    did."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork in a process with threads
        child = os.fork()
    if child == 0:
        _end_before(number)
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(_BROKEN)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in {0, _KILLED}, f"the export failed with {code}"
    return code == _KILLED


def _end_before(number: int) -> None:
    seen = itertools.count()

    def look(event: str, given: tuple[object, ...]) -> None:
        is_change = event in _CHANGES
        if event == "open" and isinstance(given[2], int):
            is_change = bool(given[2] & (os.O_CREAT | os.O_WRONLY | os.O_RDWR))
        if is_change and next(seen) == number:
            os._exit(_KILLED)

    sys.addaudithook(look)
