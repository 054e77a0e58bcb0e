"""The options of a run on the command line: defaults, and options that turn something off."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.cli.declared_options import options_from, parameters_of
from crucible_batch.core.run_options import (
    ManifestOptions,
    Options,
    PlanningOptions,
    RunOptions,
    declared,
)
from crucible_batch.core.saved_plan import PlanOptions
from tests.harness.case_table import each_case

NOT_GIVEN = {each.name: each.default for each in parameters_of(RunOptions)}


@each_case("options", [RunOptions, PlanningOptions])
def test_without_options_all_values_are_the_defaults(options: Options) -> None:
    not_given = {each.name: each.default for each in parameters_of(options)}
    assert options_from(options, not_given) == options()


@each_case("options", [RunOptions, ManifestOptions])
def test_each_field_is_an_option(options: type[ManifestOptions]) -> None:
    assert list(declared(options)) == [each.name for each in parameters_of(options)]
    assert RunOptions() == RunOptions(
        **{name: default for name, (_, default) in declared(RunOptions).items()}
    )  # type: ignore[arg-type]


def test_a_saved_plan_has_each_option_that_it_fixes() -> None:
    kept = {each.name for each in fields(PlanOptions)}
    own = {"run_dir", "of_features"}
    assert kept == {*declared(PlanningOptions, ManifestOptions), *own} - {"out_dir"}


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("html", True, False),
        ("notify", True, False),
        ("yes", True, True),
        ("concurrency", "auto", "auto"),
        ("wait_for_gateway_s", 0.0, 0.0),
        ("metrics_textfile", Path("metrics"), Path("metrics")),
    ],
)
def test_what_was_given_is_the_value(name: str, given: Any, value: Any) -> None:
    assert getattr(options_from(RunOptions, NOT_GIVEN | {name: given}), name) == value
