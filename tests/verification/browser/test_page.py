"""report.html as the art director has it: opened from the disk, filtered, compared, walked through
by keyboard.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from crucible_batch.report.models import CountsRow, ErrorRow
from tests.verification.browser.conftest import (
    HOSTILE,
    Open,
    choose,
    made_job,
    made_page,
    violations,
)

Shoot = Callable[[Page, str], None]


def cards(page: Page) -> Any:
    return page.locator("#view-gallery .card")


def test_it_opens_from_the_disk_with_what_failed_first(
    report: Path, open_page: Open, shoot: Shoot
) -> None:
    page = open_page(report).page
    expect(page.get_by_role("heading", level=1)).to_have_text("lookbook")
    expect(cards(page)).to_have_count(14)
    first = cards(page).first
    expect(first.locator(".code")).to_have_text("MODERATION_REFUSED")
    expect(first).to_contain_text(HOSTILE[:20])
    expect(page.locator("#summary")).to_contain_text("13 of 14")
    expect(page.locator("#summary")).to_contain_text("Change the failed jobs, then run")
    assert (
        "--retry-failed" not in page.locator("body").inner_text()
    )  # it was refused for its content
    images = page.locator("#view-gallery img")
    expect(images).to_have_count(13)
    assert "A harbour at dawn, noir" in (images.first.get_attribute("alt") or "")
    assert page.title() == "lookbook · 13 of 14"
    shoot(page, "gallery")


def test_only_a_failure_that_another_attempt_may_change_has_the_command(
    tmp_path: Path, open_page: Open
) -> None:
    codes = ("GPU_LOST", "Nsfw_Content", "OUTPUT_EXISTS")
    rows = [
        made_job(code, status="failed", error=ErrorRow(code=code, message="why")) for code in codes
    ]
    failed = {"status": "failed", "exit_code": 1, "counts": CountsRow(total=3, failed=3)}
    page = open_page(made_page(tmp_path, *rows, never={"NSFW_CONTENT"}, **failed)).page
    expect(page.locator("#summary code")).to_contain_text("--retry-failed")
    for name, has_command in zip(codes, (1, 0, 0), strict=True):
        cards(page).filter(has_text=name).click()
        expect(page.locator(".trouble-box .code")).to_have_text(name)
        expect(page.locator(".trouble-box code").filter(has_text="--retry-failed")).to_have_count(
            has_command
        )
        page.keyboard.press("Escape")


def test_filters_leave_what_they_say_and_live_in_the_address(report: Path, open_page: Open) -> None:
    page = open_page(report).page
    choose(page, "style", "noir")
    expect(cards(page)).to_have_count(4)
    expect(page.locator("#count")).to_have_text("4 of 14 jobs")
    page.locator('[data-facet="axis.hour"] summary').click()
    items = page.locator('[data-facet="axis.hour"] label')
    assert [item.inner_text().split() for item in items.all()] == [["dawn", "2"], ["dusk", "2"]]
    items.nth(1).click()
    expect(cards(page)).to_have_count(2)
    assert "axis.style=noir&axis.hour=dusk" in page.url
    page.reload()
    expect(cards(page)).to_have_count(2)
    page.get_by_role("button", name="Clear").click()
    page.get_by_role("button", name="failed").click()
    expect(cards(page)).to_have_count(1)
    page.get_by_role("button", name="Clear").click()
    choose(page, "workflow", "qwen-edit")
    expect(cards(page)).to_have_count(1)
    page.get_by_role("button", name="Clear").click()
    page.get_by_role("searchbox").fill("dawn GOUACHE")
    expect(cards(page)).to_have_count(2)
    page.get_by_role("searchbox").fill("no such thing")
    expect(page.locator(".nothing")).to_be_visible()
    page.go_back()


def test_the_grid_has_two_axes_and_stacks_the_rest(
    report: Path, open_page: Open, shoot: Shoot
) -> None:
    page = open_page(report, "#view=compare").page
    table = page.get_by_role("table")
    assert table.locator("thead th .value").all_inner_texts() == ["dawn", "dusk"]
    assert table.locator("tbody th .value").all_inner_texts() == ["noir", "watercolor", "gouache"]
    expect(table.locator("td img")).to_have_count(6)
    shoot(page, "compare")
    cell = table.locator("td").first
    expect(cell.locator("img")).to_have_attribute(
        "alt", "harbour-noir-dawn-1: A harbour at dawn, noir"
    )
    cell.get_by_label("Next of the stack").click()
    expect(cell.locator("img")).to_have_attribute(
        "alt", "harbour-noir-dawn-2: A harbour at dawn, noir"
    )
    expect(cell.locator(".stack")).to_contain_text("2 of 2")
    page.locator("[data-fixed]").select_option("2")
    expect(cell.locator(".stack")).to_have_count(0)
    page.get_by_label("Across").select_option("·repeat")
    assert table.locator("thead th .value").all_inner_texts() == ["1", "2"]
    width = cell.bounding_box()["width"]
    page.get_by_label("Size of the cells").fill("500")
    assert cell.bounding_box()["width"] > width


def test_rows_and_columns_say_what_they_came_to(report: Path, open_page: Open) -> None:
    page = open_page(report, "#view=compare").page
    jobs = [
        job
        for job in json.loads((report.parent / "report.json").read_text())["jobs"]
        if job["axes"].get("hour")
    ]
    for hour in ("dawn", "dusk"):
        total = sum(Decimal(job["credits"]) for job in jobs if job["axes"]["hour"] == hour)
        head = page.get_by_role("columnheader", name=hour)
        expect(head).to_contain_text(
            re.compile(rf"^{hour}{total.normalize():f} credits · [\d.]+ m?s each$")
        )
    page.get_by_label("Down").select_option("·job")
    page.get_by_label("Across").select_option("")
    expect(page.get_by_role("rowheader", name="refused")).to_have_text(
        "refused"
    )  # one job is no sum


def test_picks_are_kept_filter_and_give_their_files(
    report: Path, open_page: Open, shoot: Shoot
) -> None:
    page = open_page(report, permissions=["clipboard-read", "clipboard-write"]).page
    picked = page.locator("#marks [data-value=picked]")
    expect(picked).to_be_hidden()
    page.locator(".open", has_text="harbour-noir-dawn-1").hover()
    page.get_by_label("Pick harbour-noir-dawn-1").click()
    page.locator(".open", has_text="harbour-noir-dusk-2").focus()
    page.keyboard.press("p")
    second = page.get_by_label("Pick harbour-noir-dusk-2")
    expect(second).to_have_attribute("aria-pressed", "true")
    page.reload()
    expect(second).to_have_attribute("aria-pressed", "true")
    picked.click()
    expect(cards(page)).to_have_count(2)
    shoot(page, "picked")
    page.locator("#export summary").click()
    page.get_by_role("button", name="Copy the paths of 2 picked").click()
    expect(page.locator("#export-state")).to_have_text("Copied.")
    files = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert [(report.parent / file).is_file() for file in files] == [True, True]
    picked.click()
    for name in ("harbour-noir-dawn-1", "harbour-noir-dusk-2"):
        page.get_by_label(f"Pick {name}").click()
    expect(picked).to_be_hidden()
    assert cards(page).count() > 2


def test_a_job_opens_in_full_with_all_that_is_known_of_it(
    report: Path, open_page: Open, shoot: Shoot
) -> None:
    seen = open_page(report)
    page = seen.page
    page.get_by_role("button", name="edit: on marble").first.click()
    dialog = page.get_by_role("dialog")
    for text in (
        "edit",
        "on marble",
        "qwen-edit",
        "3 credits",
        "Attempt",
        "image.image",
        "mug.png",
        "SHA-256",
    ):
        expect(dialog).to_contain_text(text)
    expect(dialog.locator(".frame img")).to_have_js_property("complete", True)
    assert dialog.locator(".frame img").evaluate("(image) => image.naturalWidth") == 800
    full = dialog.locator(".frame img").get_attribute("src")
    assert full in {"edit/0.png", "edit/0.jpg"}
    assert any(url.endswith(f"/{full}") for url in seen.requests)
    shoot(page, "detail")
    dialog.get_by_label("Show input: mug.png").click()
    assert str(dialog.locator(".frame img").get_attribute("src")).startswith("data:image/webp")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert page.evaluate("document.activeElement.dataset.job") is not None


def test_a_closed_dialog_leaves_the_address_at_once(report: Path, open_page: Open) -> None:
    """Else a page that is loaded again in the same moment would show the dialog again."""
    page = open_page(report).page
    for close in (
        "document.querySelector('dialog .close').click()",
        "document.querySelector('dialog').click()",
    ):
        cards(page).first.click()
        expect(page).to_have_url(re.compile("job="))
        assert "job=" not in str(page.evaluate(f"() => {{ {close}; return location.hash }}"))
    cards(page).first.click()
    page.evaluate(
        "document.querySelector('dialog').addEventListener('cancel', "
        "() => { window.left = location.hash })"
    )
    page.keyboard.press("Escape")
    assert "job=" not in str(page.evaluate("window.left"))
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_an_error_shows_its_hint_and_request(report: Path, open_page: Open, shoot: Shoot) -> None:
    page = open_page(report, "#state=failed").page
    cards(page).first.click()
    box = page.locator(".trouble-box")
    expect(box).to_contain_text("MODERATION_REFUSED")
    expect(page.locator("#detail")).to_contain_text("2, refunded")
    expect(page.locator("#detail blockquote")).to_have_text(f"nsfw {HOSTILE}", use_inner_text=False)
    assert page.title().startswith("lookbook")
    shoot(page, "error")


def test_two_pictures_flip_by_mouse_and_by_keyboard(
    report: Path, open_page: Open, shoot: Shoot
) -> None:
    page = open_page(report).page
    pins = page.locator("#view-gallery [data-pin]")
    names = [pins.nth(number).get_attribute("aria-label") or "" for number in (0, 2)]
    first, second = (name.removeprefix("Select ").removesuffix(" to compare") for name in names)
    pins.nth(0).click()
    pins.nth(2).click()
    expect(page.locator("#tray")).to_contain_text(f"{first} and {second}")
    page.get_by_role("button", name="Compare", exact=True).last.click()
    name = page.locator("#flip .name")
    expect(name).to_have_text(first)
    between = page.locator("#flip .between")
    assert [line.split(" ")[0] for line in between.locator("li").all_inner_texts()] == ["hour"]
    expect(between).to_have_text("hour dawn → dusk")
    weights = (
        "(line) => ['a', 'b'].map((side) => "
        "getComputedStyle(line.querySelector(`.${side}`)).fontWeight)"
    )
    assert between.locator("li").evaluate(weights) == ["600", "400"]
    shoot(page, "flip")
    for key, shown in (("Space", second), ("ArrowLeft", first), ("f", second)):
        page.keyboard.press(key)
        expect(name).to_have_text(shown)
    page.get_by_role("button", name="Flip").click()
    expect(name).to_have_text(first)
    page.locator("#flip .pane:not(.under)").click()
    expect(name).to_have_text(second)
    page.locator("#flip .pane:not(.under)").click()
    page.get_by_label("Zoom").fill("3")
    panes = page.locator("#flip .pane")
    panes.first.evaluate("(pane) => { pane.scrollTop = 40; pane.scrollLeft = 30; }")
    expect(panes.nth(1)).to_have_js_property("scrollLeft", 30)
    page.get_by_role("button", name="Side by side").click()
    expect(panes.nth(1)).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#flip")).to_have_count(0)


def test_the_keyboard_alone_is_enough(report: Path, open_page: Open) -> None:
    page = open_page(report).page
    focused = "document.activeElement.dataset.job"
    page.keyboard.press("ArrowRight")
    start = page.evaluate(focused)
    page.keyboard.press("ArrowDown")
    assert page.evaluate(focused) != start
    page.keyboard.press("ArrowUp")
    assert page.evaluate(focused) == start
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    title = dialog.get_by_role("heading", level=2)
    before = title.inner_text()
    page.keyboard.press("ArrowRight")
    expect(title).not_to_have_text(before)
    after = title.inner_text()
    page.keyboard.press("z")
    expect(dialog.locator(".frame")).to_have_class("frame real")
    page.keyboard.press("ArrowRight")  # moves the enlarged picture about, and turns no page
    expect(title).to_have_text(after)
    page.keyboard.press("z")
    expect(dialog.locator(".frame")).to_have_class("frame")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.type("dusk")
    expect(page.locator("#count")).to_have_text("6 of 14 jobs")
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    expect(page.get_by_role("table")).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_system_until_a_user_chooses(
    report: Path, open_page: Open, shoot: Shoot, scheme: str
) -> None:
    page = open_page(report, color_scheme=scheme).page
    paper = "getComputedStyle(document.body).backgroundColor"
    assert (
        page.evaluate(paper) == {"light": "rgb(250, 249, 247)", "dark": "rgb(19, 18, 17)"}[scheme]
    )
    shoot(page, scheme)
    page.locator("#theme").click()
    assert page.evaluate(paper) == "rgb(250, 249, 247)"
    page.locator("#theme").click()
    assert page.evaluate(paper) == "rgb(19, 18, 17)"


def test_a_phone_shows_it_all_without_scrolling_sideways(
    report: Path, open_page: Open, shoot: Shoot
) -> None:
    phone = {
        "viewport": {"width": 390, "height": 844},
        "device_scale_factor": 2,
        "is_mobile": True,
        "has_touch": True,
    }
    page = open_page(report, **phone).page
    for address, sign in (
        ("#", ".card"),
        ("#view=compare", "table"),
        ("#job=0", "#detail"),
    ):
        page.evaluate("(address) => { location.hash = address; }", address)
        expect(page.locator(sign).first).to_be_visible()
        shoot(page, f"phone{address.replace('#', '-').replace('=', '-').rstrip('-')}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.evaluate("location.hash = 'view=compare'")
    for number in range(2):
        page.locator(".sheet [data-pin]").nth(number).tap()
    page.get_by_role("button", name="Compare", exact=True).last.tap()
    picture = page.locator("#flip .pane:not(.under) img").bounding_box()
    assert picture["x"] >= 0
    assert picture["x"] + picture["width"] <= 390
    page.locator("#flip .pane:not(.under)").tap()
    expect(page.locator("#flip .letter")).to_have_text("B")
    shoot(page, "phone-flip")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("address", ["#", "#view=compare", "#job=0", "#job=13"])
def test_axe_finds_nothing(report: Path, open_page: Open, address: str, scheme: str) -> None:
    assert violations(open_page(report, address, color_scheme=scheme).page) == []
