"""The viewer: run directories as pages on this machine, updated while they are written. Read-only without a token."""

from crucible_batch.features.view.app import run_viewer
from crucible_batch.features.view.runs import find_runs
