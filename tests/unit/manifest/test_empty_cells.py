"""Notes about empty cells: those that a template inserts as they are, each once, and only the first
ones.
"""

from pathlib import Path

from crucible_batch.manifest import expand, load_manifest
from crucible_batch.manifest.job_template import MOST_NOTED
from tests.harness.case_table import each_case

HEAD = "version: 1\nname: m\nworkflow: w\n"


def notes_of(folder: Path, table: str, job: str) -> list[str]:
    (folder / "t.csv").write_text(table)
    (folder / "m.yaml").write_text(
        f"{HEAD}jobs:\n- {{name: '{{{{ row.sku }}}}', foreach: t.csv, {job}}}\n"
    )
    found: list[str] = []
    for _ in expand(load_manifest(folder / "m.yaml"), note_empty=found.extend):
        pass
    return found


@each_case(
    "job, columns",
    [
        ("prompt: '{{ row.a }}, {{ row[\"b\"] | upper }}'", ["a", "b"]),
        ("prompt: x, params: {p: '{{ row.a }}', q: ['{{ row.b }}']}", ["a", "b"]),
        ("prompt: x, matrix: {n: [1, 2]}, repeat: 2, params: {p: '{{ row.a }}'}", ["a"]),
        ("prompt: x", []),
        ("prompt: 'x {{ row.a | default(\"red\", true) }}'", []),
        ("prompt: 'x {% if row.a %}in {{ row.a }}{% endif %}'", []),
        ("prompt: 'x {{ row.a or \"red\" }}'", []),
    ],
)
def test_a_cell_that_is_inserted_as_it_is_is_noted_once(
    tmp_path: Path, job: str, columns: list[str]
) -> None:
    found = notes_of(tmp_path, "sku,a,b\n1,x,y\n2, ,\n", job)
    assert [f"column {column!r}" in note for column, note in zip(columns, found, strict=True)] == [
        True
    ] * len(columns)
    assert all(note.startswith("row 2 of t.csv, line 3: ") for note in found)


def test_of_many_cells_the_first_are_noted_and_all_are_counted(tmp_path: Path) -> None:
    found = notes_of(
        tmp_path,
        "sku,a\n" + "".join(f"{number},\n" for number in range(12)),
        "prompt: 'x {{ row.a }}'",
    )
    assert len(found) == MOST_NOTED + 1
    assert found[-1] == "7 more cells that jobs use are empty, 12 in all"
