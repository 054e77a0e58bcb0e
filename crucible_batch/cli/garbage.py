"""The garbage collector kept out of a start and out of an exit: there is nothing to collect in either.

It would look through all that was imported some twenty times, and at the exit once more: 60 of the 350 ms in which
``validate`` checks a small manifest.
"""

from __future__ import annotations

import atexit
import gc

_OF_A_START = 150_000
"""So many objects are made and kept before the first collection; imports make some 70,000."""


def put_off_collecting() -> None:
    """Have the first collection come when the start is over, and from then on all as ever. May be called again."""
    if gc.get_threshold()[0] >= _OF_A_START:
        return
    usual = gc.get_threshold()

    def go_on_as_ever(_phase: str, _info: dict[str, int]) -> None:
        gc.set_threshold(*usual)
        gc.callbacks.remove(go_on_as_ever)

    gc.callbacks.append(go_on_as_ever)
    gc.set_threshold(_OF_A_START, *usual[1:])
    atexit.register(gc.freeze)
