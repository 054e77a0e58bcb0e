"""The viewer: run directories as pages on this machine, updated while they are written. Read-only."""

from crucible_batch.view.runs import find_runs
from crucible_batch.view.server import run_viewer

__all__ = ["find_runs", "run_viewer"]
