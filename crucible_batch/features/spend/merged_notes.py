"""The tags of a divided run: its shards note them, and no run begins in its own directory."""

from __future__ import annotations

from crucible_batch.features.spend.note import NAME

NAMES = (NAME,)
