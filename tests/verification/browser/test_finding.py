"""Pictures found again: by state, mark, rating, check, stage, axis and note, and put into order."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from crucible_batch.report.models import CheckRow, CountsRow, EntryRow, ErrorRow, OutputRow
from tests.verification.browser.conftest import (
    Open,
    choose,
    digest_of,
    made_job,
    made_page,
    violations,
)
from tests.verification.browser.test_sources import PHONE

Shoot = Callable[[Page, str], None]


def names(page: Page) -> list[str]:
    """Return the names of the pictures that are shown, in their order."""
    found: list[str] = page.locator("[data-group=pictures] .name").all_inner_texts()
    return found


def wait_for_names(page: Page, *first: str) -> None:
    """Wait until these are the names of the first pictures: an order takes a moment."""
    all_names = "[...document.querySelectorAll('[data-group=pictures] .name')]"
    shown = f"{all_names}.map((one) => one.innerText)"
    begins = f"(first) => {shown}.slice(0, first.length).join() === first.join()"
    page.wait_for_function(begins, arg=list(first))


def checked(number: int, **marks: str) -> dict[str, Any]:
    """Return the fields of a job whose output has these marks of checks."""
    checks = [
        CheckRow(check=name, verdict=verdict, reason="why") for name, verdict in marks.items()
    ]  # type: ignore[arg-type]
    output = OutputRow(
        index=0, path="a.png", sha256=digest_of(f"{number}"), byte_size=1, mime_type="image/png",
        width=160, height=120, saved_at=100 - number, checks=checks,
    )  # fmt: skip
    return {"outputs": [output]}


@pytest.fixture
def twelve(tmp_path: Path) -> Path:
    """The page of twelve pictures with what they can be found by."""
    Image.new("RGB", (160, 120), "teal").save(tmp_path / "a.png")
    marks: dict[int, dict[str, str]] = {
        1: {"blank": "reject"},
        2: {"duplicate": "flag"},
        3: {"duplicate": "flag", "blank": "flag"},
        4: {"command": "unchecked"},
    }
    jobs = [
        made_job(
            f"shot-{number}",
            axes={
                "style": ("noir", "gouache", "ink")[number % 3],
                "hour": ("dawn", "dusk")[number % 2],
            },
            credits=Decimal(number % 5),
            prompt=f"a heron, number {number}",
            **checked(number, **marks.get(number, {})),
        )
        for number in range(12)
    ]
    return made_page(tmp_path, *jobs)


def test_the_values_of_a_filter_are_alternatives_and_filters_narrow_each_other(
    twelve: Path, open_page: Open
) -> None:
    page = open_page(twelve).page
    choose(page, "style", "noir", "ink")
    expect(page.locator("#count")).to_have_text("8 of 12 jobs")
    assert "axis.style=noir&axis.style=ink" in page.url
    choose(page, "hour", "dawn")
    expect(page.locator("#count")).to_have_text("4 of 12 jobs")
    page.reload()
    expect(page.locator("#count")).to_have_text("4 of 12 jobs")
    summary = page.locator('[data-facet="axis.style"] summary')
    expect(summary).to_have_attribute("aria-label", "style: noir, ink")
    choose(page, "style", "noir")  # the same again takes it back
    expect(page.locator("#count")).to_have_text("2 of 12 jobs")
    summary.click()
    counts = [
        item.inner_text().split() for item in page.locator('[data-facet="axis.style"] label').all()
    ]
    assert counts == [["noir", "2"], ["gouache", "2"], ["ink", "2"]]  # what each would leave


def test_what_checks_have_found_is_a_filter(twelve: Path, open_page: Open) -> None:
    page = open_page(twelve).page
    choose(page, "check", "blank")
    assert names(page) == ["shot-1", "shot-3"]
    choose(page, "check", "duplicate")
    assert names(page) == ["shot-1", "shot-2", "shot-3"]
    choose(page, "check", "blank", "duplicate", "not decided")
    assert names(page) == ["shot-4"]


MARKS = """(entries) => {
    const { jobs } = JSON.parse(document.getElementById('report').textContent);
    const key = (job) => `${job.name}/0 ${job.outputs[0].sha256.slice(0, 12)}`;
    const marks = {};
    for (const [at, mark, rating] of entries) marks[key(jobs[at])] = { mark, rating };
    const notes = { 'shot-7': 'the Moon is too large' };
    localStorage.setItem(`crucible-marks:${location.pathname}`, JSON.stringify({ marks, notes }));
}"""


def marked(page: Page) -> None:
    page.evaluate(MARKS, [[0, "picked", 5], [1, "rejected", 0], [2, "picked", 3], [3, None, 4]])
    page.reload()


def test_marks_ratings_and_notes_are_filters_once_there_are_any(
    twelve: Path, open_page: Open, shoot: Shoot
) -> None:
    page = open_page(twelve).page
    expect(page.locator("#marks")).to_be_hidden()
    expect(page.locator("#rating")).to_be_hidden()
    marked(page)
    counts = page.locator("#marks button").all_inner_texts()
    assert [text.split() for text in counts] == [
        ["✓picked", "2"],
        ["✕rejected", "1"],
        ["unmarked", "9"],
    ]
    page.locator("#marks").get_by_role("button", name="picked").click()
    assert names(page) == ["shot-0", "shot-2"]
    page.locator("#marks").get_by_role("button", name="rejected").click()
    assert names(page) == ["shot-0", "shot-1", "shot-2"]
    assert "mark=picked%2Crejected" in page.url
    page.get_by_role("button", name="Clear").click()
    page.get_by_role("button", name="4 stars or more: 2 jobs").click()
    assert names(page) == ["shot-0", "shot-3"]
    assert "rating=4" in page.url
    shoot(page, "finding")
    page.get_by_role("button", name="4 stars or more").click()
    page.get_by_role("searchbox").fill("HERON moon")
    assert names(page) == ["shot-7"]


def test_the_order_is_chosen_and_kept_in_the_address(twelve: Path, open_page: Open) -> None:
    page = open_page(twelve).page
    marked(page)
    sort = page.get_by_label("Sort")
    sort.select_option("newest")
    wait_for_names(page, "shot-0", "shot-1")  # the first was saved last
    sort.select_option("rating")
    wait_for_names(page, "shot-0", "shot-3", "shot-2", "shot-1")
    sort.select_option("credits")
    wait_for_names(page, "shot-4", "shot-9", "shot-3")
    page.reload()
    wait_for_names(page, "shot-4", "shot-9", "shot-3")
    sort.select_option("name")
    wait_for_names(page, *(f"shot-{number}" for number in range(12)))
    sort.select_option("manifest")
    assert "sort" not in page.url


def test_stages_have_the_titles_of_their_entries(tmp_path: Path, open_page: Open) -> None:
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "a.png")
    source = {"index": 0, "path": "a.png", "sha256": digest_of("a.png")}
    jobs = [
        *(made_job(f"draft-{number}", file="a.png") for number in range(3)),
        made_job("sheet", file="a.png"),
        *(
            made_job(f"final-draft-{n}", file="a.png", source={"name": f"draft-{n}", **source})
            for n in range(2)
        ),
    ]
    entries = [
        EntryRow(name="draft", before=0),
        EntryRow(name="sheet", before=3),
        EntryRow(name="final-{{ source.name }}", before=4, sources="draft*"),
    ]
    page = open_page(made_page(tmp_path, *jobs, entries=entries)).page
    choose(page, "stage", "final")
    assert names(page) == ["final-draft-0", "final-draft-1"]
    choose(page, "stage", "sheet")
    expect(page.locator("#count")).to_have_text("3 of 6 jobs")
    page.locator('[data-facet="stage"] summary').click()
    items = page.locator('[data-facet="stage"] label').all_inner_texts()
    assert [item.split()[0] for item in items] == ["draft", "sheet", "final"]


def test_menus_are_used_by_keyboard(twelve: Path, open_page: Open) -> None:
    page = open_page(twelve).page
    summary = page.locator('[data-facet="axis.style"] summary')
    summary.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    expect(page.locator("#count")).to_have_text("4 of 12 jobs")
    assert page.evaluate("document.activeElement.checked") is True
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    expect(page.locator(".menu[open]")).to_have_count(0)
    page.locator('[data-facet="axis.hour"] summary').click()
    summary.click()
    expect(page.locator(".menu[open]")).to_have_count(1)
    page.locator("h1").click()
    expect(page.locator(".menu[open]")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "size", [{"viewport": {"width": 1400, "height": 900}}, PHONE], ids=["wide", "phone"]
)
def test_axe_finds_nothing_in_the_filters(
    twelve: Path, open_page: Open, scheme: str, size: Any
) -> None:
    page = open_page(twelve, "#rating=2", color_scheme=scheme, **size).page
    marked(page)
    assert violations(page) == []
    page.locator('[data-facet="check"] summary').click()
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= size["viewport"]["width"]


def test_an_empty_run_is_shown_as_such(tmp_path: Path, open_page: Open) -> None:
    page = open_page(made_page(tmp_path)).page
    for view in ("gallery", "compare"):
        page.locator(f'#views [data-view="{view}"]').click()
        expect(page.locator(f"#view-{view}")).to_have_text("This run has no jobs.")
    for key in ("ArrowRight", "p", "r", "u", "Enter", "a", "Home"):
        page.keyboard.press(key)
    assert violations(page) == []


def test_many_failed_jobs_leave_room_for_the_pictures(tmp_path: Path, open_page: Open) -> None:
    Image.new("RGB", (160, 120), "teal").save(tmp_path / "a.png")
    failed = {"status": "failed", "error": ErrorRow(code="GPU_LOST", message="gone")}
    jobs = [made_job(f"failed-{number}", **failed) for number in range(20)]
    jobs += [made_job(number, file="a.png") for number in range(5)]
    counts = CountsRow(total=25, succeeded=5, failed=20)
    written = made_page(tmp_path, *jobs, status="partial", exit_code=1, counts=counts)
    page = open_page(written, **PHONE).page
    expect(page.locator("[data-group=trouble] .card")).to_have_count(4)
    expect(page.locator("[data-group=pictures] .card").first).to_be_in_viewport()
    assert violations(page) == []
    page.locator("[data-group=trouble] .rows").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.job") == "0"
    page.get_by_role("button", name="Show all 20").click()
    expect(page.locator("[data-group=trouble] .card")).to_have_count(20)
    assert violations(page) == []
    page.evaluate("location.hash = 'state=failed'")
    expect(page.locator("[data-group=trouble] .card")).to_have_count(20)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
