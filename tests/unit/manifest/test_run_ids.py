"""Run ids are templates, and so is everything else that may have a date."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from crucible_batch.errors import ManifestError, Problem, UserError
from crucible_batch.manifest import (
    JobSpec,
    Manifest,
    depends_on_time,
    expand,
    load_manifest,
    render_run_id,
    time_variables_in,
)
from crucible_batch.scheduled_time import parse_time
from tests.harness.case_table import each_case
from tests.unit.manifest.conftest import HEAD, Folder

AT = parse_time("2026-11-26T02:15:00Z")
JOBS = "jobs: [{name: a, prompt: b}]\n"
BERLIN = "timezone: Europe/Berlin\n"


def _at(folder: Folder, text: str, moment: datetime = AT) -> Manifest:
    return replace(folder.load(text), scheduled_at=moment)


@each_case(
    "text, given, run_id",
    [
        ("", None, "default"),
        ("", "mine", "mine"),
        ("", "", "default"),
        ("run_id: campaign-7\n", None, "campaign-7"),
        ("run_id: campaign-7\n", "mine", "mine"),
        ('run_id: "{{ date }}"\n', None, "2026-11-26"),
        ('run_id: "{{ week }}"\n', None, "2026-W48"),
        ('run_id: "{{ month }}"\n', "{{ month }}-again", "2026-11-again"),
        (BERLIN + 'run_id: "{{ scheduled_at }}"\n', None, "2026-11-26T03:15:00+01:00"),
        ('vars: {team: red}\nrun_id: "{{ team }}-{{ date }}"\n', None, "red-2026-11-26"),
        ('vars: {date: never}\nrun_id: "{{ date }}"\n', None, "never"),
    ],
)
def test_a_run_id_is_rendered_with_the_time_and_the_vars(
    folder: Folder, text: str, given: str | None, run_id: str
) -> None:
    assert render_run_id(_at(folder, text + JOBS), given) == run_id


@each_case(
    "moment, run_id",
    [
        ("2026-03-28T23:30:00Z", "2026-03-29T00:30:00+01:00"),
        ("2026-03-29T01:30:00Z", "2026-03-29T03:30:00+02:00"),
        ("2026-10-25T00:30:00Z", "2026-10-25T02:30:00+02:00"),  # 02:30 occurs twice on this day,
        ("2026-10-25T01:30:00Z", "2026-10-25T02:30:00+01:00"),  # and each has its own id
    ],
)
def test_run_ids_at_clock_changes(folder: Folder, moment: str, run_id: str) -> None:
    manifest = _at(folder, BERLIN + 'run_id: "{{ scheduled_at }}"\n' + JOBS, parse_time(moment))
    assert render_run_id(manifest, None) == run_id
    assert render_run_id(manifest, "{{ date }}") == run_id[:10]


@each_case(
    "template, message",
    [
        ("{{ dat }}", "the variable 'dat' is unknown"),
        ("{{ date", "unexpected end of template"),
        ("{{ date }}/x", "can't be a run id"),
        ("{{ date | replace('2', ' ') }}", "can't be a run id"),
        (".{{ date }}", "can't be a run id"),
        ("-x", "can't be a run id"),
        ("{{ '' }}", "can't be a run id"),
        ("{{ date }}" * 11, "can't be a run id"),
    ],
)
def test_a_faulty_run_id_is_refused_with_its_place(
    folder: Folder, template: str, message: str
) -> None:
    manifest = _at(folder, f'run_id: "{template}"\n' + JOBS)
    with pytest.raises(ManifestError, match=message) as caught:
        render_run_id(manifest, None)
    (problem,) = caught.value.problems
    assert (problem.place.line, problem.place.column, problem.field) == (4, 9, "run_id")
    with pytest.raises(UserError, match=message) as refused:
        render_run_id(_at(folder, JOBS), template)
    assert not isinstance(refused.value, ManifestError)


def test_a_faulty_option_is_named(folder: Folder) -> None:
    with pytest.raises(UserError, match=r"^--run-id: the variable 'dat' is unknown") as caught:
        render_run_id(_at(folder, JOBS), "{{ dat }}")
    assert caught.value.hint == "did you mean 'date'?"


@each_case(
    "text, given, depends",
    [
        ("", None, False),
        ("run_id: fixed\n", None, False),
        ('run_id: "{{ date }}"\n', None, True),
        ('run_id: "{{ date }}"\n', "fixed", False),
        ("run_id: fixed\n", "{{ week }}", True),
        ('vars: {date: never}\nrun_id: "{{ date }}"\n', None, False),
        ('vars: {team: red}\nrun_id: "{{ team }}"\n', None, False),
    ],
)
def test_whether_a_run_id_depends_on_the_time(
    folder: Folder, text: str, given: str | None, depends: bool
) -> None:
    assert depends_on_time(_at(folder, text + JOBS), given) is depends


EVERYWHERE = """
jobs:
  - name: "hero-{{ month }}"
    prompt: "{{ date }}: {{ style }}"
    matrix: {style: [noir]}
    params: {caption: "{{ scheduled_at }}", "size.width": "{{ (date ~ '-x') | length }}"}
  - name: "row-{{ row.sku }}"
    foreach: "orders-{{ date }}.csv"
    prompt: "@prompt-{{ week }}.txt"
    image: "{{ month }}/{{ row.sku }}.png"
"""


def test_all_templates_of_jobs_have_the_time(folder: Folder) -> None:
    folder.write("orders-2026-11-26.csv", "sku\nX1\n")
    folder.write("prompt-2026-W48.txt", "as of {{ date }}")
    image = folder.write("2026-11/X1.png")
    hero, row = _jobs(_at(folder, EVERYWHERE))
    assert (hero.name, hero.prompt) == ("hero-2026-11-noir", "2026-11-26: noir")
    assert hero.params == {"caption": "2026-11-26T02:15:00+00:00", "size.width": 12}
    assert (row.prompt, row.image) == ("as of 2026-11-26", image)


@each_case(
    "text, name",
    [
        ("vars: {month: Mai}\njobs: [{name: '{{ month }}', prompt: b}]", "Mai"),
        ("jobs: [{name: '{{ month }}', prompt: b, matrix: {month: [Mai]}}]", "Mai"),
        ("matrix: {month: [Mai]}\njobs: [{name: '{{ month }}', prompt: b}]", "Mai"),
        ("jobs: [{name: '{{ month }}', prompt: b, zip: {month: [Mai]}}]", "Mai"),
        ("jobs: [{name: a, prompt: b, matrix: {month: [Mai]}}]", "a-mai"),
        (
            (
                "vars: {date: x, week: y, month: z, scheduled_at: w}\n"
                "jobs: [{name: '{{ date ~ week }}', prompt: b}]"
            ),
            "xy",
        ),
    ],
)
def test_a_manifests_own_variables_hide_those_of_the_time(
    folder: Folder, text: str, name: str
) -> None:
    (job,) = _jobs(_at(folder, text))
    (before,) = folder.jobs(text)  # as it was without a scheduled time
    assert job.name == before.name == name


@each_case(
    "text, used",
    [
        (JOBS, set()),
        ('run_id: "{{ date }}"\n' + JOBS, set()),
        ("jobs: [{name: a, prompt: '{{ date }} {{ month }}'}]\n", {"date", "month"}),
        ("jobs: [{name: a, prompt: b, params: {x: '{{ week | upper }}'}}]\n", {"week"}),
        ("jobs: [{name: a, prompt: '@p.txt'}]\n", {"date"}),
        ("vars: {date: x}\njobs: [{name: a, prompt: '{{ date }}'}]\n", set()),
        (
            "jobs: [{name: a, prompt: '{% if 1 %}{{ scheduled_at }}{% endif %}'}]\n",
            {"scheduled_at"},
        ),
    ],
)
def test_it_is_known_which_variables_of_the_time_jobs_use(
    folder: Folder, text: str, used: set[str]
) -> None:
    folder.write("p.txt", "on {{ date }}")
    manifest, names = _at(folder, text), set[str]()
    assert all(isinstance(item, JobSpec) for item in expand(manifest, note_names=names.update))
    assert time_variables_in(manifest, names) == used


def test_the_manifests_own_variables_are_the_first_that_a_message_names(folder: Folder) -> None:
    text = "vars: {brand: Acme}\njobs: [{name: a, prompt: '{{ qqqqqq }}'}]\n"
    (problem,) = expand(_at(folder, text))
    assert isinstance(problem, Problem)
    assert problem.hint == "available: brand, repeat, date, week, month, scheduled_at"


def test_a_variable_of_the_time_can_not_be_set_from_outside(folder: Folder) -> None:
    with pytest.raises(ManifestError, match="--var date: the manifest has no such variable"):
        load_manifest(folder.write("m.yaml", HEAD + JOBS), overrides={"date": "x"})


def _jobs(manifest: Manifest) -> list[Any]:
    items = list(expand(manifest))
    assert [str(item) for item in items if isinstance(item, Problem)] == []
    return items
