"""Whatever a manifest holds, it ends in problems, soon, and never in another exception."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crucible_batch.errors import ManifestError
from crucible_batch.manifest import JobSpec, expand, load_manifest
from tests.harness.case_table import each_case


@pytest.mark.parametrize(
    "text",
    [
        "jobs: [" + "[]," * 1000 + "]",
        "jobs: [{name: a, params: {" + ",".join(f"k{n}: 1" for n in range(500)) + "}}]",
        "jobs: [{name: a}]\njobs: [" + "[]," * 1000 + "]",
        "vars: {x: &x [" + "1," * 300 + "]}\njobs: [{name: a, params: {a: *x, b: *x, c: *x}}]",
    ],
    ids=["lists", "keys", "a key that stands twice", "aliases"],
)
def test_more_values_than_fit_in_memory_are_refused(
    folder: Any, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr("crucible_batch.manifest.yaml_reader.MAX_VALUES", 1000)
    problem = folder.problems(text, max_bytes=32_000)[-1]
    assert "more than 1,000 values" in problem.message
    assert ".csv or .jsonl" in (problem.hint or "")


def test_a_larger_size_permits_more_values(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crucible_batch.manifest.yaml_reader.MAX_VALUES", 100)
    text = "jobs:\n" + "".join(f"- {{name: a{n}}}\n" for n in range(200))
    assert "--max-manifest-size" in (folder.problem(text, max_bytes=4000).hint or "")
    assert len(folder.jobs(text, max_bytes=80_000)) == 200


def test_anchors_are_bounded(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crucible_batch.manifest.yaml_reader.MAX_ANCHORS", 10)
    text = "jobs: [{name: a, params: {x: [" + ",".join(f"&a{n} x" for n in range(11)) + "]}}]"
    assert "more than 10 anchors" in folder.problem(text).message


@each_case(
    "text",
    [
        'jobs: [{name: a, "\\e[31mx": 1}]',
        'jobs: [{name: a, image: "\\e[31mx"}]',
        'jobs: [{name: "\\e[31m/"}]',
        'jobs: [{name: a, prompt: "@\\e[31m"}]',
        'jobs: [{name: a, params: {"\\e[31m": "{{ x }}"}}]',
        'jobs: [{name: a, foreach: t.csv, prompt: "{{ row.x }}"}]',
        'jobs: [{name: a, foreach: t.csv, prompt: "{{ row.items() | list }}"}]',
        'jobs: [{name: a, foreach: "\\e[31m.csv"}]',
        'vars: {"\\e[31m": 1}\njobs: [{name: a}]',
        'output: {path: "{\\e[31m}"}\njobs: [{name: a}]',
        '"\\e[31m": 1\n"\\e[31m": 1\njobs: [{name: a}]',
    ],
)
def test_problems_cannot_steer_a_terminal(folder: Any, text: str) -> None:
    folder.write("t.csv", "n,\x1b[31m\n1,2\n")
    found = folder.problems(text)
    assert found
    for problem in found:
        assert "\x1b" not in str(problem)


FIELDS = [
    "name",
    "prompt",
    "image",
    "images",
    "workflow",
    "params",
    "matrix",
    "zip",
    "foreach",
    "repeat",
    "fields",
    "x",
]
scalars = st.sampled_from(
    [
        "a",
        "{{ x }}",
        "{{ row.n }}",
        "@t.csv",
        "@@x",
        "t.csv",
        "*",
        "..",
        "a/b",
        "{{",
        "{% if %}",
        "",
        "é",
        "\u202e",
    ]
) | st.one_of(
    st.none(), st.booleans(), st.integers(-2, 3), st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["x", "row", "prompt", "image", "a.b", "size.batch_size"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)
entries = st.dictionaries(st.sampled_from(FIELDS), values, max_size=6) | values
documents = st.fixed_dictionaries(
    {"version": st.just(1), "name": st.just("t"), "jobs": st.lists(entries, max_size=3) | values},
    optional=dict.fromkeys(
        ("workflow", "params", "workflows", "budget", "vars", "matrix", "output", "retry", "y"),
        values,
    ),
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(documents)
def test_no_manifest_makes_anything_else_than_jobs_and_problems(folder: Any, document: Any) -> None:
    import json

    folder.write("t.csv", "n\n1\n")
    path = folder.write("m/manifest.yaml", json.dumps(document))
    try:
        manifest = load_manifest(path, max_jobs=50)
    except ManifestError:
        return
    first = list(expand(manifest))
    assert first == list(expand(manifest))
    names = [item.name.casefold() for item in first if isinstance(item, JobSpec)]
    assert len(names) == len(set(names))
