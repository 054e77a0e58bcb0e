"""What these share with ``tests/verification/crash``. They need what not every machine has: strace,
root, loop devices.

``make test-system`` names them; ``make test`` leaves them out, as it does those that need Chromium.
"""

from __future__ import annotations

from tests.verification.crash.conftest import campaign

__all__ = ["campaign"]
