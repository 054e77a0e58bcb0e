"""The keys of run id and time zone.

Those of features are tested with them: ``test_manifest_keys.py``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from crucible_batch.errors import ManifestError
from crucible_batch.manifest import load_manifest
from crucible_batch.scheduled_time import read_timezone
from tests.harness.case_table import each_case

HEAD = "version: 1\nname: n\nworkflow: w\njobs: [{name: a, prompt: b}]\n"


def load(tmp_path: Path, text: str):
    path = tmp_path / "m.yaml"
    path.write_text(HEAD + text)
    return load_manifest(path)


def test_a_manifest_without_these_keys_is_in_utc(tmp_path: Path) -> None:
    manifest = load(tmp_path, "")
    assert manifest.header.run_id is None
    assert manifest.zone == read_timezone("UTC")


def test_dates_are_in_the_manifests_time_zone(tmp_path: Path) -> None:
    assert load(tmp_path, "timezone: Europe/Berlin\n").zone == read_timezone("Europe/Berlin")


@each_case(
    "text, message",
    [
        ("timezone: Mars/Olympus", "'Mars/Olympus' is not a time zone"),
        ("timezone: ", "is empty"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        load(tmp_path, text)
    assert message in str(caught.value)
