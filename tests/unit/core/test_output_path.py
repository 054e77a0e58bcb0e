"""Where outputs go."""

from __future__ import annotations

from pathlib import PurePosixPath

from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.core.output_path import (
    first_output_pattern,
    fold_path,
    is_picture_path,
    is_planned_path,
    may_hold_output,
    output_path,
    relocated_path,
)
from tests.harness.case_table import each_case

DIGEST = "0123abcd" + "f" * 56
TABLE = [
    ("job/{index}{ext}", 0, ".png", "job/0.png"),
    ("job/{index}{ext}", 11, ".webp", "job/11.webp"),
    ("job-{index}{ext}", 1, ".png", "job-1.png"),
    ("a/{index}/b/{index}{ext}", 2, ".png", "a/2/b/2.png"),
    ("job{ext}", 0, ".jpg", "job.jpg"),
    ("job{ext}", 1, ".jpg", "job-1.jpg"),
    ("a.b/job{ext}", 2, ".jpg", "a.b/job-2.jpg"),
    ("a.b/job", 0, ".jpg", "a.b/job"),
    ("a.b/job", 1, ".jpg", "a.b/job-1"),
    ("job.png", 0, ".jpg", "job.png"),
    ("job.png", 1, ".jpg", "job-1.png"),
    ("v1.2{ext}", 1, ".png", "v1.2-1.png"),
    ("deep/er/job.tar.png", 3, "", "deep/er/job.tar-3.png"),
]


@each_case("pattern, index, ext, expected", TABLE)
def test_a_pattern_is_filled_in(pattern: str, index: int, ext: str, expected: str) -> None:
    assert output_path(pattern, index, ext) == PurePosixPath(expected)


@each_case(
    "path, expected",
    [
        ("job/0.png", "job/0.0123abcd.png"),
        ("job.tar.png", "job.tar.0123abcd.png"),
        ("a.b/job", "a.b/job.0123abcd"),
    ],
)
def test_a_file_goes_aside_beside_its_place_by_its_digest(path: str, expected: str) -> None:
    assert relocated_path(path, DIGEST) == expected


@each_case(
    "pattern, path, expected",
    [
        ("job/{index}{ext}", "job/0.png", True),
        ("job/{index}{ext}", "job/0.0123abcd.avif", True),
        ("job/{index}{ext}", "job/1.png", False),
        ("job/{index}{ext}", "evil/0.png", False),
        ("thumbnails/{index}{ext}", "thumbnails/0.png", False),
        ("job/{index}{ext}", "job/0.ffffffff.png", False),
        ("notes{ext}", "notes.png", True),
        ("notes{ext}", "notes.txt", False),
        ("notes{ext}", "notes.PNG", False),
        ("notes{ext}", "notes", False),
        ("notes{ext}", "notes.0123abcd.txt", False),
        ("report{ext}", "report.html", False),
        ("a.b/job", "a.b/job", True),  # a pattern without {ext} is the whole name
        ("v1.2", "v1.2", True),
        ("v1.2", "v1.png", False),
    ],
)
def test_an_output_is_at_home_where_its_plan_puts_it_as_a_picture(
    pattern: str, path: str, expected: bool
) -> None:
    assert is_planned_path(pattern, 0, DIGEST, path) is expected


PATTERNS = st.sampled_from([pattern for pattern, *_ in TABLE])
EXTENSIONS = st.sampled_from([".png", ".jpg", ".webp"])


@given(PATTERNS, EXTENSIONS, st.lists(st.integers(0, 2000), unique=True, min_size=2, max_size=5))
def test_outputs_of_one_job_never_meet(pattern: str, ext: str, indices: list[int]) -> None:
    assert len({output_path(pattern, index, ext) for index in indices}) == len(indices)


@given(PATTERNS, EXTENSIONS, st.integers(0, 2000))
def test_the_type_leaves_the_rest_of_a_path_alone(pattern: str, ext: str, index: int) -> None:
    """The temporary file is made in the parent before the type is known."""
    assert output_path(pattern, index, ext).parent == output_path(pattern, index, "").parent


@given(PATTERNS.filter(lambda pattern: "{index}" not in pattern), st.integers(1, 2000))
def test_a_later_output_leads_back_to_its_job(pattern: str, index: int) -> None:
    assert first_output_pattern(str(output_path(pattern, index, "{ext}"))) == pattern


@each_case(
    "pattern",
    ["job-1-{index}{ext}", "job-1/{index}{ext}", "job-01{ext}", "job-0", "-1{ext}", "a-1/b"],
)
def test_what_no_later_output_can_be_called_leads_nowhere(pattern: str) -> None:
    assert first_output_pattern(pattern) is None


@each_case(
    "path, folded",
    [
        ("Job/A-0.PNG", "job/a-0.png"),
        ("Stra\u00dfe/\u00c4.png", "strasse/\u00e4.png"),
        ("A\u0308.png", "\u00e4.png"),
        ("\uff32\uff25\uff30\uff2f\uff32\uff34.html", "report.html"),
    ],
)
def test_paths_that_some_disk_takes_for_the_same_are_folded_alike(path: str, folded: str) -> None:
    assert fold_path(path) == folded


@each_case(
    "path",
    [
        "0.png",
        "job/0.png",
        "a..b/0.png",
        "job/report.html",
        "job/thumbnails/0.png",
        "reports/0.json.png",
    ],
)
def test_an_output_may_stand_below_the_run_directory(path: str) -> None:
    assert may_hold_output(path)


@each_case(
    "path",
    [
        "",
        "/etc/passwd",
        "../0.png",
        "job/../../0.png",
        "job//0.png",
        "job/",
        "job/0\0.png",
        ".crucible/journal.sqlite3",
        "job/.0.png",
        "job/0.json",
        "job/0.JSON",
        "report",
        "Report.HTML",
        "receipts.jsonl",
        "thumbnails/0.png",
        "Thumbnails/0.png",
        "\uff32eport.html",
    ],
)
def test_no_output_may_stand_elsewhere_nor_where_the_run_keeps_files_of_its_own(path: str) -> None:
    assert not may_hold_output(path)


@each_case(
    "sha256, expected",
    [
        (DIGEST, True),
        (DIGEST[:8], True),
        (DIGEST[:7], False),
        (DIGEST.upper(), False),
        (DIGEST + "0", False),
    ],
)
def test_an_output_that_was_moved_has_its_digest_in_its_name(sha256: str, expected: bool) -> None:
    assert is_planned_path("job/{index}{ext}", 1, sha256, "job/1.0123abcd.png") is expected


@each_case(
    "path, expected",
    [
        ("elsewhere/0.png", True),
        ("0.jpg", True),
        ("notes.txt", False),
        ("notes", False),
        (".notes.png", False),
        ("../0.png", False),
        ("/home/0.png", False),
        (".crucible/0.png", False),
        ("thumbnails/0.png", False),
    ],
)
def test_a_renamed_job_has_its_pictures_below_the_run_directory(path: str, expected: bool) -> None:
    assert is_picture_path(path) is expected
