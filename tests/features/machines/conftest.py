"""Runs on many machines lock and keep journals in the state directory."""

from __future__ import annotations

from tests.harness.state_directory import state_directory

__all__ = ["state_directory"]
