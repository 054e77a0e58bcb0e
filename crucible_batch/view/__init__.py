"""The viewer: run directories as pages on this machine, live while they are written. It reads, and changes nothing."""

from crucible_batch.view.runs import find_runs
from crucible_batch.view.server import run_viewer

__all__ = ["find_runs", "run_viewer"]
