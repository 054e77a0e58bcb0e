"""Results: where outputs go, and how they get there whole."""

from crucible_batch.results.checking import FileState, check_output
from crucible_batch.results.opening import open_output
from crucible_batch.results.paths import output_path
from crucible_batch.results.receipts import RECEIPTS_FILE, Receipts
from crucible_batch.results.store import OutputError, OutputStore, ResultsError, SavedFile

__all__ = [
    "RECEIPTS_FILE",
    "FileState",
    "OutputError",
    "OutputStore",
    "Receipts",
    "ResultsError",
    "SavedFile",
    "check_output",
    "open_output",
    "output_path",
]
