"""Paths that text or the file system has no characters for are told before anything is bought."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from crucible_batch.manifest.names import path_fault, text_fault
from tests.harness.case_table import each_case


@each_case("path", ["", "a", "a/b.png", "é/東.png", "x" * 255, "/".join(["é" * 127] * 20)])
def test_paths_that_can_be_used(path: str) -> None:
    assert text_fault(path) is None
    assert path_fault(path) is None


@each_case(
    "path, message",
    [
        ("a\0b", "contains a NUL character"),
        ("a\udcff", "is not UTF-8"),
        ("\ud800/b", "is not UTF-8"),
        ("x" * 256, "has a part of more than 255 bytes"),
        ("a/" + "é" * 128 + "/b", "has a part of more than 255 bytes"),
    ],
)
def test_paths_that_cannot_be_used(path: str, message: str) -> None:
    fault = path_fault(path)
    assert fault is not None
    assert fault[0].startswith(message)
    assert fault[1]


def test_a_locale_without_the_character_is_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsencode", lambda path: path.encode("ascii", "surrogateescape"))
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "ascii")
    for path in (
        "é",
        "\udcc3\udca9",
    ):  # in the manifest, and as an argument of a command in that locale
        assert text_fault(path) == (
            "contains a character that the encoding of this locale (ascii) cannot represent",
            "use a UTF-8 locale, such as LC_ALL=C.UTF-8",
        )


@each_case(
    "text, field, message",
    [
        (
            "jobs: [{name: '{{ \"\\udcff\" }}a'}]",
            "jobs[0].name",
            "contains half of a surrogate pair",
        ),
        ("jobs: [{name: a, image: '{{ \"\\udcff\" }}.png'}]", "jobs[0].image", "is not UTF-8"),
        (
            "jobs: [{name: a, images: {m: '{{ \"\\udcff\" }}.png'}}]",
            "jobs[0].images.m",
            "is not UTF-8",
        ),
        ("jobs: [{name: a, prompt: '@{{ \"\\udcff\" }}.txt'}]", "jobs[0].prompt", "is not UTF-8"),
        ("jobs: [{name: a, foreach: '{{ \"\\udcff\" }}.csv'}]", "jobs[0].foreach", "is not UTF-8"),
        ("jobs: [{name: a, foreach: '{{ \"\\udcff\" }}*'}]", "jobs[0].foreach", "is not UTF-8"),
        ("jobs: [{name: a, image: link.png}]", "jobs[0].image", "is not UTF-8"),
    ],
)
def test_a_manifest_names_no_file_that_is_not_text(
    folder: Any, text: str, field: str, message: str
) -> None:
    folder.write("\udcfe.png")
    (folder.path / "link.png").symlink_to("\udcfe.png")
    problem = folder.problem(text)
    assert problem.field == field
    assert message in problem.message


def test_an_output_path_must_fit_the_locale(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.load("jobs: [{name: é}]")
    monkeypatch.setattr("os.fsencode", lambda path: str(path).encode("ascii", "surrogateescape"))
    (problem,) = folder.problems("jobs: [{name: é}, {name: e}]")
    assert problem.field == "output.path"
    assert problem.message.startswith("'é/{index}{ext}' ")
