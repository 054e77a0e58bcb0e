"""Results: the paths of outputs, and saving them so that no partial file gets a name."""

from crucible_batch.core.output_path import output_path, relocated_path
from crucible_batch.errors import ObjectStoreError
from crucible_batch.outputs.adoption import Adoption, adopt_output
from crucible_batch.outputs.deletion import delete_output, delete_page, size_of_output, size_of_page
from crucible_batch.outputs.directory_objects import DirectoryObjects
from crucible_batch.outputs.errors import OutputError, ResultsError
from crucible_batch.outputs.object_port import ObjectPort
from crucible_batch.outputs.object_store import ObjectOutputStore, ShardOutputStore
from crucible_batch.outputs.output_check import FileState, check_output
from crucible_batch.outputs.preflight import check_outputs_can_be_saved
from crucible_batch.outputs.publish import add_name, remove_name
from crucible_batch.outputs.receipts import RECEIPTS_FILE, Receipts, ReceiptsByJob
from crucible_batch.outputs.safe_fs import Folder, open_output
from crucible_batch.outputs.sidecars import SIDECAR_SUFFIX, Sidecars
from crucible_batch.outputs.store import MAX_BYTES, MAX_PIXELS, OutputStore, SavedFile
