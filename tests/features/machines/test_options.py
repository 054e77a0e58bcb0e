"""Options of a run that each of its shards has to have: passed on, or refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.core.engine_options import DEFAULT_KEY_TTL_S
from crucible_batch.core.run_options import RunOptions, declared
from crucible_batch.errors import UserError
from crucible_batch.features.machines.engines import LocalProcesses, engine_of, options_of_shards
from crucible_batch.runs.draft import read_source
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


@pytest.fixture
def options(tmp_path: Path) -> Callable[..., Mapping[str, object]]:
    """Return the options of shards, of a run with these of its own."""
    path = tmp_path / "spring.yaml"
    path.write_text(
        "version: 1\nname: spring\nworkflow: w\nconcurrency: 3\njobs: [{name: a, prompt: a}]\n"
    )

    def of_run(**given: Any) -> Mapping[str, object]:
        request = RunRequest(path, **given)
        return options_of_shards(request, read_source(request))

    return of_run


def test_processes_here_have_all_options_about_buying_and_saving(options: Any) -> None:
    engine = engine_of("local:2", Settings("key"), options(**GIVEN))
    assert isinstance(engine, LocalProcesses)
    assert engine.options == GIVEN


@pytest.mark.parametrize("given", [{}, {"concurrency": 3}, {"key_ttl_s": DEFAULT_KEY_TTL_S}])
def test_usual_values_and_those_of_the_manifest_are_left_to_each_process(
    options: Any, given: dict[str, Any]
) -> None:
    assert options(**given) == {}
    engine_of("workers:2", Settings("key"), options(**given))


@pytest.mark.parametrize("engine", ["workers:2", "tls://scheduler.example:8786"])
@pytest.mark.parametrize("name", sorted(GIVEN))
def test_what_shards_elsewhere_would_not_have_is_refused(
    options: Any, engine: str, name: str
) -> None:
    flag = declared(RunOptions)[name][0].flag
    with pytest.raises(UserError, match=f"{flag}: .* would not have this option"):
        engine_of(engine, Settings("key"), options(**{name: GIVEN[name]}))


def test_options_of_the_whole_run_are_taken_everywhere(options: Any) -> None:
    engine_of("workers:2", Settings("key"), options(deadline_s=60.0, yes=True, html=False))
