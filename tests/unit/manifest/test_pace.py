"""The manifest's concurrency and deadline: their values, their places, and that no job depends on
them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer

from crucible_batch.cli.declared_options import parameters_of
from crucible_batch.core.run_options import RunOptions, declared
from crucible_batch.errors import ManifestError
from tests.harness.case_table import each_case
from tests.harness.planning import HEAD, Desk

JOBS = "jobs: [{name: a, prompt: b}]\n"

CONCURRENCIES: list[tuple[str, object]] = [
    ("1", 1),
    ("16", 16),
    ("1000", 1000),
    ("auto", "auto"),
    ("'auto'", "auto"),
]
DEADLINES: list[tuple[str, float]] = [
    ("6h", 6 * 3600),
    ("1h30m", 5400),
    ("90", 90),
    ("0.5", 0.5),
    ("'90'", 90),
    ("365d", 365 * 86_400),
]


@each_case("text, value", CONCURRENCIES)
def test_concurrency_is_a_number_of_jobs_or_auto(folder: Any, text: str, value: object) -> None:
    assert folder.load(f"concurrency: {text}\n{JOBS}").header.concurrency == value


@each_case("text, seconds", DEADLINES)
def test_a_deadline_is_a_duration_as_in_the_option(folder: Any, text: str, seconds: float) -> None:
    assert folder.load(f"deadline: {text}\n{JOBS}").header.deadline == seconds


def test_a_manifest_without_them_chooses_neither(folder: Any) -> None:
    manifest = folder.load(JOBS)
    assert (manifest.header.concurrency, manifest.header.deadline) == (None, None)


@each_case("value", ["0", "-1", "1001", "1.5", "true", "fast", "'8'", "[8]", "9" * 30])
def test_a_concurrency_that_cannot_be_used_has_its_place_and_range(folder: Any, value: str) -> None:
    with pytest.raises(ManifestError) as caught:
        folder.load(f"concurrency: {value}\n{JOBS}")
    (problem,) = caught.value.problems
    assert (problem.place.line, problem.place.column, problem.field) == (4, 14, "concurrency")
    assert "from 1 to 1000" in problem.message


@each_case(
    "value", ["0", "-1", "0s", "366d", "true", "soon", "1m2h", "12:30", "1e-7", "[]", "9" * 30]
)
def test_a_deadline_that_cannot_be_used_has_its_place_and_form(folder: Any, value: str) -> None:
    with pytest.raises(ManifestError) as caught:
        folder.load(f"deadline: {value}\n{JOBS}")
    (problem,) = caught.value.problems
    assert (problem.place.line, problem.place.column, problem.field) == (4, 11, "deadline")
    assert "must be a duration of at most 365 days, such as 90s, 5m, 6h or 1h30m" in problem.message


TEXTS = ["0", "1", "16", "1000", "1001", "-1", "1.5", "9" * 30, "auto", "1h30m", "0s", "366d", "x"]
KEYS = {
    name: option.manifest_key
    for name, (option, _) in declared(RunOptions).items()
    if option.manifest_key is not None
}
PARSERS = {each.name: each.annotation.__metadata__[0].parser for each in parameters_of(RunOptions)}


@each_case("name", KEYS)
@each_case("text", TEXTS)
def test_a_manifest_has_what_the_option_reads(folder: Any, name: str, text: str) -> None:
    manifest = f"{KEYS[name]}: {text}\n{JOBS}"
    try:
        value = PARSERS[name](text)
    except typer.BadParameter:
        with pytest.raises(ManifestError):
            folder.load(manifest)
    else:
        assert getattr(folder.load(manifest).header, KEYS[name]) == value


@pytest.mark.parametrize("key", ["concurrency", "deadline"])
def test_a_key_without_a_value_is_refused(folder: Any, key: str) -> None:
    assert "is empty" in folder.problem(f"{key}:\n{JOBS}").message


def test_neither_changes_the_identity_of_a_job(tmp_path: Path) -> None:
    desk = Desk.with_photo(tmp_path)
    jobs = "jobs: [{name: a, prompt: b, repeat: 2}, {name: c, image: p.png}]\n"
    plain = [item.identity for item in desk.items(HEAD + jobs)]  # type: ignore[union-attr]
    pace = "concurrency: 3\ndeadline: 2h\n"
    paced = [item.identity for item in desk.items(HEAD + pace + jobs)]  # type: ignore[union-attr]
    assert len(set(plain)) == 3
    assert paced == plain
