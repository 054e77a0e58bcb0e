"""Images and prompt files are found beside the manifest, and elsewhere only if allowed."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.errors import Place
from crucible_batch.manifest import JobSpec, expand, load_manifest
from crucible_batch.manifest.files import FileFault, Files, read_text
from tests.harness.case_table import each_case


@each_case(
    "image, message",
    [
        ("gone.png", "no such file or directory"),
        ("sub", "is a directory"),
        ("sub/../pipe", "is not a regular file"),
        ("'{{ \"\" }}'", "is empty after rendering"),
        ('"a\\0b"', "contains a NUL"),
        ("loop", "leads out|too many levels|can't be read"),
        ("x" * 300 + ".png", "file name too long"),
    ],
)
def test_images_that_cannot_be_used(folder: Any, image: str, message: str) -> None:
    (folder.path / "sub").mkdir()
    os.mkfifo(folder.path / "pipe")
    (folder.path / "loop").symlink_to("loop")
    for key in ("image: ", "images:\n      mask.image: "):
        problem = folder.problem(f"jobs:\n  - name: a\n    {key}{image}\n")
        assert re.search(message, problem.message)
        assert problem.field == (
            "jobs[0].image" if key == "image: " else "jobs[0].images.mask.image"
        )


def test_links_within_the_directory_are_followed(folder: Any) -> None:
    real = folder.write("real/x.png")
    (folder.path / "link").symlink_to("real")
    assert folder.job("jobs: [{name: a, image: link/x.png}]").image == real


def test_a_manifest_reached_by_a_link_keeps_its_files(folder: Any) -> None:
    real = folder.write("real/x.png")
    folder.write("real/m.yaml", "version: 1\nname: t\nworkflow: z\njobs: [{name: a, image: x.png}]")
    (folder.path / "link").symlink_to("real")
    (job,) = expand(load_manifest(folder.path / "link" / "m.yaml"))
    assert isinstance(job, JobSpec)
    assert job.image == real


def test_an_image_may_be_an_axis(folder: Any) -> None:
    folder.write("a.png")
    folder.write("b.png")
    jobs = folder.jobs("jobs: [{name: x, zip: {photo: [a.png, b.png]}, image: '{{ photo }}'}]")
    assert [(job.name, job.image.name) for job in jobs] == [
        ("x-a.png", "a.png"),
        ("x-b.png", "b.png"),
    ]


def test_prompts_from_files(folder: Any) -> None:
    folder.write("prompts/hero.txt", "\ufeffA {{ style }} hero\r\nof {{ brand }}\n\n")
    folder.write("prompts/plain.txt", "no template\n")
    jobs = folder.jobs(
        "vars: {brand: '{{ style }} @x', file: hero, at: '@prompts/plain.txt'}\n"
        "jobs:\n"
        "  - {name: a, prompt: '@prompts/{{ file }}.txt', matrix: {style: [noir]}}\n"
        "  - {name: b, prompt: '@@prompts/plain.txt {{ file }}'}\n"
        "  - {name: c, prompt: '{{ at }}'}\n"
        "  - {name: d, prompt: '@prompts/plain.txt'}\n"
        "  - {name: e, prompt: ' @prompts/plain.txt'}\n"
        "  - {name: f, prompt: '@@@x'}\n"
    )
    assert [job.prompt for job in jobs] == [
        "A noir hero\nof {{ style }} @x",  # the file's text is rendered once, values never
        "@prompts/plain.txt hero",
        "@prompts/plain.txt",
        "no template",
        " @prompts/plain.txt",
        "@@x",
    ]


def test_at_is_read_in_prompts_alone(folder: Any) -> None:
    folder.write("x.txt", "text")
    job = folder.job("jobs: [{name: '@x.txt', params: {a: '@x.txt', b: '@@y'}}]")
    assert job.params == {"a": "@x.txt", "b": "@@y"}
    assert job.name == "@x.txt"


PROMPT_FILES: list[tuple[str, bytes | None, str]] = [
    ("'@gone.txt'", None, "'gone.txt' can't be read: no such file"),
    ("'@../x.txt'", None, "is outside the manifest's directory"),
    ("'@/etc/passwd'", None, "is outside the manifest's directory"),
    ("'@.'", None, "is a directory"),
    ("'@p.txt'", b"x" * (32 * 1024 + 1), "larger than 32 KiB"),
    ("'@p.txt'", b"\n" * (64 * 1024 + 1), "larger than 32 KiB"),
    ("'@p.txt'", b"caf\xe9", "not UTF-8 (line 1)"),
    ("'@p.txt'", b"\n\n", "is empty"),
    ("'@'", None, "is empty after rendering"),
    ("'@{{ nowhere }}.txt'", None, "the variable 'nowhere' is unknown"),
]


@each_case("prompt, content, message", PROMPT_FILES)
def test_prompt_files_that_cannot_be_used(
    folder: Any, prompt: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        folder.write("p.txt", content)
    problem = folder.problem(f"jobs:\n  - name: a\n    prompt: {prompt}\n")
    assert message in problem.message
    assert (problem.place.line, problem.place.column, problem.field) == (6, 13, "jobs[0].prompt")


@each_case("end", [b"\n", b"\r\n\r\n", b"\n" * 100])
@each_case("begin", [b"", b"\xef\xbb\xbf"])
def test_what_is_dropped_from_a_prompt_file_doesnt_count(
    folder: Any, begin: bytes, end: bytes
) -> None:
    folder.write("p.txt", begin + b"x" * (32 * 1024) + end)
    assert folder.job("jobs: [{name: a, prompt: '@p.txt'}]").prompt == "x" * (32 * 1024)


def test_a_template_in_a_prompt_file_is_placed_there(folder: Any) -> None:
    file = folder.write("p.txt", "one\ntwo {% if %}\n")
    problem = folder.problem("jobs: [{name: a, prompt: '@p.txt'}]")
    assert problem.place == Place(file, 2, 1)
    assert problem.field == "jobs[0].prompt"
    folder.write("p.txt", "one {{ brnad }}")
    problem = folder.problem("vars: {brand: A}\njobs: [{name: a, prompt: '@p.txt'}]")
    assert (problem.place.line, problem.nearest) == (5, "brand")
    assert "(in p.txt)" in problem.message


def test_prompts_are_bounded(folder: Any) -> None:
    assert "32 KiB" in folder.problem(f"jobs: [{{name: a, prompt: {'x' * 32769}}}]").message
    assert "32 KiB" in folder.problem(f"jobs: [{{name: a, prompt: {'é' * 16385}}}]").message
    assert (
        "32 KiB"
        in folder.problem("jobs: [{name: a, prompt: '{{ range(9999) | join(\"xy\") }}'}]").message
    )
    assert len(folder.job(f"jobs: [{{name: a, prompt: {'x' * 32768}}}]").prompt) == 32768


@each_case(
    "field",
    [
        "image: {}.png",
        "images: {{m: {}.png}}",
        "prompt: '@{}.txt'",
        "foreach: {}.csv",
        "foreach: '{}*.png'",
    ],
)
def test_a_folder_whose_name_only_begins_as_the_manifests_is_another(
    folder: Any, field: str
) -> None:
    beside = folder.path.with_name(f"{folder.path.name}-secrets")
    beside.mkdir()
    for name in ("x.png", "x.txt", "x.csv"):
        (beside / name).write_text("n\n1\n")
    (folder.path / "link").symlink_to(beside)
    for where in (f"{beside}/x", f"../{beside.name}/x", "link/x"):
        text = f"jobs: [{{name: a, {field.format(where)}}}]"
        problem = folder.problem(text)
        assert "is outside the manifest's directory" in problem.message
        assert problem.hint == "--allow-outside permits it"
        assert folder.problems(text, allow_outside=True) == []


@each_case(
    "path, expected",
    [
        ("/m", True), ("/m/a", True), ("/m/../m/a", True), ("/m-secrets", False),
        ("/m-secrets/a", False), ("/mm", False), ("/m/../m-secrets/a", False), ("/", False),
        ("/M/a", False),
    ],
)  # fmt: skip
def test_a_folder_holds_paths_by_their_parts(path: str, expected: bool) -> None:
    assert Files(Path("/m"), allow_outside=False).is_inside(path) is expected
    assert Files(Path("/m/"), allow_outside=False).is_inside(path) is expected
    assert Files(Path("/"), allow_outside=False).is_inside(path)


@each_case("end", ["\n", "\r\n", "\n\n", ""])
def test_only_line_breaks_are_dropped_at_the_end_of_a_prompt_file(tmp_path: Path, end: str) -> None:
    """The prompt is part of the key: one space less would be another job, and paid again."""
    (tmp_path / "p.txt").write_bytes(f" a \t\u00a0 {end}".encode())
    assert Files(tmp_path, allow_outside=False).prompt("p.txt") == " a \t\u00a0 "


def test_a_pipe_in_place_of_a_text_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "rejects.txt"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)  # so that a reader that opens it has something to read
    os.write(writer, b"123456")
    with pytest.raises(FileFault, match=r"'rejects\.txt' is not a regular file"):
        read_text(pipe, "rejects.txt", 5, "5 bytes")
    os.close(writer)
