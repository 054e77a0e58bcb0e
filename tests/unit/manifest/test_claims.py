"""Claims of names: what the garbage collector does with them, and where."""

from __future__ import annotations

import sys
from threading import Thread
from typing import Any

import pytest

from crucible_batch.manifest.names import NameClaims


def test_claims_may_be_collected_by_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    ignored: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)
    kept = [NameClaims()]
    kept[0].take("a", "a", 0)
    collecting = Thread(target=kept.clear)
    collecting.start()
    collecting.join()
    assert ignored == []
