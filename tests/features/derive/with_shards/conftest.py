"""Shards have their journals in a state directory, also if their run directory is shared."""

from __future__ import annotations

from tests.harness.state_directory import state_directory

__all__ = ["state_directory"]
