"""Looks for the key, and for what was signed, in every file that a scene left behind."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path

from tests.verification.crash.scenes import CANARY

_SIGNED = re.compile(rb"[?&]token=\d+\.\d{3}-[0-9a-f]{64}")
_FORMS = {
    "the key": CANARY.encode(),
    "the key in base64": base64.b64encode(CANARY.encode()).rstrip(b"=")[:-1],
    "the key's secret": CANARY.rpartition("_")[2].encode(),
}


def leaks(folder: Path) -> Iterator[str]:
    """Yield each leak as a sentence."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.is_symlink():
            continue
        content = path.read_bytes()
        for what, form in _FORMS.items():
            if form in content:
                yield f"{what} is in {path.relative_to(folder)}"
        if _SIGNED.search(content):
            yield f"a signed URL is in {path.relative_to(folder)}"
