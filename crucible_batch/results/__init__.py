"""Results: where outputs go, and how they get there whole."""

from crucible_batch.core.output_path import output_path
from crucible_batch.results.checking import FileState, check_output
from crucible_batch.results.receipts import RECEIPTS_FILE, Receipts
from crucible_batch.results.sidecars import SIDECAR_SUFFIX, Sidecars
from crucible_batch.results.store import OutputError, OutputStore, ResultsError, SavedFile

__all__ = [
    "RECEIPTS_FILE",
    "SIDECAR_SUFFIX",
    "FileState",
    "OutputError",
    "OutputStore",
    "Receipts",
    "ResultsError",
    "SavedFile",
    "Sidecars",
    "check_output",
    "output_path",
]
