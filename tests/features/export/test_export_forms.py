"""The forms of an export: which files they have, under names that are safe everywhere."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from crucible_batch.features.export import forms
from crucible_batch.features.export.forms import (
    ArchiveFile,
    ExportForm,
    PictureFile,
    TextFile,
    files_of,
)
from crucible_batch.features.export.pictures import ExportedPicture, _Names, safe_name
from tests.harness.case_table import each_case


def picture(name: str = "heron-0", text: str = "a heron", size: int = 10, **about: Any) -> Any:
    known = {
        "job": name,
        "index": 0,
        "generation": 0,
        "workflow_id": "zimage-base",
        "width": 64,
        "height": 48,
        "sha256": "ab" * 32,
        "params": {"prompt.text": text},
        "axes": {},
        "row": {},
    }
    path = f"{name}/0.png"
    return ExportedPicture(name, ".png", path, "ab" * 32, size, text, {**known, **about})


def paths(form: ExportForm, *pictures: ExportedPicture) -> list[str]:
    return [file.path for file in files_of(form, pictures)]


def text_of(form: ExportForm, path: str, *pictures: ExportedPicture) -> str:
    (file,) = (file for file in files_of(form, pictures) if file.path == path)
    assert isinstance(file, TextFile)
    return file.content.decode()


def test_each_form_has_its_files() -> None:
    both = (picture("a-0"), picture("b-0"))
    assert paths(ExportForm.CAPTIONS, *both) == ["a-0.png", "a-0.txt", "b-0.png", "b-0.txt"]
    assert paths(ExportForm.IMAGEFOLDER, *both) == [
        "train/a-0.png",
        "train/b-0.png",
        "train/metadata.jsonl",
    ]
    assert paths(ExportForm.CSV, *both) == ["a-0.png", "b-0.png", "pictures.csv"]
    assert paths(ExportForm.ZIP, *both) == ["pictures.zip"]
    assert paths(ExportForm.WEBDATASET, *both) == ["pictures-000000.tar"]


def test_a_caption_is_the_prompt_as_it_is() -> None:
    text = 'two\nlines, "quoted" ünï'
    assert text_of(ExportForm.CAPTIONS, "heron-0.txt", picture(text=text)) == text


def test_metadata_has_columns_of_one_type() -> None:
    one, two = picture("a-0", axes={"style": "ink"}), picture("b-0", params={"seed": 3})
    lines = text_of(ExportForm.IMAGEFOLDER, "train/metadata.jsonl", one, two).splitlines()
    assert [json.loads(line) for line in lines] == [
        {
            "file_name": f"{name}.png",
            "text": "a heron",
            "job": name,
            "index": 0,
            "workflow_id": "zimage-base",
            "width": 64,
            "height": 48,
            "sha256": "ab" * 32,
            **axes,
        }
        for name, axes in (("a-0", {"axis.style": "ink"}), ("b-0", {}))
    ]


def test_a_table_has_all_columns_and_no_formula() -> None:
    one = picture("a-0", '=HYPERLINK("x")', axes={"style": "+ink"}, params={"seed": -3, "on": True})
    two = picture("b-0", "-5", row={"sku": "@7"})
    text = text_of(ExportForm.CSV, "pictures.csv", one, two)
    assert text[0] == "\ufeff"
    rows = list(csv.DictReader(io.StringIO(text[1:], newline="")))
    assert [row["file"] for row in rows] == ["a-0.png", "b-0.png"]
    assert [row["text"] for row in rows] == ['\'=HYPERLINK("x")', "-5"]
    assert (rows[0]["axis.style"], rows[0]["param.seed"], rows[0]["param.on"]) == (
        "'+ink",
        "-3",
        "true",
    )
    assert (rows[1]["row.sku"], rows[1]["axis.style"]) == ("'@7", "")


def test_a_sample_has_picture_text_and_all_that_is_known() -> None:
    (shard,) = files_of(ExportForm.WEBDATASET, [picture("v1.5-0", params={"seed": 3})])
    assert isinstance(shard, ArchiveFile)
    assert [member.path for member in shard.members] == ["v1_5-0.png", "v1_5-0.txt", "v1_5-0.json"]
    about = shard.members[2]
    assert isinstance(about, TextFile)
    found = json.loads(about.content)
    assert (found["text"], found["params"], found["job"]) == ("a heron", {"seed": 3}, "v1.5-0")


def test_shards_are_limited_in_pictures_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "MOST_IN_SHARD", 3)
    monkeypatch.setattr(forms, "MOST_BYTES_OF_SHARD", 100)
    sizes = [10, 10, 10, 10, 95, 10, 300, 1]
    pictures = [picture(f"p-{n}", size=size) for n, size in enumerate(sizes)]
    shards = list(files_of(ExportForm.WEBDATASET, pictures))
    assert [file.path for file in shards] == [f"pictures-{n:06d}.tar" for n in range(6)]
    assert [
        [member.path for member in shard.members if isinstance(member, PictureFile)]
        for shard in shards
        if isinstance(shard, ArchiveFile)
    ] == [
        ["p-0.png", "p-1.png", "p-2.png"],
        ["p-3.png"],
        ["p-4.png"],
        ["p-5.png"],
        ["p-6.png"],
        ["p-7.png"],
    ]


def test_a_key_depends_on_all_that_a_file_is_made_from() -> None:
    def key(form: ExportForm, *pictures: ExportedPicture) -> list[str]:
        return [file.key for file in files_of(form, pictures)]

    for form in ExportForm:
        assert key(form, picture()) == key(form, picture()), form
        assert key(form, picture()) != key(form, picture(text="an owl")), form
        assert key(form, picture()) != key(form, picture(), picture("b-0")), form


@each_case(
    "job, name",
    [
        ("heron", "heron"),
        ("v1.5 (hero), a+b=c!", "v1.5 (hero), a+b=c!"),
        ("Größe 鷺 ١", "Größe 鷺 ١"),
        ("../../etc/passwd", "etc-passwd"),
        (".crucible-export", "crucible-export"),
        ("__init__", "init__"),
        ("--as", "as"),
        ("a\0b\nc\x1b[31m", "a-b-c--31m"),
        ("C:\\CON", "C--CON"),
        ("\u202egnp.exe", "gnp.exe"),
        ("a*?[x]<|>\"'`$;&", "a---x----------"),
        ("...", "picture"),
        ("", "picture"),
    ],
)
def test_a_name_is_safe(job: str, name: str) -> None:
    assert safe_name(job, "01234567") == name


def test_a_long_name_is_cut_between_characters() -> None:
    name = safe_name("鷺" * 100, "01234567")
    assert len(name.encode()) <= 149
    assert name == f"{'鷺' * 46}-01234567"


def test_no_two_pictures_have_names_that_a_system_takes_for_the_same() -> None:
    names = _Names()
    jobs = ["a.b", "a_b", "A.B", "a/b", "a:b", "a-b", "a-b"]
    found = [names.name_for(job, 0) for job in jobs[:-1]]
    folded = [name.casefold().replace(".", "_") for name in found]
    assert len(set(folded)) == len(found)
    assert found[0] == "a.b-0"
    assert [names.name_for("a.b", 1), names.name_for("a", 10)] == ["a.b-1", "a-10"]
