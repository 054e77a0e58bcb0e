"""The object store of runs in a process: a dictionary in place of a server, or a directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from crucible_batch.object_url import ObjectUrl
from crucible_batch.outputs.directory_objects import DirectoryObjects
from crucible_batch.outputs.objects import Objects
from crucible_batch.runs import object_runs
from tests.harness.object_fakes import DictObjects, SharedDirectory

KINDS = ["s3", "file"]
"""The schemes of the stores that ``use_kind`` makes."""
URL = "s3://bucket/runs/trial"


def use_store(patch: pytest.MonkeyPatch) -> DictObjects:
    """Return the store that all runs use from now on."""
    url = ObjectUrl.parse(URL)
    assert url is not None
    store = DictObjects(url)
    patch.setattr(Objects, "at", lambda _url: store)
    return store


def use_kind(kind: str, patch: pytest.MonkeyPatch, folder: Path) -> DictObjects | SharedDirectory:
    """Return the store that all runs at URLs use from now on; a directory is made in a folder."""
    if kind == "s3":
        return use_store(patch)
    store = SharedDirectory(folder / "shared")

    def objects(directory: Path, url: ObjectUrl | None = None) -> DirectoryObjects:
        return DirectoryObjects(directory) if url is None else store

    patch.setattr(object_runs, "DirectoryObjects", objects)
    return store
