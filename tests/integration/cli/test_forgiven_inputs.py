"""Manifests as people write them, with the tables of their spreadsheets and the photos of their phones."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from PIL import Image

from tests.case_table import each_case
from tests.integration.cli.conftest import Cli, Done

HEAD = "version: 1\nname: {name}\nworkflow: zimage-base\nbudget: {{credits: 100}}\njobs:\n  - {job}\n"


def photo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), "teal").save(path, "PNG")


def text_of(done: Done) -> str:
    """All that a command printed, without line breaks, so that a wrapped message is found."""
    return " ".join(f"{done.out} {done.err}".split())


def params_of(cli: Cli, name: str) -> dict[str, Any]:
    report = json.loads((cli.cwd / f"outputs/{name}/default/report.json").read_text(encoding="utf-8"))
    return {job["name"]: job["params"]["prompt.text"] for job in report["jobs"] if job["status"] == "succeeded"}


# -- empty cells --

EMPTY = "sku,title,remark\nA-1,vase,\nB-2,,\nC-3,mug,\n"


def names_the_cell(note: str) -> bool:
    """Whether a note names the column ``title`` and the second row, which is line 3 of the file."""
    return "title" in note and bool(re.search(r"\brow 2\b|\bline 3\b|goods\.\w+:3\b", note))


@pytest.mark.parametrize(("file", "divider"), [("goods.csv", ","), ("goods.tsv", "\t")])
def test_a_note_names_the_row_and_the_column_of_an_empty_cell(cli: Cli, file: str, divider: str) -> None:
    (cli.cwd / file).write_text(EMPTY.replace(",", divider))
    job = f"- {{name: '{{{{ row.sku }}}}', foreach: {file}, prompt: 'a {{{{ row.title }}}}'}}"
    cli.write(f"empty-{file[-3:]}", job)
    planned = cli("plan", f"empty-{file[-3:]}.yaml", "--json")
    assert planned.code == 0, planned.err
    notes = planned.envelope["data"]["notes"]
    assert any(names_the_cell(note) for note in notes), notes


def test_a_run_says_which_cell_is_empty_before_it_buys(cli: Cli) -> None:
    (cli.cwd / "goods.csv").write_text(EMPTY)
    cli.write("empty-run", "- {name: '{{ row.sku }}', foreach: goods.csv, prompt: 'a {{ row.title }}'}")
    planned, ran = cli("plan", "empty-run.yaml"), cli("run", "empty-run.yaml")
    assert (planned.code, ran.code) == (0, 0), ran.err
    assert names_the_cell(text_of(planned)), planned.out
    assert names_the_cell(text_of(ran)), ran.out + ran.err


def test_a_cell_that_no_job_uses_may_be_empty(cli: Cli) -> None:
    (cli.cwd / "goods.csv").write_text(EMPTY)
    cli.write("unused", "- {name: '{{ row.sku }}', foreach: goods.csv, prompt: 'the {{ row.sku }}'}")
    planned = cli("plan", "unused.yaml", "--json")
    assert planned.envelope["data"]["notes"] == []


def test_a_column_of_empty_cells_is_a_few_notes(cli: Cli) -> None:
    (cli.cwd / "goods.csv").write_text("sku,title\n" + "".join(f"s{n},\n" for n in range(400)))
    cli.write("column", "- {name: '{{ row.sku }}', foreach: goods.csv, prompt: '{{ row.sku }} {{ row.title }}'}")
    planned = cli("plan", "column.yaml", "--json")
    notes = planned.envelope["data"]["notes"]
    assert 1 <= len(notes) <= 20
    assert len(" ".join(notes)) < 4000
    assert re.search(r"\b(400|39\d|38\d)\b", " ".join(notes)), "the number of the cells is not told"


# -- semicolons --


def test_a_table_of_a_european_spreadsheet_is_run(cli: Cli) -> None:
    table = '\ufeffsku;title;weight\r\nV-1;vase, blue;1,5\r\nM-2;"mug; red";0,25\r\n'
    (cli.cwd / "goods.csv").write_text(table, encoding="utf-8", newline="")
    cli.write("semi", "- {name: '{{ row.sku }}', foreach: goods.csv, prompt: '{{ row.title }} of {{ row.weight }} kg'}")
    done = cli("run", "semi.yaml")
    assert done.code == 0, done.err
    assert params_of(cli, "semi") == {"V-1": "vase, blue of 1,5 kg", "M-2": "mug; red of 0,25 kg"}


def test_the_advice_for_a_row_of_such_a_table_is_about_semicolons(lonely_cli: Cli) -> None:
    (lonely_cli.cwd / "goods.csv").write_text("sku;title\nV-1;vase; blue\n")
    lonely_cli.write("bad-row", "- {name: '{{ row.sku }}', foreach: goods.csv, prompt: '{{ row.title }}'}")
    done = lonely_cli("validate", "bad-row.yaml")
    assert done.code == 2
    assert "goods.csv:2" in done.err
    assert "semicolons" in text_of(done)
    assert "commas" not in text_of(done)


def test_a_semicolon_in_a_table_with_commas_divides_nothing(lonely_cli: Cli) -> None:
    (lonely_cli.cwd / "goods.csv").write_text("sku,title;remark\nV-1,vase; blue\n")
    lonely_cli.write("commas", "- {name: '{{ row.sku }}', foreach: goods.csv, prompt: '{{ row.sku }}'}")
    assert lonely_cli("validate", "commas.yaml").code == 0


# -- photos that are not there --

MISSPELLED = [
    ("photos/a-1.jpg", "photos/A-1.JPG"),
    ("Photos/A-1.JPG", "photos/A-1.JPG"),
    ("photos/A-1.jpg", "photos/A-1.JPG"),
    ("photos\\A-1.JPG", "photos/A-1.JPG"),
    ("photos\\sub\\b.png", "photos/sub/b.png"),
    ("photos\\a-1.jpg", "photos/A-1.JPG"),
]


@each_case("written, meant", MISSPELLED)
def test_a_missing_photo_has_the_one_that_is_meant(tmp_path: Path, written: str, meant: str) -> None:
    cli = Cli(tmp_path, None)
    photo(cli.cwd / "photos/A-1.JPG")
    photo(cli.cwd / "photos/sub/b.png")
    cli.write("missing", f"- {{name: a, workflow: qwen-edit, prompt: x, image: '{written}'}}")
    done = cli("validate", "missing.yaml")
    assert done.code == 2
    assert "did you mean" in text_of(done)
    assert meant in text_of(done).partition("did you mean")[2]


@each_case("written", ["photos/a-1.jpg", "photos\\A-1.JPG"])
def test_a_photo_of_a_row_has_it_too(tmp_path: Path, written: str) -> None:
    cli = Cli(tmp_path, None)
    photo(cli.cwd / "photos/A-1.JPG")
    (cli.cwd / "goods.csv").write_text(f"sku,photo\na,{written}\n")
    cli.write(
        "rows",
        "- {name: '{{ row.sku }}', workflow: qwen-edit, foreach: goods.csv, prompt: x, image: '{{ row.photo }}'}",
    )
    done = cli("validate", "rows.yaml")
    assert done.code == 2
    assert "photos/A-1.JPG" in text_of(done).partition("did you mean")[2]


@each_case("written", ["photos/zebra.png", "nowhere/A-1.JPG"])
def test_nothing_is_meant_where_nothing_is_alike(tmp_path: Path, written: str) -> None:
    cli = Cli(tmp_path, None)
    photo(cli.cwd / "photos/A-1.JPG")
    cli.write("unlike", f"- {{name: a, workflow: qwen-edit, prompt: x, image: '{written}'}}")
    done = cli("validate", "unlike.yaml")
    assert done.code == 2
    assert "did you mean" not in text_of(done)


@each_case("written", ["..\\private\\key.png", "link\\key.png", "LINK/key.png", "../Private/key.png"])
def test_no_file_outside_of_the_folder_is_proposed(tmp_path: Path, written: str) -> None:
    photo(tmp_path / "private/key.png")
    folder = tmp_path / "batch"
    folder.mkdir()
    (folder / "link").symlink_to("../private")
    cli = Cli(folder, None)
    cli.write("outside", f"- {{name: a, workflow: qwen-edit, prompt: x, image: '{written}'}}")
    done = cli("validate", "outside.yaml")
    assert done.code == 2
    assert "did you mean" not in text_of(done)


def test_a_photo_that_all_rows_miss_is_one_problem(lonely_cli: Cli) -> None:
    (lonely_cli.cwd / "goods.csv").write_text("sku\n" + "".join(f"s{n}\n" for n in range(30)))
    job = "- {name: '{{ row.sku }}', workflow: qwen-edit, foreach: goods.csv, prompt: x, image: gone.png}"
    lonely_cli.write("once", job)
    done = lonely_cli("validate", "once.yaml", "--json")
    assert done.code == 2
    (problem,) = done.envelope["data"]["manifests"][0]["problems"]
    assert "gone.png" in problem["message"]


def test_each_photo_that_rows_miss_is_a_problem_of_its_own(lonely_cli: Cli) -> None:
    (lonely_cli.cwd / "goods.csv").write_text("sku,photo\na,x.png\nb,y.png\nc,x.png\n")
    job = "- {name: '{{ row.sku }}', workflow: qwen-edit, foreach: goods.csv, prompt: x, image: '{{ row.photo }}'}"
    lonely_cli.write("each", job)
    done = lonely_cli("validate", "each.yaml", "--json")
    problems = done.envelope["data"]["manifests"][0]["problems"]
    assert [name for problem in problems for name in ("x.png", "y.png") if name in problem["message"]] == [
        "x.png",
        "y.png",
    ]


# -- a budget in one word --


def test_a_budget_may_be_a_number_and_ends_the_run(cli: Cli, report_of: Any) -> None:
    cli.write("short", "- {name: fox, prompt: a fox, repeat: 4}", budget="4")
    planned = cli("plan", "short.yaml", "--json")
    assert planned.code == 0, planned.err
    assert Decimal(planned.envelope["data"]["credits"]["budget"]) == 4
    ran = cli("run", "short.yaml")
    assert ran.code == 4
    report = report_of(cli.cwd / "outputs/short/default")
    assert sum(job["status"] == "succeeded" for job in report["jobs"]) == 2


def test_a_fraction_of_a_budget_is_kept(cli: Cli) -> None:
    cli.write("fraction", budget="9.5")
    planned = cli("plan", "fraction.yaml", "--json")
    assert planned.code == 0, planned.err
    assert planned.envelope["data"]["credits"]["budget"] == "9.5"


@each_case("wrong", ["0", "-1", "true", "lots", ".inf", "[9]"])
def test_what_is_no_number_of_credits_is_refused_at_its_place(tmp_path: Path, wrong: str) -> None:
    cli = Cli(tmp_path, None)
    cli.write("wrong", budget=wrong)
    done = cli("validate", "wrong.yaml")
    assert done.code == 2
    assert "wrong.yaml:4:9" in done.err
    assert "budget" in done.err


def test_the_schema_for_editors_takes_the_number_too(lonely_cli: Cli) -> None:
    schema = json.loads(lonely_cli("schema").out)
    manifest = {"version": 1, "name": "m", "workflow": "w", "jobs": [{"name": "a", "prompt": "b"}]}
    jsonschema.validate({**manifest, "budget": {"credits": 9}}, schema)
    jsonschema.validate({**manifest, "budget": 9}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**manifest, "budget": 0}, schema)


# -- files that are no images --


def heif(brand: bytes) -> bytes:
    """The first box of a photo of a phone."""
    return b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1" + brand + b"\0" * 64


@each_case("name, brand", [("p.heic", b"heic"), ("p.HEIC", b"heix"), ("p.jpg", b"heic"), ("p.heif", b"mif1")])
def test_a_photo_of_a_phone_is_named_with_its_remedy(tmp_path: Path, name: str, brand: bytes) -> None:
    cli = Cli(tmp_path, None)
    (cli.cwd / name).write_bytes(heif(brand))
    cli.write("heic", f"- {{name: a, workflow: qwen-edit, prompt: x, image: {name}}}")
    done = Cli(tmp_path, "http://127.0.0.1:9")("plan", "heic.yaml")
    assert done.code == 2, done.err
    said = text_of(done)
    assert re.search(r"HEI[CF]", said.replace(name, "")), said
    assert re.search(r"(convert|export|save)\w* .*(JPEG|PNG)", said), said


def test_an_empty_file_is_called_empty(lonely_cli: Cli) -> None:
    (lonely_cli.cwd / "p.png").touch()
    lonely_cli.write("nothing", "- {name: a, workflow: qwen-edit, prompt: x, image: p.png}")
    done = Cli(lonely_cli.cwd, "http://127.0.0.1:9")("plan", "nothing.yaml")
    assert done.code == 2
    assert "is empty" in text_of(done)
    assert "HEI" not in text_of(done)
