"""Whatever a manifest holds, it ends in problems, soon, and never in another exception."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crucible_batch.errors import ManifestError, Problem
from crucible_batch.manifest import JobSpec, expand, load_manifest
from tests.case_table import each_case

HEAD = "version: 1\nname: test\nworkflow: z\n"
JOB = HEAD + "jobs:\n  - name: a\n"

HOSTILE: dict[str, str | bytes] = {
    "deep lists": HEAD + "jobs: " + "[" * 100_000,
    "deep mappings": HEAD + "jobs: " + "{a: " * 50_000,
    "deep blocks": "\n".join("  " * n + "a:" for n in range(3000)),
    "deep dashes": "- " * 50_000 + "a",
    "long flow keys": HEAD + "? " * 20_000,
    "billion laughs": HEAD
    + "x0: &x0 [lol]\n"
    + "".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]\n" for n in range(1, 12)),
    "aliases in jobs": HEAD + "params: &p {a: [" + "1, " * 1000 + "1]}\njobs:\n" + "  - {name: a, params: *p}\n" * 500,
    "self reference": HEAD + "jobs: &j [*j]",
    "python tag": HEAD + "jobs: !!python/object/apply:os.system ['touch /tmp/pwned']",
    "binary tag": JOB + "    prompt: !!binary aGVsbG8=",
    "huge integer": JOB + "    repeat: " + "9" * 100_000,
    "huge hexadecimal": JOB + "    repeat: 0x" + "f" * 100_000,
    "huge exponent": JOB + "    params: {x: 1e99999999}",
    "huge credits": JOB + "budget: {credits: '1e99999999'}",
    "many digits of credits": JOB + "budget: {credits: '" + "9" * 100_000 + "'}",
    "nan": JOB + "    params: {x: .nan}",
    "nul": JOB + "    prompt: a\0b",
    "escape": JOB + "    prompt: a\x1b[31mb",
    "surrogate escape": JOB + '    prompt: "\\ud800"',
    "raw surrogate": JOB.encode() + b"    prompt: \xed\xa0\x80",
    "latin 1": JOB.encode() + b"    prompt: \xe9",
    "utf 16": (HEAD + "jobs: []").encode("utf-16"),
    "only a mark": b"\xef\xbb\xbf",
    "empty": b"",
    "zeros": b"\0" * 10_000,
    "png": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 10,
    "duplicate keys": JOB + "name: again\n" * 5000,
    "unknown keys": JOB + "".join(f"key{n}: 1\n" for n in range(20_000)),
    "many bad jobs": HEAD + "jobs:\n" + "  - {nmae: a}\n" * 20_000,
    "jobs of one name": HEAD + "jobs:\n" + "  - {name: a}\n" * 20_000,
    "long key": JOB + "    params: {? " + "k" * 100_000 + " : 1}\n    " + "k" * 50_000 + ": 1\n",
    "template bomb": JOB + "    prompt: \"{{ 'a' * 10**9 }}\"",
    "template loop": JOB + "    prompt: '" + "{% for i in range(9999) %}" * 5 + "x" + "{% endfor %}" * 5 + "'",
    "template nesting": JOB + "    prompt: '{{ " + "(" * 5000 + " }}'",
    "many templates": HEAD + "jobs:\n" + "".join(f"  - {{name: a{n}, prompt: '{{{{ x{n} }}}}'}}\n" for n in range(500)),
    "bomb in each of many jobs": JOB + "    foreach: t.csv\n    prompt: \"{{ 'a' * 10**9 }}\"",
    "slow template in many jobs": JOB
    + "    foreach: t.csv\n    prompt: '{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}'",
    "giant matrix": JOB + "    matrix: {" + ", ".join(f"x{n}: [{'1, ' * 500}1]" for n in range(30)) + "}",
    "giant repeat": JOB + "    repeat: 99999999999999999999",
    "device": JOB + "    image: /dev/zero",
    "device as prompt": JOB + "    prompt: '@/dev/zero'",
    "device as rows": JOB + "    foreach: /dev/zero.csv",
    "the key": JOB + "    image: ../../../../../../root/.ssh/id_rsa",
    "escaping glob": JOB + "    foreach: '/**/*'",
    "regular trouble": JOB + "    name: '" + "-" * 30_000 + "'",
    "name of slashes": HEAD + "jobs: [{name: '" + "../" * 1000 + "'}]",
    "nested params": JOB + "    params: {x: " + "[" * 35 + "'{{ y }}'" + "]" * 35 + "}",
}


def outcome(path: Path) -> list[Problem]:
    try:
        return [item for item in expand(load_manifest(path)) if isinstance(item, Problem)]
    except ManifestError as error:
        return list(error.problems)


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
def test_more_values_than_fit_in_memory_are_refused(folder: Any, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
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


@each_case("name", HOSTILE)
def test_a_hostile_manifest_ends_in_problems_and_soon(folder: Any, name: str) -> None:
    folder.write("t.csv", "n\n" + "1\n" * 1000)
    path = folder.write("manifest.yaml", HOSTILE[name])
    started = time.process_time()
    problems = outcome(path)
    assert time.process_time() - started < 20  # at most a second; the machine may be slow
    assert 0 < len(problems) <= 20_000
    assert all(len(str(problem)) < 3000 for problem in problems)


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
    ["a", "{{ x }}", "{{ row.n }}", "@t.csv", "@@x", "t.csv", "*", "..", "a/b", "{{", "{% if %}", "", "é", "\u202e"]
) | st.one_of(st.none(), st.booleans(), st.integers(-2, 3), st.floats(allow_nan=False, allow_infinity=False))
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["x", "row", "prompt", "image", "a.b", "size.batch_size"]), inner, max_size=3)
    ),
    max_leaves=6,
)
entries = st.dictionaries(st.sampled_from(FIELDS), values, max_size=6) | values
documents = st.fixed_dictionaries(
    {"version": st.just(1), "name": st.just("t"), "jobs": st.lists(entries, max_size=3) | values},
    optional=dict.fromkeys(
        ("workflow", "params", "workflows", "budget", "vars", "matrix", "output", "retry", "y"), values
    ),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=4),
    st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=3),
    st.integers(1, 3),
)
def test_names_of_an_expansion_are_unique_and_safe(folder: Any, one: list[str], two: list[str], repeat: int) -> None:
    import json

    job = {"name": "{{ a }}", "matrix": {"a": one, "b": two}, "repeat": repeat}
    document = {"version": 1, "name": "t", "workflow": "z", "jobs": [job]}
    path = folder.write("manifest.yaml", json.dumps(document))
    try:
        items = list(expand(load_manifest(path)))
    except ManifestError:
        return  # a character that YAML refuses
    made = [item for item in items if isinstance(item, JobSpec)]
    assert len(made) + sum(isinstance(item, Problem) for item in items) == len(items)
    assert len({item.name.casefold() for item in made}) == len(made)
    for item in made:
        assert not set(item.name) & set('/\\:*?"<>|\0\n')
        assert len(item.name.encode()) <= 120
