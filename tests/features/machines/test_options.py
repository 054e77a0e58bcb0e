"""Options of a run that each of its shards has to have: passed on, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crucible_batch.core.engine_options import DEFAULT_KEY_TTL_S
from crucible_batch.core.run_options import RunOptions, declared
from crucible_batch.errors import UserError
from crucible_batch.features.machines.engines import LocalProcesses, engine_of
from crucible_batch.runs.request import RunRequest
from crucible_batch.settings import Settings

GIVEN: dict[str, Any] = {
    "concurrency": 1,
    "polls_per_s": 2.0,
    "job_timeout_s": 30.0,
    "wait_for_gateway_s": 3.0,
    "key_ttl_s": 2.0,
    "max_output_bytes": 1000,
    "max_pixels": 1000,
    "same_account": True,
}


def request(**options: Any) -> RunRequest:
    return RunRequest(Path("spring.yaml"), **options)


def test_processes_here_have_all_options_about_buying_and_saving() -> None:
    engine = engine_of("local:2", Settings("key"), request(**GIVEN))
    assert isinstance(engine, LocalProcesses)
    assert engine.options == GIVEN


def test_usual_values_are_left_to_each_process() -> None:
    engine = engine_of("local:2", Settings("key"), request(key_ttl_s=DEFAULT_KEY_TTL_S))
    assert isinstance(engine, LocalProcesses)
    assert engine.options == {}


@pytest.mark.parametrize("engine", ["workers:2", "tls://scheduler.example:8786"])
@pytest.mark.parametrize("name", sorted(GIVEN))
def test_what_shards_elsewhere_would_not_have_is_refused(engine: str, name: str) -> None:
    flag = declared(RunOptions)[name][0].flag
    with pytest.raises(UserError, match=f"{flag}: .* would not have this option"):
        engine_of(engine, Settings("key"), request(**{name: GIVEN[name]}))


def test_options_of_the_whole_run_are_taken_everywhere() -> None:
    engine_of("workers:2", Settings("key"), request(deadline_s=60.0, yes=True, html=False))
