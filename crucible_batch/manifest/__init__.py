"""Manifests: YAML input, checked and expanded into jobs. Never accesses the network.

``load_manifest`` reads a file and raises one error with all problems of its form. ``expand`` yields
its jobs one at a time, and problems in place of jobs that can't be made. ``manifest_schema``
returns a JSON Schema for editors.
"""

from crucible_batch.manifest.expand import EntryExpander, expand
from crucible_batch.manifest.job_spec import JobSpec
from crucible_batch.manifest.loader import MAX_BYTES, MAX_JOBS, load_manifest
from crucible_batch.manifest.manifest import Manifest
from crucible_batch.manifest.names import NameClaim, NameClaims, path_fault
from crucible_batch.manifest.problems import ProblemCollector
from crucible_batch.manifest.run_ids import depends_on_time, render_run_id, time_variables_in
from crucible_batch.manifest.schema import manifest_schema
from crucible_batch.manifest.sources import Source, SourceFile, SourceJob
from crucible_batch.manifest.table_rows import TableRow
from crucible_batch.manifest.templates import Json
from crucible_batch.manifest.value import VALUE_PATH, written
