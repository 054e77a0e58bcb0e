"""Entries with ``draw``: the jobs that they make, and what is refused before anything is bought."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crucible_batch.core.identity import job_identity
from crucible_batch.errors import ManifestError, Problem
from crucible_batch.manifest import JobSpec, expand, load_manifest
from tests.harness.case_table import directory_of_case, each_case

HEAD = "version: 1\nname: test\nworkflow: z\n"
PEOPLE = (
    'jobs:\n  - {name: person, prompt: "{{ hair }}, {{ pose }}", seed: 7, count: 9,\n'
    "     draw: {hair: hair.txt, pose: [standing, 3, 1.5]}}\n"
)
HAIR = "black\n\n  long red \n{{ blond }}\n"


def items(folder: Path, text: str, **options: Any) -> list[JobSpec | Problem]:
    path = folder / "m.yaml"
    path.write_text(HEAD + text)
    return list(expand(load_manifest(path, **options)))


def jobs(folder: Path, text: str, **options: Any) -> list[JobSpec]:
    made = items(folder, text, **options)
    assert [str(item) for item in made if isinstance(item, Problem)] == []
    return [item for item in made if isinstance(item, JobSpec)]


def problems(folder: Path, text: str, **options: Any) -> Sequence[Problem]:
    try:
        return [item for item in items(folder, text, **options) if isinstance(item, Problem)]
    except ManifestError as error:
        return error.problems


def test_jobs_draw_lines_and_are_numbered_as_repeats(tmp_path: Path) -> None:
    (tmp_path / "hair.txt").write_text(HAIR)
    made = jobs(tmp_path, PEOPLE)
    assert [job.name for job in made] == [f"person-{number}" for number in range(1, 10)]
    assert [job.repeat for job in made] == list(range(1, 10))
    for name, lines in (
        ("hair", ["black", "long red", "{{ blond }}"]),
        ("pose", ["standing", "3", "1.5"]),
    ):
        assert Counter(job.axes[name] for job in made) == dict.fromkeys(lines, 3)
    assert [job.prompt for job in made] == [f"{j.axes['hair']}, {j.axes['pose']}" for j in made]


def test_values_keep_their_types_in_parameters(tmp_path: Path) -> None:
    made = jobs(
        tmp_path,
        "jobs:\n  - {name: a, prompt: x, draw: {size: [512, 0.5, true]}, count: 3,\n"
        '     params: {size.width: "{{ size }}", n: "{{ repeat }}"}}\n',
    )
    assert {type(job.params["size.width"]) for job in made} == {int, float, bool}
    assert [job.params["n"] for job in made] == [1, 2, 3]


def test_the_draws_follow_from_seed_and_lists_alone(tmp_path: Path) -> None:
    (tmp_path / "hair.txt").write_text(HAIR)
    prompts = [job.prompt for job in jobs(tmp_path, PEOPLE)]
    for same in (
        PEOPLE.replace("name: person", "name: somebody"),
        PEOPLE.replace("jobs:\n", "jobs:\n  - {name: other, prompt: x}\n"),
        PEOPLE.replace(
            "hair: hair.txt, pose: [standing, 3, 1.5]",
            "pose: [standing, 3, 1.5], hair: [black, long red, '{{ blond }}']",
        ),
    ):
        assert [job.prompt for job in jobs(tmp_path, same)][-9:] == prompts
    assert [job.prompt for job in jobs(tmp_path, PEOPLE.replace("seed: 7", "seed: 8"))] != prompts


def test_the_default_seed_is_zero(tmp_path: Path) -> None:
    without = PEOPLE.replace("hair: hair.txt, ", "").replace("{{ hair }}", "x")
    zero = without.replace("seed: 7", "seed: 0")
    unset = without.replace("seed: 7, ", "")
    assert [j.prompt for j in jobs(tmp_path, zero)] == [j.prompt for j in jobs(tmp_path, unset)]


def test_a_moved_or_renamed_entry_has_the_same_jobs(tmp_path: Path) -> None:
    """Neither is bought again: identities depend on content and number."""
    (tmp_path / "hair.txt").write_text(HAIR)

    def identities(text: str) -> set[str]:
        return {
            job_identity(
                manifest="test",
                run_id="default",
                workflow_id=job.workflow_id,
                params={"prompt": job.prompt, **job.params},
                images={},
                repeat=job.repeat,
            )
            for job in jobs(tmp_path, text)
        }

    before = identities(PEOPLE)
    assert len(before) == 9
    moved = PEOPLE.replace("jobs:\n", "jobs:\n  - {name: other, prompt: x}\n")
    assert before < identities(moved.replace("name: person", "name: somebody"))


def test_each_combination_draws_the_same(tmp_path: Path) -> None:
    made = jobs(
        tmp_path,
        'matrix: {style: [noir, ink]}\njobs:\n  - {name: a, prompt: "{{ style }} {{ pose }}",\n'
        "     draw: {pose: [p, q, r]}, count: 4}\n",
    )
    assert [job.name for job in made[:4]] == [f"a-noir-{number}" for number in range(1, 5)]
    noir, ink = made[:4], made[4:]
    assert [job.axes["pose"] for job in noir] == [job.axes["pose"] for job in ink]


def test_a_file_may_be_named_by_a_variable(tmp_path: Path) -> None:
    (tmp_path / "hair.txt").write_text(HAIR)
    text = PEOPLE.replace("hair.txt", '"{{ list }}.txt"').replace(
        "jobs:", "vars: {list: hair}\njobs:"
    )
    assert len(jobs(tmp_path, text)) == 9


def test_a_line_that_stands_twice_is_drawn_twice_as_often(tmp_path: Path) -> None:
    text = "jobs:\n  - {name: a, prompt: '{{ p }}', draw: {p: [x, x, y]}, count: 30}\n"
    assert Counter(job.prompt for job in jobs(tmp_path, text)) == {"x": 20, "y": 10}


@each_case(
    "entry, place, message",
    [
        ("draw: {p: []}, count: 2", (5, 38), "is an empty list"),
        ("draw: {p: [x]}, count: 0", (5, 51), "must be at least 1"),
        ("draw: {p: [x]}, count: 1.5", (5, 51), "integer"),
        ("draw: {p: [x]}", (5, 28), "`draw` needs `count`, the number of jobs"),
        ("draw: {}, count: 2", (5, 34), "is empty; name a list, or remove the key"),
        ("draw: [x], count: 2", (5, 34), "must be a mapping, got a list"),
        ("draw: {p: 3}, count: 2", (5, 38), "must be a list of values, or a .txt file"),
        ("draw: {p: [x, {y: 1}]}, count: 2", (5, 42), "a value of an axis must be text"),
        ("draw: {row: [x]}, count: 2", (5, 35), "the name 'row' is reserved"),
        ("draw: {v: [x]}, count: 2", (5, 35), "'v' is both an axis and one of `vars`"),
        ("draw: {m: [x]}, count: 2", (5, 35), "the axis 'm' is in both `draw` and `matrix`"),
        ("draw: {z: [x]}, zip: {z: [1]}, count: 2", (5, 35), "in both `draw` and `zip`"),
        ("draw: {p: [x], p: [y]}, count: 2", (5, 43), "duplicate key 'p'"),
        ("draw: {p: [x]}, count: 2, repeat: 2", (5, 54), "can't have both `draw` and `repeat`"),
        ("draw: {p: [x]}, count: 2, foreach: t.csv", (5, 54), "both `draw` and `foreach`"),
        ("count: 2", (5, 28), "`count` needs `draw` in the same entry"),
        ("seed: 2", (5, 28), "`seed` needs `draw` in the same entry"),
        ("draw: {p: [x]}, count: 2, seed: now", (5, 60), "must be an integer"),
        ("draw: {p: missing.txt}, count: 2", (5, 38), "'missing.txt' can't be read"),
        ("draw: {p: ../list.txt}, count: 2", (5, 38), "is outside the manifest's directory"),
        ("draw: {p: link.txt}, count: 2", (5, 38), "is outside the manifest's directory"),
        ("draw: {p: '*.txt'}, count: 2", (5, 38), "is not a .txt file"),
        ("draw: {p: table.csv}, count: 2", (5, 38), "is not a .txt file"),
        ("draw: {p: folder.txt}, count: 2", (5, 38), "is a directory"),
        ("draw: {p: '{{ w }}.txt'}, count: 2", (5, 38), "the variable 'w' is unknown"),
        ("draw: {p: long.txt}, count: 2", (5, 38), "has more than 3 lines"),
        ("draw: {p: [x]}, count: 4", (5, 5), "more than 3 jobs"),
    ],
)
def test_mistakes_have_place_and_cause(
    tmp_path: Path, entry: str, place: tuple[int, int], message: str
) -> None:
    folder = directory_of_case(tmp_path, 0)
    (folder.parent / "list.txt").write_text("x\n")
    (folder / "link.txt").unlink(missing_ok=True)
    (folder / "link.txt").symlink_to("../list.txt")
    (folder / "folder.txt").mkdir(exist_ok=True)
    (folder / "long.txt").write_text("1\n2\n3\n4\n")
    head = "jobs:\n  - {name: job, prompt: x, "
    if "{v:" in entry:
        head = "vars: {v: 1}\n" + head
    if "{m:" in entry:
        head = "matrix: {m: [1]}\n" + head
    found = problems(folder, f"{head}{entry}}}\n", max_jobs=3)
    assert [str(problem.message) for problem in found if message in problem.message], found
    (problem,) = found
    line = place[0] + head.count("\n") - 1
    assert (problem.place.line, problem.place.column) == (line, place[1])


def test_mistakes_in_a_file_are_placed_there(tmp_path: Path) -> None:
    (tmp_path / "hair.txt").write_bytes(b"black\n\xff\n")
    (problem,) = problems(tmp_path, PEOPLE)
    assert (problem.place.file.name, problem.place.line) == ("hair.txt", 2)
    assert (problem.field, problem.message[:9]) == ("jobs[0].draw.hair", "not UTF-8")
    (tmp_path / "hair.txt").write_text("\n  \n")
    (problem,) = problems(tmp_path, PEOPLE)
    assert (problem.place.file.name, problem.message) == ("hair.txt", "the file has no rows")


def test_a_corrected_line_changes_the_jobs_that_drew_it(tmp_path: Path) -> None:
    (tmp_path / "hair.txt").write_text(HAIR)
    before = jobs(tmp_path, PEOPLE)
    (tmp_path / "hair.txt").write_text(HAIR.replace("long red", "long  red"))
    after = jobs(tmp_path, PEOPLE)
    changed = {b.axes["hair"] for b, a in zip(before, after, strict=True) if a.prompt != b.prompt}
    assert changed == {"long red"}
