"""The viewer: run directories as pages on this machine, updated while they are written. Read-only without a token."""

from crucible_batch.view.control import new_token
from crucible_batch.view.runs import find_runs
from crucible_batch.view.server import run_viewer

__all__ = ["find_runs", "new_token", "run_viewer"]
