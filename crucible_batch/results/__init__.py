"""Results: where outputs go, and how they get there whole."""

from crucible_batch.results.paths import output_path
from crucible_batch.results.receipts import RECEIPTS_FILE, Receipts
from crucible_batch.results.store import OutputError, OutputStore, SavedFile

__all__ = ["RECEIPTS_FILE", "OutputError", "OutputStore", "Receipts", "SavedFile", "output_path"]
