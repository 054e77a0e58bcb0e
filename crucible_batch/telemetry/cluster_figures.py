"""The figures of a cluster at one moment. No dependency on a metrics library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from crucible_batch.domain.credits import Credits


@dataclass(frozen=True, slots=True)
class ClusterFigures:
    """What the database of a cluster has now. Ages are in seconds, and 0 if there is nothing of the kind.

    ``shards`` are counted by state, ``workers`` by ``alive``, ``draining`` and ``silent``; each key has a value.
    """

    runs: int
    shards: Mapping[str, int]
    workers: Mapping[str, int]
    queue_age_s: float
    renewal_age_s: float
    coordinator_age_s: float
    set_aside: Credits
