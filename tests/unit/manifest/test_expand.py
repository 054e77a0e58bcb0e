"""A manifest expands into jobs in its order, each named, placed and made as its author wrote."""

from __future__ import annotations

from typing import Any

from crucible_batch.errors import Place, Problem
from tests.harness.case_table import each_case

CSV = "sku,title,seed\na1,Vase,7\nb2,Cup,8\n"


def names(folder: Any, text: str) -> list[str]:
    return [job.name for job in folder.jobs(text)]


ORDER: list[tuple[str, list[str]]] = [
    ("jobs: [{name: b}, {name: a}]", ["b", "a"]),
    ("jobs: [{name: a, repeat: 3}]", ["a-1", "a-2", "a-3"]),
    ("jobs: [{name: a, repeat: 1}]", ["a"]),
    ("jobs: [{name: a, matrix: {x: [2, 1], y: [b, a]}}]", ["a-2-b", "a-2-a", "a-1-b", "a-1-a"]),
    ("jobs: [{name: a, matrix: {y: [b, a], x: [2, 1]}}]", ["a-b-2", "a-b-1", "a-a-2", "a-a-1"]),
    ("jobs: [{name: a, zip: {x: [1, 2], y: [b, a]}}]", ["a-1-b", "a-2-a"]),
    (
        "jobs: [{name: a, zip: {z: [p, q]}, matrix: {x: [1, 2]}, repeat: 2}]",
        ["a-1-p-1", "a-1-p-2", "a-1-q-1", "a-1-q-2", "a-2-p-1", "a-2-p-2", "a-2-q-1", "a-2-q-2"],
    ),
    (
        "jobs: [{name: a, foreach: t.csv, matrix: {x: [1, 2]}, repeat: 2}]",
        ["a-1-1-1", "a-1-1-2", "a-2-1-1", "a-2-1-2", "a-1-2-1", "a-1-2-2", "a-2-2-1", "a-2-2-2"],
    ),
    ("matrix: {x: [1, 2]}\njobs: [{name: a}, {name: b}]", ["a-1", "a-2", "b-1", "b-2"]),
    (
        "matrix: {x: [1, 2]}\njobs: [{name: a, matrix: {y: [3]}}, {name: b, matrix: {}}]",
        ["a-3", "b"],
    ),
    ("matrix: {x: [1, 2]}\njobs: [{name: a, zip: {y: [3]}}]", ["a-1-3", "a-2-3"]),
]


@each_case("text, expected", ORDER)
def test_order_is_rows_then_matrix_then_zip_then_repeat(
    folder: Any, text: str, expected: list[str]
) -> None:
    folder.write("t.csv", CSV)
    assert names(folder, text) == expected


NAMES: list[tuple[str, list[str]]] = [
    ("jobs: [{name: 'x-{{ s }}', matrix: {s: [a, b]}}]", ["x-a", "x-b"]),
    (
        "jobs: [{name: 'x-{{ s }}', matrix: {s: [a, b], t: [Old Noir]}}]",
        ["x-a-old-noir", "x-b-old-noir"],
    ),
    (
        "jobs: [{name: x, matrix: {s: [1.5, -2, true, 'Ünder way!']}}]",
        ["x-1.5", "x--2", "x-true", "x-ünder-way"],
    ),
    ("jobs: [{name: 'x-{{ row.sku }}', foreach: t.csv}]", ["x-a1", "x-b2"]),
    ("jobs: [{name: 'x-{{ row[\"sku\"] | upper }}', foreach: t.csv}]", ["x-A1", "x-B2"]),
    ("jobs: [{name: x, foreach: t.csv}]", ["x-1", "x-2"]),
    (
        "jobs: [{name: 'x-{{ brand }}', foreach: t.csv}]\nvars: {brand: Acme}",
        ["x-Acme-1", "x-Acme-2"],
    ),
    ('jobs: [{name: \'{{ "y" if repeat == 1 else "z" }}\', repeat: 2}]', ["y-1", "z-2"]),
]


@each_case("text, expected", NAMES)
def test_names_hold_what_their_template_leaves_out(
    folder: Any, text: str, expected: list[str]
) -> None:
    folder.write("t.csv", CSV)
    assert names(folder, text) == expected


@each_case(
    "name, message",
    [
        ("'{{ v }}/x'", "contains /; folders are set in `output.path`"),
        ("'a\\b'", "contains \\"),
        ("'{{ \"a\\u0000\" }}'", "contains NUL"),
        ("'.'", "denotes a directory"),
        ("'{{ \"..\" }}'", "denotes a directory"),
        ("'{{ \"\" }}'", "is empty after rendering"),
        ("'  '", "is empty after rendering"),
    ],
)
def test_names_that_no_replacement_would_save_are_refused(
    folder: Any, name: str, message: str
) -> None:
    problem = folder.problem(f"vars: {{v: a}}\njobs:\n  - prompt: p\n    name: {name}\n")
    assert message in problem.message
    assert (problem.place.line, problem.place.column, problem.field) == (7, 11, "jobs[0].name")


def test_the_hint_of_an_equal_name_explains_another_spelling(folder: Any) -> None:
    hint = folder.problem("jobs:\n  - {name: a}\n  - {name: a}\n").hint
    assert hint == "give one of them another name"
    other = folder.problem("jobs:\n  - {name: a}\n  - {name: A}\n").hint
    assert (
        other
        == f"{hint}; 'a' counts as the same name, since a file system may not distinguish them"
    )


@each_case(
    "text, line, message",
    [
        (
            "jobs:\n  - {name: a}\n  - {name: a}\n",
            6,
            "'a' is already used by the job at line 5, column 12",
        ),
        ("jobs:\n  - {name: a}\n  - {name: A}\n", 6, "'A' is already used"),
        ("jobs:\n  - {name: straße}\n  - {name: STRASSE}\n", 6, "'STRASSE' is already used"),
        (
            "jobs:\n  - {name: a1}\n  - {name: a, matrix: {x: [1]}}\n  - {name: a-1}\n",
            7,
            "'a-1' is already used",
        ),
        ("jobs:\n  - {name: ﬁn}\n  - {name: fin}\n", 6, "'fin' is already used"),
        (
            "jobs:\n  - {name: a, matrix: {x: [Noir, noir]}}\n",
            5,
            "two jobs of this entry are named 'a-noir'",
        ),
        (
            "jobs:\n  - {name: '{{ row.sku[0] }}', foreach: t.csv}\n",
            5,
            "two jobs of this entry are named 'a': row 1 of t.csv, line 2; row 2 of t.csv, line 3",
        ),
        (
            (
                "jobs:\n"
                "  - {name: '{{ row.sku[0] }}', foreach: one.csv, matrix: {x: [1]}}\n"
                "  - {name: a-1}\n"
            ),
            6,
            (
                "the name 'a-1' is already used by the job at line 5, column 12, "
                "row 1 of one.csv, line 4"
            ),
        ),
        (
            "jobs:\n  - {name: a}\n  - {name: '{{ row.sku[0] }}', foreach: one.csv}\n",
            6,
            (
                "the name 'a' of row 1 of one.csv, line 4 "
                "is already used by the job at line 5, column 12"
            ),
        ),
    ],
)
def test_no_two_jobs_have_one_name(folder: Any, text: str, line: int, message: str) -> None:
    folder.write("t.csv", "sku\na1\na2\n")
    folder.write("one.csv", '"sku"\n\n\na1\n')
    problem = folder.problem(text)
    assert message in problem.message
    assert problem.place.line == line
    assert problem.field.endswith(".name")


def test_of_two_rows_with_one_name_the_second_is_shown(folder: Any) -> None:
    """A row's number counts records, its line is where it begins: cells may hold line breaks."""
    table = folder.write("t.csv", 'sku,text\na,"one\ntwo"\nb,x\na,y\n')
    problem = folder.problem("jobs:\n  - {name: '{{ row.sku }}', foreach: t.csv}\n")
    assert (
        problem.message
        == "two jobs of this entry are named 'a': row 1 of t.csv, line 2; row 3 of t.csv, line 5"
    )
    assert problem.row == Place(table, 5)


def test_a_job_is_complete(folder: Any) -> None:
    folder.write("t.csv", CSV)
    photo = folder.write("photos/a1.jpg")
    folder.write("photos/b2.jpg")
    mask = folder.write("mask.png")
    job = folder.jobs(
        "vars: {brand: Acme}\n"
        "workflows: {q: {params: {sampler.steps: 20, tag: default}, "
        "fields: {prompt: p.text, image: i.i}}}\n"
        "jobs:\n"
        "  - name: 'sku-{{ row.sku }}'\n"
        "    foreach: t.csv\n"
        "    workflow: q\n"
        "    prompt: '{{ row.title }} by {{ brand }}, {{ style }}'\n"
        "    image: 'photos/{{ row.sku }}.jpg'\n"
        "    images: {mask.image: mask.png}\n"
        "    params: {sampler.seed: '{{ row.seed | int }}', tag: '{{ style }}'}\n"
        "    fields: {prompt: other.text}\n    matrix: {style: [noir]}\n"
        "output: {path: '{workflow}/{name}/{index}{ext}'}\n"
    )[0]
    assert (job.name, job.workflow_id, job.prompt) == ("sku-a1-noir", "q", "Vase by Acme, noir")
    assert (job.image, job.images) == (photo, {"mask.image": mask})
    assert job.params == {"sampler.steps": 20, "tag": "noir", "sampler.seed": 7}
    assert job.fields == {"prompt": "other.text", "image": "i.i"}
    assert (job.repeat, job.made_for and job.made_for.number, job.axes) == (1, 1, {"style": "noir"})
    assert job.output_pattern == "q/sku-a1-noir/{index}{ext}"


def test_a_bare_job_has_nothing_else(folder: Any) -> None:
    job = folder.job("jobs: [{name: a}]")
    assert (job.prompt, job.image, job.images, job.params, job.fields, job.axes) == (
        None,
        None,
        {},
        {},
        {},
        {},
    )
    assert (job.workflow_id, job.repeat, job.made_for, job.output_pattern) == (
        "z",
        1,
        None,
        "a/{index}{ext}",
    )


def test_defaults_belong_to_a_workflow(folder: Any) -> None:
    one, two, three, four = folder.jobs(
        "params: {a: 1, b: 2}\n"
        "workflows: {q: {params: {a: 5}}, z: {params: {b: 3}}}\n"
        "jobs:\n  - {name: one}\n  - {name: two, workflow: q}\n  - {name: three, params: {a: 9}}\n"
        "  - {name: four, workflow: other}\n"
    )
    assert one.params == {"a": 1, "b": 3}
    assert two.params == {"a": 5}
    assert three.params == {"a": 9, "b": 3}
    assert four.params == {}


def test_a_jobs_own_literal_stands_in_place_of_a_default_that_is_rendered(folder: Any) -> None:
    job = folder.job("params: {s: '{{ 1 }}', t: '{{ 2 }}'}\njobs: [{name: a, params: {s: own}}]")
    assert job.params == {"s": "own", "t": 2}


def test_defaults_are_rendered_for_each_job(folder: Any) -> None:
    jobs = folder.jobs("params: {s: '{{ x }}', t: v}\njobs: [{name: a, matrix: {x: [1, two]}}]")
    assert [job.params for job in jobs] == [{"s": 1, "t": "v"}, {"s": "two", "t": "v"}]


def test_a_workflow_may_be_an_axis(folder: Any) -> None:
    jobs = folder.jobs(
        "workflows: {q: {params: {n: 1}}}\n"
        "jobs: [{name: a, workflow: '{{ model }}', matrix: {model: [q, z]}}]"
    )
    assert [(job.workflow_id, job.params) for job in jobs] == [("q", {"n": 1}), ("z", {})]


CLASHES: list[tuple[str, int, int, str, str]] = [
    # manifest, line, column, field, message
    ("vars: {row: 1}\njobs: [{name: a}]", 4, 8, "vars.row", "'row' is reserved in templates"),
    (
        "vars: {repeat: 1}\njobs: [{name: a}]",
        4,
        8,
        "vars.repeat",
        "'repeat' is reserved in templates",
    ),
    ("vars: {loop: 1}\njobs: [{name: a}]", 4, 8, "vars.loop", "'loop' is reserved in templates"),
    (
        "jobs: [{name: a, matrix: {row: [1]}}]",
        4,
        27,
        "jobs[0].matrix.row",
        "'row' is reserved in templates",
    ),
    (
        "jobs: [{name: a, zip: {repeat: [1]}}]",
        4,
        24,
        "jobs[0].zip.repeat",
        "'repeat' is reserved in templates",
    ),
    (
        "jobs: [{name: a, matrix: {'true': [1]}}]",
        4,
        27,
        "jobs[0].matrix.true",
        "is reserved in templates",
    ),
    (
        "vars: {x: 1}\nmatrix: {x: [1]}\njobs: [{name: a}]",
        5,
        10,
        "matrix.x",
        "'x' is both an axis and one of `vars`",
    ),
    (
        "vars: {x: 1}\njobs: [{name: a, matrix: {x: [1]}}]",
        5,
        27,
        "jobs[0].matrix.x",
        "is both an axis and one of `vars`",
    ),
    (
        "vars: {x: 1}\njobs: [{name: a, zip: {x: [1]}}]",
        5,
        24,
        "jobs[0].zip.x",
        "is both an axis and one of `vars`",
    ),
    (
        "jobs: [{name: a, matrix: {x: [1]}, zip: {x: [1]}}]",
        4,
        42,
        "jobs[0].zip.x",
        "in both `matrix` and `zip`",
    ),
    (
        "matrix: {x: [1]}\njobs: [{name: a, zip: {x: [1]}}]",
        5,
        24,
        "jobs[0].zip.x",
        "in both `matrix` and `zip`",
    ),
    (
        "jobs: [{name: a, zip: {x: [1, 2], y: [1]}}]",
        4,
        18,
        "jobs[0].zip",
        "must have the same length, got x 2, y 1",
    ),
    ("jobs: [{name: a, matrix: {x: [[1]]}}]", 4, 31, "jobs[0].matrix.x[0]", "got a list"),
    ("jobs: [{name: a, matrix: {x: [1, {b: 1}]}}]", 4, 34, "jobs[0].matrix.x[1]", "got a mapping"),
    ("jobs: [{name: a, matrix: {x: [null]}}]", 4, 31, "jobs[0].matrix.x[0]", "got nothing"),
    ("matrix: {x: [[]]}\njobs: [{name: a}]", 4, 14, "matrix.x[0]", "got a list"),
    (
        "version: 1\nname: t\nparams: {a: 1}\njobs: [{name: a, workflow: w}]",
        3,
        1,
        "params",
        "the default workflow, which is not set",
    ),
]


@each_case("text, line, column, field, message", CLASHES)
def test_what_does_not_fit_together_is_refused(
    folder: Any, text: str, line: int, column: int, field: str, message: str
) -> None:
    problem = folder.problem(text)
    assert message in problem.message
    assert (problem.place.line, problem.place.column, problem.field) == (line, column, field)


BATCHES: list[tuple[str, int, str]] = [
    ("params: {size.batch_size: 2}\njobs: [{name: a}]", 4, "params.size.batch_size"),
    (
        "workflows: {q: {params: {size.batch_size: 4}}}\njobs: [{name: a, workflow: q}]",
        4,
        "workflows.q.params.size",
    ),
    ("jobs: [{name: a, params: {size.batch_size: 0}}]", 4, "jobs[0].params.size.batch_size"),
    ("jobs: [{name: a, params: {size.batch_size: true}}]", 4, "jobs[0].params.size.batch_size"),
    ("jobs: [{name: a, params: {size.batch_size: '1'}}]", 4, "jobs[0].params.size.batch_size"),
    ("jobs: [{name: a, params: {size.batch_size: null}}]", 4, "jobs[0].params.size.batch_size"),
    (
        "jobs: [{name: a, params: {size.batch_size: '{{ n }}'}, matrix: {n: [1, 2]}}]",
        4,
        "jobs[0].params.size",
    ),
    ("params: {size.batch_size: '{{ 2 }}'}\njobs: [{name: a}]", 4, "params.size.batch_size"),
]


@each_case("text, line, field", BATCHES)
def test_a_batch_of_more_than_one_is_refused(folder: Any, text: str, line: int, field: str) -> None:
    problem = folder.problem(text)
    assert "size.batch_size must be 1" in problem.message
    assert "repeat" in (problem.hint or "")
    assert problem.place.line == line
    assert problem.field.startswith(field)


def test_a_batch_of_one_is_nothing_to_refuse(folder: Any) -> None:
    folder.job(
        "params: {size.batch_size: 1}\njobs: [{name: a, params: {size.batch_size: '{{ 1 }}'}}]"
    )


def test_many_problems_of_one_entry_are_bounded_and_equal_ones_come_once(folder: Any) -> None:
    folder.write("t.csv", "sku\n" + "".join(f"s{n}\n" for n in range(500)))
    found = folder.problems(
        "jobs: [{name: '{{ row.sku }}', foreach: t.csv, image: '{{ row.sku }}.jpg'}]"
    )
    assert len(found) == 50
    assert (
        "'s0.jpg' can't be read: no such file or directory (row 1 of t.csv, line 2)"
        in found[0].message
    )
    (one,) = folder.problems(
        "jobs: [{name: '{{ row.sku }}', foreach: t.csv, prompt: '{{ row.skuu }}'}]"
    )
    assert one.nearest == "sku"
    assert "row 1 of t.csv, line 2" in (one.hint or "")


def test_all_problems_of_a_job_come_at_once(folder: Any) -> None:
    text = "jobs:\n  - name: '{{ a }}'\n    prompt: '{{ b }}'\n    image: c.jpg\n"
    text += "    params: {x: '{{ d }}', y: ['{{ e }}']}\n"
    assert [problem.field for problem in folder.problems(text)] == [
        "jobs[0].name",
        "jobs[0].prompt",
        "jobs[0].image",
        "jobs[0].params.x",
        "jobs[0].params.y[0]",
    ]


COUNTS: list[tuple[str, int]] = [
    ("jobs: [{name: a, repeat: 10}]", 10),
    ("jobs: [{name: a, matrix: {x: [1, 2, 3], y: [1, 2]}}]", 6),
    ("jobs: [{name: a, zip: {x: [1, 2, 3]}, repeat: 2}]", 6),
    ("jobs: [{name: a, foreach: t.csv, repeat: 3}]", 6),
    ("jobs: [{name: a, foreach: '*.csv', repeat: 3}]", 3),
    ("jobs: [{name: a}, {name: b}, {name: c, repeat: 2}]", 4),
]


@each_case("text, count", COUNTS)
def test_max_jobs_is_the_number_that_may_be(folder: Any, text: str, count: int) -> None:
    folder.write("t.csv", CSV)
    assert len(folder.jobs(text, max_jobs=count)) == count
    problem = folder.problem(text, max_jobs=count - 1)
    assert f"more than {count - 1} jobs" in problem.message
    assert problem.hint == "--max-jobs raises the limit"


def test_a_giant_is_refused_by_arithmetic(folder: Any) -> None:
    axes = ", ".join(f"x{n}: [{', '.join(map(str, range(50)))}]" for n in range(12))
    problem = folder.problem(f"jobs: [{{name: a, matrix: {{{axes}}}, repeat: 1000000000000}}]")
    assert "more than 100,000 jobs" in problem.message
    assert problem.field == "jobs[0]"


def test_a_giant_of_rows_stops_while_streaming(folder: Any) -> None:
    folder.write("t.csv", "sku\n" + "".join(f"s{n}\n" for n in range(50)))
    items = folder.items("jobs: [{name: '{{ row.sku }}', foreach: t.csv}, {name: b}]", max_jobs=10)
    assert [item.name for item in items[:10]] == [f"s{n}" for n in range(10)]
    assert isinstance(items[10], Problem)
    assert len(items) == 11
