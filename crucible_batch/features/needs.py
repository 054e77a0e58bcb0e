"""Which feature can't do without another: the only imports between features.

A feature whose needed one was deleted counts as deleted as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Set

NEEDS: Mapping[str, Set[str]] = {
    "machines": {"shards"},
    "marks": {"redo"},
    "quality": {"redo"},
    "shards": {"periods"},
    "view": {"control"},
}
