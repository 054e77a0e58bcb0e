"""Results: where outputs go, and how they get there whole."""

from crucible_batch.core.output_path import aside_path, output_path
from crucible_batch.results.beneath import Folder
from crucible_batch.results.checking import FileState, check_output
from crucible_batch.results.claiming import Means
from crucible_batch.results.ground import check_ground
from crucible_batch.results.naming import give_up, keep_as
from crucible_batch.results.opening import open_output
from crucible_batch.results.picture import MOST_PIXELS
from crucible_batch.results.receipts import RECEIPTS_FILE, Receipts
from crucible_batch.results.receipts_by_job import ReceiptsByJob
from crucible_batch.results.sidecars import SIDECAR_SUFFIX, Sidecars
from crucible_batch.results.store import MAX_BYTES, MAX_PIXELS, OutputStore, SavedFile
from crucible_batch.results.trouble import OutputError, ResultsError

__all__ = [
    "MAX_BYTES",
    "MAX_PIXELS",
    "MOST_PIXELS",
    "RECEIPTS_FILE",
    "SIDECAR_SUFFIX",
    "FileState",
    "Folder",
    "Means",
    "OutputError",
    "OutputStore",
    "Receipts",
    "ReceiptsByJob",
    "ResultsError",
    "SavedFile",
    "Sidecars",
    "aside_path",
    "check_ground",
    "check_output",
    "give_up",
    "keep_as",
    "open_output",
    "output_path",
]
