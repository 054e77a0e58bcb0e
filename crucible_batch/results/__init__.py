"""Results: where outputs go, and how they get there whole."""

from crucible_batch.core.output_path import aside_path, output_path
from crucible_batch.results.checking import FileState, check_output
from crucible_batch.results.opening import open_output
from crucible_batch.results.receipts import RECEIPTS_FILE, Receipts
from crucible_batch.results.sidecars import SIDECAR_SUFFIX, Sidecars
from crucible_batch.results.store import OutputError, OutputStore, ResultsError, SavedFile, give_up, keep_as

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
    "aside_path",
    "check_output",
    "give_up",
    "keep_as",
    "open_output",
    "output_path",
]
