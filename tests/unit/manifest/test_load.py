"""A manifest file is read and its shape checked; all that is wrong comes at once, in the manifest's
own words."""

from __future__ import annotations

import hashlib
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.errors import ManifestError, Place
from crucible_batch.manifest import load_manifest
from tests.harness.case_table import each_case

HEAD = "version: 1\nname: test\nworkflow: z\n"  # what `folder` writes first: three lines
JOBS = "jobs: [{name: a, prompt: p}]\n"
COMPLETE = """\
version: 1
name: spring.Campaign_1-a
workflow: z
params: {size.width: 1024}
workflows:
  q: {params: {sampler.steps: 20}, fields: {prompt: p.text, image: i.image}}
budget: {credits: 250, max_credits_per_job: "4.50"}
vars: {brand: Acme}
matrix: {style: [noir]}
jobs:
  - {name: a, prompt: p}
  - {name: b, workflow: q}
output: {path: "{workflow}/{name}{ext}"}
retry: {attempts: 5, never: [NSFW]}
assets: {cleanup: on_success}
provenance: {sidecar: false, embed: true}
duplicates: once
"""


def test_a_complete_manifest_is_what_its_author_wrote(folder: Any) -> None:
    manifest = folder.load(COMPLETE)
    assert manifest.name == "spring.Campaign_1-a"
    assert manifest.path == folder.path / "manifest.yaml"
    assert manifest.directory == folder.path
    assert manifest.sha256 == hashlib.sha256(COMPLETE.encode()).hexdigest()
    assert (manifest.header.workflow, manifest.header.params) == ("z", {"size.width": 1024})
    assert manifest.header.workflows["q"].params == {"sampler.steps": 20}
    assert (
        manifest.header.workflows["q"].fields.prompt,
        manifest.header.workflows["q"].fields.image,
    ) == (
        "p.text",
        "i.image",
    )
    assert manifest.header.budget.credits == Decimal(250)
    assert manifest.header.budget.max_credits_per_job == Decimal("4.50")
    assert manifest.vars == {"brand": "Acme"}
    assert manifest.header.output.path == "{workflow}/{name}{ext}"
    assert (manifest.header.retry.attempts, manifest.header.retry.never) == (5, ["NSFW"])
    assert (manifest.header.duplicates, manifest.header.assets.cleanup) == ("once", "on_success")
    assert (manifest.header.provenance.sidecar, manifest.header.provenance.embed) == (False, True)
    assert [entry.job.name for entry in manifest.jobs] == ["a", "b"]
    assert manifest.warnings == ()


def test_what_is_left_out_has_defaults(folder: Any) -> None:
    manifest = folder.load(JOBS)
    assert manifest.header.budget.credits is None
    assert manifest.header.budget.max_credits_per_job is None
    assert manifest.header.output.path == "{name}/{index}{ext}"
    assert (
        manifest.header.retry.attempts,
        manifest.header.retry.never,
        manifest.header.duplicates,
    ) == (3, [], "error")
    assert manifest.header.assets.cleanup == "never"
    assert (manifest.header.provenance.sidecar, manifest.header.provenance.embed) == (False, False)


def test_the_order_of_keys_is_free(folder: Any) -> None:
    turned = "jobs: [{prompt: p, name: a}]\nworkflow: z\nname: test\nversion: 1\n"
    assert folder.job(turned).name == folder.job(JOBS).name


WRONG: list[tuple[str, int, int, str, str, str | None]] = [
    # manifest (lines from 4 on where HEAD goes before), line, column, field, message, nearest
    ("version: 1\nworkflow: z\n" + JOBS, 1, 1, "name", "`name` is missing", None),
    ("name: a\n#version:\n" + JOBS, 1, 1, "version", "`version` is missing", None),
    ("version: 2\nname: a\nworkflow: z\n" + JOBS, 1, 10, "version", "must be 1", None),
    ("version: '1'\nname: a\nworkflow: z\n" + JOBS, 1, 10, "version", "must be 1", None),
    ("version: true\nname: a\nworkflow: z\n" + JOBS, 1, 10, "version", "must be 1", None),
    ("version: 1\nname: 5\nworkflow: z\n" + JOBS, 2, 7, "name", "must be text, got 5", None),
    (
        "version: 1\nname: a/b\nworkflow: z\n" + JOBS,
        2,
        7,
        "name",
        "'a/b' must consist of letters",
        None,
    ),
    (
        "version: 1\nname: -a\nworkflow: z\n" + JOBS,
        2,
        7,
        "name",
        "'-a' must consist of letters",
        None,
    ),
    ("version: 1\nname: .a\nworkflow: z\n" + JOBS, 2, 7, "name", "begin with a letter", None),
    ("version: 1\nname: ..\nworkflow: z\n" + JOBS, 2, 7, "name", "begin with a letter", None),
    (
        'version: 1\nname: "a\\n"\nworkflow: z\n' + JOBS,
        2,
        7,
        "name",
        "must consist of letters",
        None,
    ),
    ("version: 1\nname: ä\nworkflow: z\n" + JOBS, 2, 7, "name", "must consist of letters", None),
    ("version: 1\nname:\nworkflow: z\n" + JOBS, 2, 6, "name", "is empty; set a value", None),
    (
        f"version: 1\nname: {'a' * 101}\nworkflow: z\n{JOBS}",
        2,
        7,
        "name",
        "longer than 100 characters",
        None,
    ),
    (JOBS + "bugdet: {credits: 1}", 5, 1, "bugdet", "unknown key 'bugdet'", "budget"),
    (JOBS + "JOBS: []", 5, 1, "JOBS", "unknown key 'JOBS'", "jobs"),
    (JOBS + "xyzzy: 1", 5, 1, "xyzzy", "unknown key 'xyzzy'", None),
    (JOBS + "budget: {credit: 1}", 5, 10, "budget.credit", "unknown key 'credit'", "credits"),
    (JOBS + "budget: [250]", 5, 9, "budget", "must be a", None),
    (JOBS + "budget: {credits: 0}", 5, 19, "budget.credits", "must be greater than 0", None),
    (JOBS + "budget: {credits: -1.5}", 5, 19, "budget.credits", "must be greater than 0", None),
    (
        JOBS + "budget: {credits: lots}",
        5,
        19,
        "budget.credits",
        "must be a number of credits",
        None,
    ),
    (
        JOBS + "budget: {credits: 'NaN'}",
        5,
        19,
        "budget.credits",
        "must be a number of credits",
        None,
    ),
    (
        JOBS + "budget: {credits: 'Infinity'}",
        5,
        19,
        "budget.credits",
        "must be a number of credits",
        None,
    ),
    (
        JOBS + "budget: {credits: '1_0'}",
        5,
        19,
        "budget.credits",
        "must be a number of credits",
        None,
    ),
    (JOBS + "budget: {credits: '٣'}", 5, 19, "budget.credits", "must be a number of credits", None),
    (
        JOBS + "budget: {credits: true}",
        5,
        19,
        "budget.credits",
        "must be a number of credits",
        None,
    ),
    (JOBS + "budget: {credits: [1]}", 5, 19, "budget.credits", "must be a number of credits", None),
    (JOBS + "budget: {credits: }", 5, 19, "budget.credits", "is empty", None),
    (JOBS + "budget: {credits: '1e999999999'}", 5, 19, "budget.credits", "at most 10^12", None),
    (
        JOBS + "budget: {credits: 0.12345678901234567}",
        5,
        19,
        "budget.credits",
        "put it in quotes",
        None,
    ),
    (JOBS + "budget: {credits: 1e-19}", 5, 19, "budget.credits", "at most 18 decimal places", None),
    (
        JOBS + "budget: {credits: '2.0000000000000000000'}",
        5,
        19,
        "budget.credits",
        "at most 18 decimal places",
        None,
    ),
    (JOBS + "workflows: {q: {parms: {}}}", 5, 17, "workflows.q.parms", "unknown key", "params"),
    (
        JOBS + "workflows: {q: {fields: {promt: a}}}",
        5,
        26,
        "workflows.q.fields.promt",
        "unknown key",
        "prompt",
    ),
    (JOBS + "workflows: {q: 5}", 5, 16, "workflows.q", "must be a mapping", None),
    (JOBS + "params: [a]", 5, 9, "params", "must be a mapping, got a list", None),
    (JOBS + "params:", 5, 8, "params", "is empty", None),
    (JOBS + "vars: {a-b: 1}", 5, 8, "vars.a-b", "a valid template variable", None),
    (JOBS + "vars: {1a: 1}", 5, 8, "vars.1a", "a valid template variable", None),
    (
        JOBS + "matrix: {style: noir}",
        5,
        17,
        "matrix.style",
        "must be a list, got the text 'noir'",
        None,
    ),
    (JOBS + "matrix: {style: []}", 5, 17, "matrix.style", "is an empty list", None),
    (JOBS + "output: {paht: a}", 5, 10, "output.paht", "unknown key", "path"),
    (JOBS + "retry: {attempts: 0}", 5, 19, "retry.attempts", "must be at least 1", None),
    (JOBS + "retry: {attempts: 101}", 5, 19, "retry.attempts", "must be at most 100", None),
    (JOBS + "retry: {attempts: 2.0}", 5, 19, "retry.attempts", "must be an integer, got 2.0", None),
    (
        JOBS + "retry: {attempts: '3'}",
        5,
        19,
        "retry.attempts",
        "must be an integer, got the text '3'",
        None,
    ),
    (
        JOBS + "retry: {attempts: true}",
        5,
        19,
        "retry.attempts",
        "must be an integer, got true",
        None,
    ),
    (
        JOBS + "retry: {never: NSFW}",
        5,
        16,
        "retry.never",
        "must be a list, got the text 'NSFW'",
        None,
    ),
    (JOBS + "retry: {never: [5]}", 5, 17, "retry.never[0]", "must be text, got 5", None),
    (
        JOBS + "assets: {cleanup: always}",
        5,
        19,
        "assets.cleanup",
        "must be 'never' or 'on_success'",
        None,
    ),
    (
        JOBS + "provenance: {embed: sometimes}",
        5,
        21,
        "provenance.embed",
        "must be true or false",
        None,
    ),
    (JOBS + "provenance: {sidecars: true}", 5, 14, "provenance.sidecars", "unknown key", "sidecar"),
    (JOBS + "assets: {clean: never}", 5, 10, "assets.clean", "unknown key", "cleanup"),
    (JOBS + "duplicates: twice", 5, 13, "duplicates", "must be 'error', 'once' or 'each'", None),
    ("", 1, 1, "jobs", "`jobs` is missing", None),
    ("jobs: []", 4, 7, "jobs", "is empty; add a job", None),
    ("jobs:", 4, 6, "jobs", "is empty; add a job", None),
    ("jobs: {name: a}", 4, 7, "jobs", "must be a list of jobs, got a mapping", None),
    ("jobs: [hero]", 4, 8, "jobs[0]", "must be a mapping, got the text 'hero'", None),
    ("jobs: [{prompt: p}]", 4, 8, "jobs[0].name", "`name` is missing", None),
    ("jobs: [{name: ''}]", 4, 15, "jobs[0].name", "is empty", None),
    ("jobs: [{name: 7}]", 4, 15, "jobs[0].name", "must be text, got 7", None),
    ("jobs: [{name: a, promt: p}]", 4, 18, "jobs[0].promt", "unknown key 'promt'", "prompt"),
    ("jobs: [{name: a, Prompt: p}]", 4, 18, "jobs[0].Prompt", "unknown key 'Prompt'", "prompt"),
    ("jobs: [{name: a, prompt: }]", 4, 26, "jobs[0].prompt", "is empty", None),
    (
        "jobs: [{name: a, prompt: {{ x }}}]",
        4,
        27,
        "jobs[0].prompt",
        "a key must be plain text",
        None,
    ),
    ("jobs: [{name: a, prompt: [x]}]", 4, 26, "jobs[0].prompt", "must be text, got a list", None),
    ("jobs: [{name: a, image: 5.5}]", 4, 25, "jobs[0].image", "must be text, got 5.5", None),
    (
        "jobs: [{name: a, images: [x]}]",
        4,
        26,
        "jobs[0].images",
        "must be a mapping, got a list",
        None,
    ),
    ("jobs: [{name: a, images: {m: 5}}]", 4, 30, "jobs[0].images.m", "must be text", None),
    (
        "jobs: [{name: a, workflow: true}]",
        4,
        28,
        "jobs[0].workflow",
        "must be text, got true",
        None,
    ),
    ("jobs: [{name: a, matrix: }]", 4, 26, "jobs[0].matrix", "is empty", None),
    ("jobs: [{name: a, zip: {x: []}}]", 4, 27, "jobs[0].zip.x", "is an empty list", None),
    ("jobs: [{name: a, foreach: [x]}]", 4, 27, "jobs[0].foreach", "must be text", None),
    ("jobs: [{name: a, repeat: 0}]", 4, 26, "jobs[0].repeat", "must be at least 1", None),
    (
        "jobs: [{name: a, repeat: 1.5}]",
        4,
        26,
        "jobs[0].repeat",
        "must be an integer, got 1.5",
        None,
    ),
    (
        f"jobs: [{{name: a, repeat: {'x' * 99}}}]",
        4,
        26,
        "jobs[0].repeat",
        f"got the text '{'x' * 40}'...",
        None,
    ),
    (
        'jobs: [{name: a, repeat: "\\e[2J"}]',
        4,
        26,
        "jobs[0].repeat",
        "got the text '\\x1b[2J'",
        None,
    ),
    (
        "jobs: [{name: a, fields: {mask: x}}]",
        4,
        27,
        "jobs[0].fields.mask",
        "unknown key 'mask'",
        None,
    ),
]


@each_case("text, line, column, field, message, nearest", WRONG)
def test_what_is_wrong_has_its_place_its_field_and_a_reason(
    folder: Any, text: str, line: int, column: int, field: str, message: str, nearest: str | None
) -> None:
    if "{{ x }}" in text:
        field = ""  # a mistake of YAML itself: there are no fields yet
    if text.startswith(("name: a\n", "version:")):
        path = folder.write("manifest.yaml", text)
        with pytest.raises(ManifestError) as caught:
            load_manifest(path)
        problem = caught.value.problems[0]
    else:
        problem = folder.problem(text)
    assert message in problem.message
    assert problem.field == field
    assert problem.place == Place(folder.path / "manifest.yaml", line, column)
    assert problem.nearest == nearest


@each_case(
    "text, hint",
    [
        ("jobs: [{name: 7}]", "put it in quotes if it is text"),
        ("jobs: [{name: a, prompt: {x: }}]", "a value that begins with {{ must be in quotes"),
        (JOBS + "matrix: {style: noir}", "write [one, two]"),
    ],
)
def test_what_is_wrong_says_what_to_do(folder: Any, text: str, hint: str) -> None:
    assert hint in (folder.problem(text).hint or "")


@each_case("text, value", [("250", "250"), ("0.1", "0.1"), ("1e3", "1000"), ("'2.50'", "2.50")])
def test_credits_are_exact(folder: Any, text: str, value: str) -> None:
    assert folder.load(JOBS + f"budget: {{credits: {text}}}").header.budget.credits == Decimal(
        value
    )


@each_case("text", ["[a, b]", "just text", "5", "null"])
def test_a_manifest_is_a_mapping(folder: Any, text: str) -> None:
    with pytest.raises(ManifestError, match="a manifest must be a mapping"):
        load_manifest(folder.write("manifest.yaml", text))


def test_all_problems_of_form_come_at_once_and_those_of_rendering_once_the_form_is_right(
    folder: Any,
) -> None:
    text = (
        "bugdet: 1\nvars: {brand: A}\njobs:\n"
        "  - {name: a, prompt: '{{ brnad }}'}\n"
        "  - {name: b, repeat: 0}\n"
        "  - {name: c, image: gone.jpg}\n"
        "  - {name: C}\n"
    )
    found = folder.problems(text)
    assert [(problem.place.line, problem.field) for problem in found] == [
        (4, "bugdet"),
        (8, "jobs[1].repeat"),
    ]
    found = folder.problems(text.replace("bugdet: 1\n", "").replace("repeat: 0", "repeat: 1"))
    assert [(problem.place.line, problem.field) for problem in found] == [
        (6, "jobs[0].prompt"),
        (8, "jobs[2].image"),
        (9, "jobs[3].name"),
    ]


@each_case(
    "text",
    [
        "jobs: [{name: a, repeat: .nan}]",
        "jobs: [{name: a, repeat: *gone}]",
        "jobs: [{name: a, prompt: {{ x }}}]",
        "jobs: [{<<: {name: a}}]",
        "jobs: [{name: a, params: {size.batch_size: 1e999}}]",
        "jobs: [{name: a, matrix: {x: [*gone]}}]",
    ],
)
def test_a_problem_of_yaml_is_not_reported_again_as_one_of_shape(folder: Any, text: str) -> None:
    assert folder.problem(text).field == ""


def test_a_mistake_in_vars_has_no_echo_in_each_template(folder: Any) -> None:
    problem = folder.problem("var: {brand: A}\njobs: [{name: a, prompt: '{{ brand }}'}]")
    assert (problem.message, problem.nearest) == ("unknown key 'var'", "vars")


def test_a_hundred_problems_are_shown_and_the_rest_counted(folder: Any) -> None:
    with pytest.raises(ManifestError) as caught:
        folder.load("jobs:\n" + "  - {name: a, bad: 1}\n" * 150)
    assert len(caught.value.problems) == 100
    assert caught.value.omitted == 50
    assert str(caught.value).endswith("... and 50 more")


def test_the_default_workflow_or_the_jobs_own(folder: Any) -> None:
    text = "version: 1\nname: t\njobs:\n  - {name: a, workflow: w}\n  - {name: b}\n"
    problem = folder.problem(text)
    assert (problem.place.line, problem.field) == (5, "jobs[1].workflow")
    assert "has no workflow" in problem.message


def test_windows_line_ends_are_no_matter(folder: Any) -> None:
    job = folder.job(
        (HEAD + "jobs:\n  - name: a\n    prompt: |\n      one\n      two\n").replace("\n", "\r\n")
    )
    assert job.prompt == "one\ntwo\n"
    assert job.place("prompt").line == 6


def test_the_size_is_looked_at_before_reading(folder: Any) -> None:
    path = folder.write("big.yaml", HEAD + JOBS + "#" * 2000)
    with pytest.raises(ManifestError, match="the limit is 1,000") as caught:
        load_manifest(path, max_bytes=1000)
    assert caught.value.problems[0].place == Place(path)
    assert load_manifest(path, max_bytes=path.stat().st_size).name == "test"


def test_what_is_no_file_is_a_problem(folder: Any) -> None:
    os.mkfifo(folder.path / "pipe")
    for path, message in [
        (folder.path / "missing.yaml", "no such file"),
        (folder.path, "is a directory|not a regular file"),
        (folder.path / "pipe", "not a regular file"),
        (Path("/dev/zero"), "not a regular file"),
        (folder.path / ("x" * 300), "file name too long"),
        (Path("a\0b"), "NUL"),
    ]:
        with pytest.raises(ManifestError, match=message):
            load_manifest(path)


def test_a_wrong_path_of_a_manifest_has_a_hint(folder: Any) -> None:
    def hint_for(path: Path) -> str | None:
        with pytest.raises(ManifestError) as caught:
            load_manifest(path)
        return caught.value.problems[0].hint

    assert (
        hint_for(folder.path / "missing.yaml")
        == "crucible-batch init DIR creates a folder with an example manifest"
    )
    assert hint_for(folder.path) == "give the path of a manifest, a YAML file"
    folder.write("a/run/.crucible/journal.sqlite3", "")
    assert (
        hint_for(folder.path / "a/run")
        == "it is a run directory; give the manifest of the run, a YAML file"
    )
    usual = folder.write("manifest.yaml", HEAD + JOBS)
    assert hint_for(folder.path) == f"give the manifest in it: {usual}"


def test_overrides_win_over_vars_and_are_text(folder: Any) -> None:
    text = (
        "vars: {brand: Acme, count: 3}\n"
        "jobs: [{name: a, prompt: '{{ brand }}', params: {n: '{{ count }}'}}]"
    )
    job = folder.job(text, overrides={"brand": "Other", "count": "4"})
    assert (job.prompt, job.params) == ("Other", {"n": "4"})


def test_a_mistyped_key_excuses_no_bad_value_under_another(folder: Any) -> None:
    problems = folder.problems(JOBS + "budget: {credits: -5, max_credits: 4}")
    assert [(problem.field, problem.nearest) for problem in problems] == [
        ("budget.credits", None),
        ("budget.max_credits", "max_credits_per_job"),
    ]


@each_case(
    "key, nearest",
    [
        ("from_csv: a.csv", "foreach"),
        ("from_csv: '{{ brand }}'", "foreach"),
        ("CSV: [a, b]", "foreach"),
        ("rows: data/a.TSV", "foreach"),
    ],
)
def test_a_key_for_a_table_means_foreach(folder: Any, key: str, nearest: str) -> None:
    problem = folder.problem("vars: {brand: A}\njobs: [{name: 'a-{{ brand }}', " + key + "}]")
    assert (problem.message.partition(" '")[0], problem.nearest) == ("unknown key", nearest)


def test_an_unknown_override_is_a_problem_with_the_nearest_name(folder: Any) -> None:
    problem = folder.problem("vars: {brand: A}\n" + JOBS, overrides={"brnad": "B"})
    assert (problem.place.line, problem.nearest) == (4, "brand")
    assert problem.message == "--var brnad: the manifest has no such variable"
    assert "no `vars`" in (folder.problem(JOBS, overrides={"x": "1"}).hint or "")
    assert "not UTF-8" in folder.problem("vars: {a: 1}\n" + JOBS, overrides={"a": "\udcff"}).message


WARNINGS: list[tuple[str, int, str]] = [
    ("jobs: [{name: a, params: {x: no}}]", 4, "the text 'no'"),
    ("jobs: [{name: a, params: {x: 010}}]", 4, "the number 10"),
    ("params: {sampler.steps: 010}\n" + JOBS, 4, "the number 10"),
    ("jobs: [{name: a, params: {x: &steps -08}}]", 4, "the number -8"),
    ("vars: {a: '{{ b }}'}\n" + JOBS, 4, "is not rendered"),
    ("matrix: {a: ['{{ b }}']}\n" + JOBS, 4, "is not rendered"),
    ("jobs: [{name: a, zip: {x: ['{% y %}']}}]", 4, "is not rendered"),
    (JOBS + "workflows: {other: {}}", 5, "no job uses the workflow 'other'"),
]


@each_case("text, line, message", WARNINGS)
def test_what_may_be_meant_otherwise_is_a_warning(
    folder: Any, text: str, line: int, message: str
) -> None:
    (warning,) = folder.load(text).warnings
    assert message in warning.message
    assert warning.place.line == line
    assert warning.place.column > 1


def test_an_unused_workflow_names_the_one_that_may_be_meant(folder: Any) -> None:
    (warning,) = folder.load(
        "workflows: {qwen-edti: {}}\njobs: [{name: a, workflow: qwen-edit}]"
    ).warnings
    assert warning.nearest == "qwen-edit"


def test_warnings_are_bounded(folder: Any) -> None:
    assert len(folder.load(JOBS + "vars: {a: [" + "no," * 5000 + "]}").warnings) == 100


def test_nothing_of_the_environment_is_read(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOLTAZINE_API_KEY", "moltazine_secret")
    text = (
        "jobs: [{name: a, prompt: '${MOLTAZINE_API_KEY} $MOLTAZINE_API_KEY %MOLTAZINE_API_KEY%'}]"
    )
    assert "secret" not in str(folder.job(text))


@each_case(
    "key, hint",
    [
        ("xyzzy", "assets, budget, "),
        ("api_key", "a manifest has no API key: set MOLTAZINE_API_KEY"),
        ("Token", "a manifest has no API key: set MOLTAZINE_API_KEY"),
    ],
)
def test_an_unknown_key_that_is_near_no_known_one_gets_a_hint(
    folder: Any, key: str, hint: str
) -> None:
    with pytest.raises(ManifestError) as caught:
        folder.load(JOBS + f"{key}: 1")
    problem = caught.value.problems[0]
    assert (problem.nearest, hint in (problem.hint or "")) == (None, True)
