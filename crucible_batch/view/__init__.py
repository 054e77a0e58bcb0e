"""The viewer: run directories as pages on this machine, updated while they are written. Read-only without a token."""

from crucible_batch.view.app import run_viewer
from crucible_batch.view.runs import find_runs
