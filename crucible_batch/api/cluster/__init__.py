"""Runs on a cluster: the coordinator divides and merges a run, and workers claim its shards from a database.

Its modules import the drivers, except ``note``: call ``require_extra`` before the others are imported.
"""

from crucible_batch.cluster.address import require_extra

__all__ = ["require_extra"]
