"""Manifests as people write them, with the tables of their spreadsheets and the photos of their
phones."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

from PIL import Image

from tests.harness.case_table import each_case
from tests.harness.commands import Cli, Done

HEAD = (
    "version: 1\nname: {name}\nworkflow: zimage-base\nbudget: {{credits: 100}}\njobs:\n  - {job}\n"
)


def photo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), "teal").save(path, "PNG")


def text_of(done: Done) -> str:
    """All that a command printed, without line breaks, so that a wrapped message is found."""
    return " ".join(f"{done.out} {done.err}".split())


def params_of(cli: Cli, name: str) -> dict[str, Any]:
    report = json.loads(
        (cli.cwd / f"outputs/{name}/default/report.json").read_text(encoding="utf-8")
    )
    return {
        job["name"]: job["params"]["prompt.text"]
        for job in report["jobs"]
        if job["status"] == "succeeded"
    }


# -- empty cells --

EMPTY = "sku,title,remark\nA-1,vase,\nB-2,,\nC-3,mug,\n"


def names_the_cell(note: str) -> bool:
    """Whether a note names the column ``title`` and the second row, which is line 3 of the file."""
    return "title" in note and bool(re.search(r"\brow 2\b|\bline 3\b|goods\.\w+:3\b", note))


def test_a_run_says_which_cell_is_empty_before_it_buys(cli: Cli) -> None:
    (cli.cwd / "goods.csv").write_text(EMPTY)
    cli.write(
        "empty-run", "- {name: '{{ row.sku }}', foreach: goods.csv, prompt: 'a {{ row.title }}'}"
    )
    planned, ran = cli("plan", "empty-run.yaml"), cli("run", "empty-run.yaml")
    assert (planned.code, ran.code) == (0, 0), ran.err
    assert names_the_cell(text_of(planned)), planned.out
    assert names_the_cell(text_of(ran)), ran.out + ran.err


# -- semicolons --


def test_a_table_of_a_european_spreadsheet_is_run(cli: Cli) -> None:
    table = '\ufeffsku;title;weight\r\nV-1;vase, blue;1,5\r\nM-2;"mug; red";0,25\r\n'
    (cli.cwd / "goods.csv").write_text(table, encoding="utf-8", newline="")
    cli.write(
        "semi",
        (
            "- {name: '{{ row.sku }}', foreach: goods.csv, "
            "prompt: '{{ row.title }} of {{ row.weight }} kg'}"
        ),
    )
    done = cli("run", "semi.yaml")
    assert done.code == 0, done.err
    assert params_of(cli, "semi") == {"V-1": "vase, blue of 1,5 kg", "M-2": "mug; red of 0,25 kg"}


def test_the_advice_for_a_row_of_such_a_table_is_about_semicolons(lonely_cli: Cli) -> None:
    (lonely_cli.cwd / "goods.csv").write_text("sku;title\nV-1;vase; blue\n")
    lonely_cli.write(
        "bad-row", "- {name: '{{ row.sku }}', foreach: goods.csv, prompt: '{{ row.title }}'}"
    )
    done = lonely_cli("validate", "bad-row.yaml")
    assert done.code == 2
    assert "goods.csv:2" in done.err
    assert "semicolons" in text_of(done)
    assert "commas" not in text_of(done)


def test_a_semicolon_in_a_table_with_commas_divides_nothing(lonely_cli: Cli) -> None:
    (lonely_cli.cwd / "goods.csv").write_text("sku,title;remark\nV-1,vase; blue\n")
    lonely_cli.write(
        "commas", "- {name: '{{ row.sku }}', foreach: goods.csv, prompt: '{{ row.sku }}'}"
    )
    assert lonely_cli("validate", "commas.yaml").code == 0


# -- photos that are not there --


@each_case(
    "written, meant",
    [
        ("photos/a-1.jpg", "photos/A-1.JPG"),
        ("Photos/A-1.JPG", "photos/A-1.JPG"),
        ("photos/A-1.jpg", "photos/A-1.JPG"),
        ("photos\\A-1.JPG", "photos/A-1.JPG"),
        ("photos\\sub\\b.png", "photos/sub/b.png"),
        ("photos\\a-1.jpg", "photos/A-1.JPG"),
        # Nothing is alike, or it is outside of the folder.
        ("photos/zebra.png", None),
        ("nowhere/A-1.JPG", None),
        ("..\\private\\key.png", None),
        ("link\\key.png", None),
        ("LINK/key.png", None),
        ("../Private/key.png", None),
    ],
)
@each_case("source, value", [("", "{}"), (", foreach: goods.csv", "{{{{ row.photo }}}}")])
def test_a_missing_photo_has_the_one_that_is_meant(
    tmp_path: Path, written: str, meant: str | None, source: str, value: str
) -> None:
    photo(tmp_path / "private/key.png")
    cli = Cli(tmp_path / "batch", None)
    photo(cli.cwd / "photos/A-1.JPG")
    photo(cli.cwd / "photos/sub/b.png")
    (cli.cwd / "link").symlink_to("../private")
    (cli.cwd / "goods.csv").write_text(f"sku,photo\na,{written}\n")
    job = f"- {{name: a, workflow: qwen-edit, prompt: x{source}, image: '{value.format(written)}'}}"
    cli.write("missing", job)
    done = cli("validate", "missing.yaml")
    assert done.code == 2
    assert (meant or "") in text_of(done).partition("did you mean")[2]
    assert ("did you mean" in text_of(done)) is (meant is not None)


# -- a budget in one word --


def test_a_budget_may_be_a_number_and_ends_the_run(cli: Cli, report_of: Any) -> None:
    cli.write("short", "- {name: fox, prompt: a fox, repeat: 4}", budget="4.5")
    planned = cli("plan", "short.yaml", "--json")
    assert planned.code == 0, planned.err
    assert Decimal(planned.envelope["data"]["credits"]["budget"]) == Decimal("4.5")
    ran = cli("run", "short.yaml")
    assert ran.code == 4
    report = report_of(cli.cwd / "outputs/short/default")
    assert sum(job["status"] == "succeeded" for job in report["jobs"]) == 2


# -- files that are no images --


def heif(brand: bytes) -> bytes:
    """The first box of a photo of a phone."""
    return b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1" + brand + b"\0" * 64


@each_case(
    "name, content, words",
    [
        *(
            (name, heif(brand), r"HEI[CF].* (convert|export|save)\w* .*(JPEG|PNG)")
            for name, brand in (
                ("p.heic", b"heic"),
                ("p.HEIC", b"heix"),
                ("p.jpg", b"heic"),
                ("p.heif", b"mif1"),
            )
        ),
        ("p.png", b"", "is empty"),
    ],
)
def test_a_file_that_is_no_image_is_named_with_its_remedy(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    cli = Cli(tmp_path, "http://127.0.0.1:9")
    (cli.cwd / name).write_bytes(content)
    done = cli(
        "plan", cli.write("odd", f"- {{name: a, workflow: qwen-edit, prompt: x, image: {name}}}")
    )
    assert done.code == 2, done.err
    said = text_of(done).replace(name, "")
    assert re.search(words, said), said
    assert ("HEI" in said) is bool(content)
