"""Manifests: YAML in, a checked ``Manifest`` and the jobs that it wants out. Never touches the network.

``load_manifest`` reads a file and raises one error with all problems of its form; ``expand`` yields its jobs one by
one, and what keeps others from being made;
``manifest_schema`` describes its form to editors, ``live_schema`` that together with an account's workflows.
"""

from crucible_batch.manifest.expand import expand
from crucible_batch.manifest.job_spec import JobSpec
from crucible_batch.manifest.loader import MAX_BYTES, MAX_JOBS, load_manifest
from crucible_batch.manifest.manifest import Manifest
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
    "ProblemCollector",
    "expand",
    "live_schema",
    "load_manifest",
    "manifest_schema",
    "path_fault",
]
