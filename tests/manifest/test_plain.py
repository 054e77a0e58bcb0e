"""An entry that is checked without pydantic is one that pydantic finds sound, and comes to the same job."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.manifest.models import JobEntry, plain_job

VALUES = st.sampled_from(["", "a", "é", "{{ n }}", "\ud800", None, True, 7, 1.5, [], ["a"], {}, {"a": 1}, {"": 1}])
KEYS = st.sampled_from(["name", "prompt", "workflow", "params", "image", "repeat", "fields", "nmae"])
ENTRIES = st.dictionaries(KEYS, VALUES | st.dictionaries(st.text(max_size=3), VALUES, max_size=3), max_size=5)


@given(ENTRIES | VALUES)
def test_a_plain_job_is_pydantics(value: Any) -> None:
    plain = plain_job(value)
    if plain is not None:
        whole = JobEntry.model_validate(value)
        assert {name: getattr(plain, name) for name in JobEntry.model_fields} == dict(whole)


@pytest.mark.parametrize("entry", [{"name": "a"}, {"name": "a", "prompt": "p", "params": {"x": 1}, "workflow": "w"}])
def test_most_entries_are_plain(entry: dict[str, Any]) -> None:
    assert plain_job(entry) is not None
    assert plain_job(entry | {"foreach": "rows.csv"}) is None
