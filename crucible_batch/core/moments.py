"""The times that files of ours may have, which are untrusted: JSON allows any number."""

from __future__ import annotations

from typing import Final

FIRST_MOMENT: Final = -62_135_596_800.0
END_OF_TIME: Final = 253_402_300_800.0
"""The end of year 9999; with the start of year 1, the range of ``datetime``. A wrong clock may
be before 1970."""
