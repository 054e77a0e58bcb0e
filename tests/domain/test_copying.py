"""Copies of frozen values: what ``dataclasses.replace`` makes, made faster."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from crucible_batch.domain.attempt import Attempt
from crucible_batch.domain.concurrency_limit import ConcurrencyLimit, initial_limit
from crucible_batch.domain.frozen_copy import changed
from crucible_batch.domain.job import Job, Phase


@pytest.mark.parametrize("value", [Job("a" * 64), Attempt(1, "cb1-a", 3.5), initial_limit(7)])
def test_a_copy_with_nothing_changed_is_equal_and_another(value: Job | Attempt | ConcurrencyLimit) -> None:
    copy = changed(value)
    assert copy == value
    assert copy is not value
    assert type(copy) is type(value)


def test_what_is_named_is_changed_and_the_rest_is_kept() -> None:
    job = Job("a" * 64, has_images=True, attempt=3)
    assert changed(job, phase=Phase.FETCHING, expected=2) == replace(job, phase=Phase.FETCHING, expected=2)
    assert job == Job("a" * 64, has_images=True, attempt=3)


def test_a_copy_is_frozen_as_well() -> None:
    with pytest.raises(FrozenInstanceError):
        changed(Job("a" * 64)).attempt = 2  # type: ignore[misc]


def test_a_field_that_is_none_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Job has no .*fase"):
        changed(Job("a" * 64), fase=Phase.READY)  # type: ignore[call-arg]
