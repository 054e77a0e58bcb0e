"""What a table's columns, captions and sizes do in the page, and the choices that leave it as
files."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from crucible_batch.report.models import OutputRow
from tests.features.view.conftest import viewing
from tests.harness.commands import Cli, running_sandbox
from tests.verification.browser.conftest import (
    HOSTILE,
    Open,
    choose,
    made_job,
    made_page,
    violations,
)

Shoot = Callable[[Page, str], None]
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}


def cards(page: Page) -> Any:
    return page.locator("#view-gallery .card")


def labels(page: Page) -> list[str]:
    found: list[str] = page.locator("[data-facet] summary").evaluate_all(
        "(all) => all.map((one) => one.ariaLabel)"
    )
    return found


def export(page: Page, button: str) -> bytes:
    """Choose an entry of the menu; return the file that is downloaded."""
    if page.locator("#export").get_attribute("open") is None:
        page.locator("#export summary").click()
    with page.expect_download() as download:
        page.locator(f"#export-{button}").click()
    return Path(download.value.path()).read_bytes()


# -- rows as axes


def test_columns_with_a_few_values_are_filters_and_the_prompt_is_not(
    catalogue: Path, open_page: Open, shoot: Shoot
) -> None:
    page = open_page(catalogue).page
    assert labels(page) == ["product", "style", "season", "words", "input image"]
    choose(page, "product", "mug")
    expect(page.locator("#count")).to_have_text("4 of 8 jobs")
    choose(page, "season", "(empty)")
    expect(page.locator("#count")).to_have_text("3 of 8 jobs")
    assert "axis.row.product=mug" in page.url
    page.reload()
    expect(cards(page)).to_have_count(3)
    shoot(page, "table")


def test_hostile_cells_are_text_without_what_turns_it_around(
    catalogue: Path, open_page: Open
) -> None:
    page = open_page(catalogue).page
    page.locator('[data-facet="axis.row.words"] summary').click()
    options = page.locator('[data-facet="axis.row.words"] label').all_inner_texts()
    assert any("</script><img src=x" in option for option in options)
    assert not any(mark in option for option in options for mark in "\u2028\u202e")
    assert page.locator("img[src=x]").count() == 0
    assert page.title() == "catalogue · 8 of 8"


def test_a_photo_is_an_axis_and_stands_beside_what_was_made_of_it(
    catalogue: Path, open_page: Open, shoot: Shoot
) -> None:
    page = open_page(catalogue, "#view=compare").page
    table = page.get_by_role("table")
    assert table.locator("thead th .value").all_inner_texts() == ["input image", "marble", "linen"]
    assert table.locator("tbody th .value").all_inner_texts() == ["mug", "bowl"]
    shoot(page, "table-compare")
    first = table.locator("tbody tr").first.locator("td")
    expect(first.nth(0).locator("img")).to_have_attribute("alt", "Input image mug.png")
    expect(first.nth(1).locator(".stack")).to_contain_text("1 of 2")
    page.get_by_label("Down").select_option("input.image.image")
    assert table.locator("tbody th .value").all_inner_texts() == ["mug.png", "bowl.png"]
    page.get_by_label("Down").select_option(
        "row.style"
    )  # both photos are in each row: none of them is its own
    page.get_by_label("Across").select_option("row.product")
    assert table.locator("thead th .value").all_inner_texts() == ["mug", "bowl"]


def test_a_column_is_an_axis_if_it_has_a_few_short_values_that_jobs_share(
    tmp_path: Path, open_page: Open
) -> None:
    jobs = []
    for number in range(26):
        animal = ("fox", "cat")[number % 2]
        row = {
            "prompt": animal, "words": f"a {animal}", "animal": animal, "sku": str(number),
            "dozen": str(number % 12), "many": str(number % 13), "one": "x",
            "long": f"{number % 2}" * 81, "edge": f"{number % 2}" * 80, "__proto__": animal,
        }  # fmt: skip
        jobs.append(made_job(number, prompt=f"a {animal}", row=row, axes={"animal": "both"}))
    page = open_page(made_page(tmp_path, *jobs)).page
    assert labels(page) == ["animal", "row.animal", "dozen", "edge", "__proto__"]
    choose(page, "__proto__", "cat")
    expect(page.locator("#count")).to_have_text("13 of 26 jobs")
    page.reload()
    expect(page.locator("#count")).to_have_text("13 of 26 jobs")


# -- captions, sizes, lines


def test_a_caption_has_the_values_and_the_prompt_which_opens(
    catalogue: Path, open_page: Open
) -> None:
    page = open_page(catalogue, viewport={"width": 800, "height": 900}).page
    card = cards(page).first
    expect(card.locator(".values")).to_contain_text(
        "3 credits · product mug · style marble · season spring"
    )
    expect(cards(page).nth(3).locator(".values")).not_to_contain_text("season")
    prompt = card.locator(".prompt")
    clamped = prompt.bounding_box()["height"]
    prompt.click()
    expect(prompt).to_have_attribute("aria-expanded", "true")
    assert prompt.bounding_box()["height"] > clamped
    prompt.press("Enter")
    assert prompt.bounding_box()["height"] == clamped


DENIED = (
    "Object.defineProperty(globalThis, 'localStorage', "
    "{ get() { throw new DOMException('denied'); } })"
)


def test_a_browser_that_keeps_nothing_is_no_error(catalogue: Path, open_page: Open) -> None:
    page = open_page(catalogue).page
    page.add_init_script(DENIED)
    page.reload()
    page.get_by_label("Size of the pictures").fill("420")
    page.locator("#theme").click()
    cards(page).first.locator(".open").focus()
    page.keyboard.press("p")
    assert export(page, "picks") == b"sku-0\n"


def test_jobs_that_were_blocked_are_one_line_that_opens(
    blocked: Path, open_page: Open, shoot: Shoot
) -> None:
    page = open_page(blocked).page
    line = page.locator(".idle summary")
    expect(line).to_have_text(
        "285 jobs blocked" + "BUDGET_EXHAUSTED" + "30 of 30 credits used; the next job needs 2"
    )
    expect(page.locator("#view-gallery .card:visible")).to_have_count(15)
    shoot(page, "blocked")
    line.click()
    expect(page.locator(".idle .card").first).to_be_visible()
    page.locator(".idle .open").first.click()
    expect(page.get_by_role("dialog")).to_contain_text("BUDGET_EXHAUSTED")
    page.keyboard.press("Escape")
    page.get_by_role("searchbox").fill("job-299")
    expect(line).to_contain_text("1 job blocked")


def test_on_a_phone_the_first_picture_is_in_sight(
    report: Path, blocked: Path, catalogue: Path, open_page: Open, shoot: Shoot
) -> None:
    for name, path in (("failed", report), ("blocked", blocked), ("table", catalogue)):
        page = open_page(path, **PHONE).page
        box = page.locator("#view-gallery img").first.bounding_box()
        assert box["y"] + box["height"] / 2 < 664, (
            name
        )  # what is left of 844 between the bars of the browser
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        shoot(page, f"phone-{name}")
    page = open_page(blocked, **PHONE).page
    page.get_by_text("Details and next step").tap()
    expect(page.locator("#summary code")).to_be_visible()


# -- what leaves the page


def test_picks_and_notes_leave_as_picks_and_rows(catalogue: Path, open_page: Open) -> None:
    page = open_page(catalogue).page
    page.locator("#export summary").click()
    expect(page.locator("#export-picks")).to_be_disabled()
    for number in (5, 2):
        page.locator(f'#view-gallery .open[data-job="{number}"]').focus()
        page.keyboard.press("p")
    page.locator('#view-gallery .open[data-job="2"]').click()
    note = page.get_by_role("textbox", name="Note")
    note.press_sequentially("zxpuf: the best")  # letters that are keys elsewhere
    for _ in range(2):  # leave the note, and the picture
        page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page).not_to_have_url(re.compile("job="))  # else the dialog would be open again
    expect(page.locator("#tray")).to_be_hidden()
    page.reload()
    expect(cards(page).nth(2).locator(".note-mark")).to_have_text("zxpuf: the best")
    assert export(page, "picks") == b"sku-2\nsku-5\n"
    rows = list(csv.DictReader(io.StringIO(export(page, "csv").decode("utf-8-sig"))))
    assert len(rows) == 8
    expected = {
        "name": "sku-2",
        "status": "succeeded",
        "credits": "3",
        "mark": "picked",
        "rating": "",
        "note": "zxpuf: the best",
        "inputs": "mug.png",
        "row.style": "linen",
    }
    assert {name: rows[2][name] for name in expected} == expected
    assert (catalogue.parent / rows[2]["outputs"]).is_file()
    assert rows[2]["prompt"] == rows[2]["row.prompt"]
    page.locator('#view-gallery .open[data-job="2"]').click()
    note.fill("  ")
    for _ in range(2):
        page.keyboard.press("Escape")
    expect(page.locator(".note-mark")).to_have_count(0)


FORMULAS = [
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1",
    "\r\n=1",
    " =1",
    "\uff1d1",
    "|calc",
    "\u200b=1",
    "%0",
]
HARMLESS = ["-5", "-2.75", "a=b", "5", 'say "hi", twice', "two\nlines", HOSTILE]


def test_cells_that_a_spreadsheet_would_run_leave_as_text(tmp_path: Path, open_page: Open) -> None:
    jobs = [made_job(number, prompt=text) for number, text in enumerate(FORMULAS + HARMLESS)]
    page = open_page(
        made_page(tmp_path, made_job(99, row={"=cmd": "=cmd"}, axes={"=a": "=b"}), *jobs)
    ).page
    text = export(page, "csv").decode("utf-8")
    assert text.startswith("\ufeffname,")
    first, *rows = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    assert [row["prompt"] for row in rows] == [f"'{text}" for text in FORMULAS] + HARMLESS
    assert (first["row.=cmd"], first["axis.=a"]) == ("'=cmd", "'=b")


def pick_all(page: Page) -> None:
    for button in page.locator("#view-gallery .marks [data-mark=picked]").all():
        button.dispatch_event("click")


def test_the_picked_pictures_leave_as_an_archive_of_the_files_themselves(
    catalogue: Path, open_page: Open, tmp_path: Path, shoot: Shoot
) -> None:
    page = open_page(catalogue).page
    pick_all(page)
    page.locator("#export summary").click()
    shoot(page, "export")
    page.locator("#export-zip").click()
    expect(page.get_by_role("dialog")).to_contain_text("Select the folder of this page")
    shoot(page, "export-folder")
    with page.expect_download() as download:
        page.locator("#folder").set_input_files(catalogue.parent)
    assert download.value.suggested_filename == "catalogue-picked.zip"
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == 8
        for name in archive.namelist():
            assert archive.read(name) == (catalogue.parent / name).read_bytes()
    expect(page.locator("#export-state")).to_have_text("8 pictures in the archive.")
    page.locator("#export-zip").click()
    changed = tmp_path / "other" / archive.namelist()[0]
    changed.parent.mkdir(parents=True)
    changed.write_bytes(b"another picture")
    page.locator("#folder").set_input_files(tmp_path / "other")
    expect(page.locator("#export-state")).to_contain_text(
        "0 pictures in the archive. Not found, or changed: sku-0/0"
    )


# The page's own list of files has whatever it is asked for.
GENEROUS = (
    "const get = Map.prototype.get; Map.prototype.get = function (key) { "
    "return get.call(this, key) "
    "?? (String(key).endsWith('.png') ? new File(['x'], 'x') : undefined); };"
)


def test_an_archive_holds_no_path_that_leads_out_of_its_folder(
    tmp_path: Path, open_page: Open
) -> None:
    paths = [
        "../evil.png",
        "/evil.png",
        "a/../../evil.png",
        "C:evil.png",
        "a\\..\\evil.png",
        "./evil.png",
        "fine.png",
    ]
    known = {
        "index": 0,
        "sha256": "ab" * 32,
        "byte_size": 1,
        "mime_type": "image/png",
        "width": 4,
        "height": 3,
    }
    outputs = [
        OutputRow(path=path, saved_at=1, **known)  # type: ignore[arg-type]
        for path in paths
    ]
    jobs = [made_job(number, outputs=[output]) for number, output in enumerate(outputs)]
    page = open_page(made_page(tmp_path, *jobs)).page
    page.add_init_script(GENEROUS)
    page.reload()
    for number in range(len(paths)):
        page.locator(f'#view-gallery .open[data-job="{number}"]').focus()
        page.keyboard.press("p")
    page.locator("#export summary").click()
    page.locator("#export-zip").click()
    with page.expect_download() as download:
        page.locator("#folder").set_input_files(tmp_path)
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.namelist() == ["fine.png"]
    expect(page.locator("#export-state")).to_contain_text("and 3 more")


def test_a_served_page_makes_the_archive_by_itself(browser: Browser, tmp_path: Path) -> None:
    with running_sandbox("--time-scale", "0") as url:
        cli = Cli(tmp_path, url)
        assert cli("run", cli.write("served", "- {name: fox, prompt: a fox, repeat: 2}")).code == 0
    page = browser.new_page()
    with viewing(cli) as viewer:
        page.goto(f"{viewer.url}runs/{viewer.key('served/default')}/")
        pick_all(page)
        made = export(page, "zip")
    page.close()
    with zipfile.ZipFile(io.BytesIO(made)) as archive:
        run_dir = tmp_path / "outputs" / "served" / "default"
        assert archive.namelist() == ["fox-1/0.png", "fox-2/0.png"]
        assert archive.read("fox-2/0.png") == (run_dir / "fox-2/0.png").read_bytes()


# -- all of it


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "size", [{"viewport": {"width": 1400, "height": 900}}, PHONE], ids=["wide", "phone"]
)
def test_axe_finds_nothing_in_what_is_new(
    catalogue: Path, blocked: Path, open_page: Open, scheme: str, size: Any
) -> None:
    page = open_page(catalogue, color_scheme=scheme, **size).page
    pick_all(page)
    page.locator('#view-gallery .open[data-job="2"]').click()
    page.get_by_role("textbox", name="Note").fill("the best")
    assert violations(page) == []
    for _ in range(2):
        page.keyboard.press("Escape")
    page.locator("#export summary").click()
    assert violations(page) == []
    page.locator("#export-zip").click()
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.evaluate("location.hash = 'view=compare'")
    assert violations(page) == []
    other = open_page(blocked, color_scheme=scheme, **size).page
    other.locator(".idle summary").click()
    assert violations(other) == []
