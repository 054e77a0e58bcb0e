"""Manifests: YAML in, a checked ``Manifest`` and the jobs that it wants out. Never touches the network.

``load_manifest`` reads a file and raises one error with all its problems; ``expand`` yields its jobs one by one;
``manifest_schema`` describes its form to editors.
"""

from crucible_batch.manifest.expand import expand
from crucible_batch.manifest.load import MAX_BYTES, MAX_JOBS, load_manifest
from crucible_batch.manifest.manifest import Manifest
from crucible_batch.manifest.schema import manifest_schema
from crucible_batch.manifest.templates import Json
from crucible_batch.manifest.wanted import Wanted

__all__ = ["MAX_BYTES", "MAX_JOBS", "Json", "Manifest", "Wanted", "expand", "load_manifest", "manifest_schema"]
