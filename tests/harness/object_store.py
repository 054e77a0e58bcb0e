"""The object store of runs in a process: a dictionary in place of a server."""

from __future__ import annotations

import pytest

from crucible_batch.object_url import ObjectUrl
from crucible_batch.outputs.objects import Objects
from tests.harness.object_fakes import DictObjects

URL = "s3://bucket/runs/trial"


def use_store(patch: pytest.MonkeyPatch) -> DictObjects:
    """Return the store that all runs use from now on."""
    url = ObjectUrl.parse(URL)
    assert url is not None
    store = DictObjects(url)
    patch.setattr(Objects, "at", lambda _url: store)
    return store
