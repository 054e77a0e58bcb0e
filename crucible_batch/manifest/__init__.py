"""Manifests: YAML in, a checked ``Manifest`` and the jobs that it wants out. Never touches the network.

``load_manifest`` reads a file and raises one error with all its problems; ``expand`` yields its jobs one by one;
``read_manifest`` and ``expand_all`` go on where something is wrong, for those who have more to find out about it;
``manifest_schema`` describes its form to editors, ``live_schema`` that together with an account's workflows.
"""

from crucible_batch.manifest.expand import expand, expand_all
from crucible_batch.manifest.job_spec import JobSpec, PartialJobSpec
from crucible_batch.manifest.loader import MAX_BYTES, MAX_JOBS, load_manifest, read_manifest
from crucible_batch.manifest.manifest import Manifest, Reading
from crucible_batch.manifest.names import NameClaim, NameClaims, path_fault
from crucible_batch.manifest.problems import ProblemCollector
from crucible_batch.manifest.schema import Parameters, live_schema, manifest_schema
from crucible_batch.manifest.templates import Json

__all__ = [
    "MAX_BYTES",
    "MAX_JOBS",
    "JobSpec",
    "Json",
    "Manifest",
    "NameClaim",
    "NameClaims",
    "Parameters",
    "PartialJobSpec",
    "ProblemCollector",
    "Reading",
    "expand",
    "expand_all",
    "live_schema",
    "load_manifest",
    "manifest_schema",
    "path_fault",
    "read_manifest",
]
