"""The garbage collector kept out of a start and out of an exit: there is nothing to collect in either.

It would look through all that was imported some twenty times, and at the exit once more: 60 of the 350 ms in which
``validate`` checks a small manifest.
"""

from __future__ import annotations

import atexit
import gc

_OF_A_START = 150_000
"""So many objects are made and kept before the first collection; imports make some 70,000."""
_OF_A_RUN = 5_000
"""So many from one collection to the next. A run leaves few cycles: after 700, as by default, it would look often and
find next to none."""


def put_off_collecting() -> None:
    """Have the first collection come when the start is over. Whatever is there by then stays, and is looked through no
    more. May be called again."""
    if gc.get_threshold()[0] >= _OF_A_START:
        return
    usual = gc.get_threshold()

    def go_on(_phase: str, _info: dict[str, int]) -> None:
        gc.callbacks.remove(go_on)
        gc.set_threshold(_OF_A_RUN, *usual[1:])
        gc.freeze()

    gc.callbacks.append(go_on)
    gc.set_threshold(_OF_A_START, *usual[1:])
    atexit.register(gc.freeze)
