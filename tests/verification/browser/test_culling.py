"""Culling as in the programs that photographers know: one picture large, by keyboard alone."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Page, expect

from crucible_batch.report.models import CountsRow, ErrorRow, OutputRow
from tests.features.view.conftest import viewing
from tests.harness.commands import Cli, running_sandbox
from tests.verification.browser.conftest import (
    Open,
    choose,
    digest_of,
    made_job,
    made_page,
    violations,
)

Shoot = Callable[[Page, str], None]
DESK = {"viewport": {"width": 1400, "height": 900}}
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}
SHAPES = ((720, 480), (480, 720), (600, 600), (960, 400))


def painted(path: Path, number: int) -> None:
    """Draw a landscape of its own for each number."""
    width, height = SHAPES[number % len(SHAPES)]
    sky = (90 + number * 37 % 120, 120 + number * 53 % 90, 150 + number * 29 % 90)
    picture = Image.new("RGB", (width, height), sky)
    draw = ImageDraw.Draw(picture)
    horizon = height * (45 + number * 7 % 30) // 100
    ground = (40 + number * 31 % 90, 60 + number * 17 % 80, 40 + number * 11 % 60)
    draw.rectangle((0, horizon, width, height), fill=ground)
    left = width * (15 + number * 13 % 60) // 100
    draw.ellipse((left, horizon - 90, left + 70, horizon - 20), fill=(250, 235, 190))
    draw.text((12, height - 24), f"{number}", fill="white")
    picture.save(path)


def output(path: str, *, generation: int = 0, rejected: str | None = None, index: int = 0) -> Any:
    known = {"byte_size": 1, "mime_type": "image/png", "width": 720, "height": 480, "saved_at": 1}
    return OutputRow(
        index=index,
        path=path,
        sha256=digest_of(path),
        generation=generation,
        rejected=rejected,
        **known,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def landscapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of 40 jobs; the third has two outputs, the fifth two earlier takes."""
    folder = tmp_path_factory.mktemp("landscapes")
    for number in range(44):
        painted(folder / f"{number}.png", number)
    jobs = [
        made_job(f"heron-{number}", file=f"{number}.png", prompt=f"A heron, study {number}")
        for number in range(40)
    ]
    pair = [output("2.png"), output("40.png", index=1)]
    jobs[2] = made_job("heron-2", outputs=pair, prompt="Two herons")
    takes = [
        output("41.png", rejected="two beaks"),
        output("42.png", generation=1, rejected=""),
    ]
    current = [output("4.png", generation=2)]
    jobs[4] = made_job(
        "heron-4", outputs=current, takes=takes, generation=2, prompt="A heron, study 4"
    )
    return made_page(folder, *jobs, name="herons")


def name_of(page: Page) -> str:
    return page.locator("#detail h2").inner_text()


def open_first(page: Page) -> None:
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("#detail .frame img")).to_have_js_property("complete", True)


def test_pictures_are_culled_by_keyboard_alone(
    landscapes: Path, open_page: Open, shoot: Shoot
) -> None:
    page = open_page(landscapes, **DESK).page
    open_first(page)
    tally = page.locator("#detail .tally")
    expect(tally).to_have_text("0 picked · 0 rejected · 41 unmarked")
    page.keyboard.press("p")
    assert name_of(page) == "heron-1"
    page.keyboard.press("x")
    assert name_of(page) == "heron-2"
    expect(page.locator("#detail .place")).to_have_text("3 of 41")
    page.keyboard.press("4")
    expect(page.locator("#detail [data-rate='4']")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("x")  # the next is the other output of the same job
    assert name_of(page) == "heron-2"
    expect(page.locator("#detail .place")).to_have_text("4 of 41")
    page.keyboard.press("x")
    assert name_of(page) == "heron-3"
    expect(tally).to_have_text("1 picked · 3 rejected · 37 unmarked")
    shoot(page, "cull")
    page.keyboard.press("u")
    expect(page.locator("#detail .place")).to_have_text("4 of 41")
    expect(tally).to_have_text("1 picked · 2 rejected · 38 unmarked")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#detail [data-decide=rejected]")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("x")  # once more: removed, and it stays
    expect(page.locator("#detail .place")).to_have_text("3 of 41")
    expect(tally).to_have_text("1 picked · 1 rejected · 39 unmarked")
    page.keyboard.press("0")
    expect(page.locator("#detail .full")).to_have_count(0)
    for key, place in (("End", "41 of 41"), ("p", "41 of 41"), ("Home", "1 of 41")):
        page.keyboard.press(key)
        expect(page.locator("#detail .place")).to_have_text(place)
    held = "new KeyboardEvent('keydown', { key: 'p', repeat: true, bubbles: true })"
    page.evaluate(f"document.querySelector('#detail .stage').dispatchEvent({held})")
    expect(page.locator("#detail .place")).to_have_text("1 of 41")
    page.reload()
    expect(tally).to_have_text("2 picked · 1 rejected · 38 unmarked")
    page.keyboard.press("g")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_label("Reject heron-1", exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )
    shoot(page, "cull-grid")


def test_marks_are_given_on_the_page_of_all_pictures_too(landscapes: Path, open_page: Open) -> None:
    page = open_page(landscapes, **DESK).page
    focused = "page_of => document.activeElement.dataset.job"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("x")
    assert page.evaluate(focused) == "1"
    page.keyboard.press("p")
    page.keyboard.press("3")
    assert page.evaluate(focused) == "2"
    expect(page.locator("[data-marks='2'] .rated")).to_have_text("★★★")
    page.keyboard.press("u")
    expect(page.locator("[data-marks='2'] .rated")).to_be_hidden()
    page.keyboard.press("u")
    assert page.evaluate(focused) == "1"
    expect(page.get_by_label("Pick heron-1", exact=True)).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("c")
    page.keyboard.press("g")
    expect(page.locator("#view-gallery")).to_be_visible()


def test_rejections_leave_as_a_command_and_as_lines(landscapes: Path, open_page: Open) -> None:
    page = open_page(landscapes, **DESK).page
    for number in (0, 3):
        page.locator(f'#view-gallery .open[data-job="{number}"]').focus()
        page.keyboard.press("x")
    page.get_by_role("button", name="Rejections").click()
    commands = page.locator("#rejects .command code")
    expect(commands.first).to_have_text(
        f"crucible-batch reject {landscapes.parent} heron-0/0 heron-3/0"
    )
    expect(commands.last).to_contain_text("crucible-batch run m.yaml")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save rejects.txt").click()
    lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    assert lines == [
        f"heron-0/0 g0 {digest_of('0.png')[:12]}",
        f"heron-3/0 g0 {digest_of('3.png')[:12]}",
        f"heron-4/0 g0 {digest_of('41.png')[:12]} two beaks",
        f"heron-4/0 g1 {digest_of('42.png')[:12]}",
    ]
    page.get_by_role("button", name="Keep heron-0").click()
    expect(page.locator("#rejects h2")).to_have_text("1 picture rejected")
    assert violations(page) == []


def test_a_rejection_gets_a_reason_by_keyboard(landscapes: Path, open_page: Open) -> None:
    page = open_page(landscapes, **DESK).page
    open_first(page)
    page.keyboard.press("r")
    page.keyboard.type("two beaks, px3")  # letters are no decisions here
    page.keyboard.press("Enter")
    assert name_of(page) == "heron-1"
    stage = page.locator("#detail .stage")
    page.keyboard.press("ArrowLeft")
    expect(stage).to_have_attribute("data-reason", " · two beaks, px3")
    page.keyboard.press("r")  # what it has is changed
    expect(page.get_by_role("textbox", name="Reason")).to_have_value("two beaks, px3")
    page.keyboard.type("it's dark")
    page.keyboard.press("Enter")
    page.keyboard.press("r")  # of heron-1, by what was given before
    for _ in range(2):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "it's dark"
    page.keyboard.press("Enter")
    page.keyboard.press("x")
    expect(page.locator("#detail .tally")).to_have_text("0 picked · 3 rejected · 38 unmarked")
    page.keyboard.press("r")
    assert violations(page) == []
    page.keyboard.press("Escape")  # nothing was decided
    expect(page.locator("#detail .tally")).to_have_text("0 picked · 3 rejected · 38 unmarked")
    page.reload()
    page.keyboard.press("Home")
    expect(stage).to_have_attribute("data-reason", " · it's dark")
    page.keyboard.press("g")
    page.keyboard.press("/")
    page.keyboard.type("dark")
    expect(page.locator("#count")).to_have_text("2 of 40 jobs")
    page.get_by_role("button", name="Clear").click()
    page.get_by_role("button", name="Rejections").click()
    commands = page.locator("#rejects .command code")
    reject = f"crucible-batch reject {landscapes.parent}"
    quoted = shlex.quote("it's dark")
    assert commands.all_inner_texts()[:2] == [
        f"{reject} heron-0/0 heron-1/0 --reason {quoted}",
        f"{reject} heron-2/0",
    ]
    with page.expect_download() as download:
        page.get_by_role("button", name="Save rejects.txt").click()
    lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    assert lines[0] == f"heron-0/0 g0 {digest_of('0.png')[:12]} it's dark"


def test_a_job_without_a_picture_gets_no_mark(tmp_path: Path, open_page: Open) -> None:
    painted(tmp_path / "0.png", 0)
    failed = {"status": "failed", "error": ErrorRow(code="MODERATION_REFUSED", message="refused")}
    jobs = [made_job("refused", **failed), made_job("heron", file="0.png")]
    counts = CountsRow(total=2, succeeded=1, failed=1)
    page = open_page(made_page(tmp_path, *jobs, counts=counts), **DESK).page
    page.keyboard.press("ArrowRight")
    for key in ("p", "4", "x", "r"):
        page.keyboard.press(key)
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("Enter")
    for key in ("x", "r", "4"):
        page.keyboard.press(key)
    assert name_of(page) == "refused"
    tally = page.locator("#detail .tally")
    expect(tally).to_have_text("0 picked · 0 rejected · 1 unmarked")
    expect(page.get_by_role("button", name="Reject with a reason")).to_be_disabled()
    expect(page.locator("#detail .strip .label")).to_have_text("failed")
    assert violations(page) == []
    page.keyboard.press("ArrowRight")
    page.keyboard.press("p")
    expect(tally).to_have_text("1 picked · 0 rejected · 0 unmarked")
    page.keyboard.press("g")
    for mark, count in (("picked", 1), ("rejected", 0), ("unmarked", 0)):
        expect(page.locator(f'#marks [data-value="{mark}"] b')).to_have_text(str(count))
    page.get_by_role("button", name="Save picks").click()
    expect(page.locator("#picks h2")).to_have_text("1 pick")


def test_escape_leaves_what_is_typed_and_keeps_it(landscapes: Path, open_page: Open) -> None:
    page = open_page(landscapes, **DESK).page
    page.keyboard.press("/")
    page.keyboard.type("heron-3")
    expect(page.locator("#count")).to_have_text("11 of 40 jobs")
    page.keyboard.press("Escape")
    expect(page.locator("#search")).not_to_be_focused()
    expect(page.locator("#search")).to_have_value("heron-3")  # as the list is
    open_first(page)
    page.keyboard.press("n")
    page.keyboard.type("xp4")
    page.keyboard.press("Escape")
    expect(page.get_by_role("textbox", name="Note")).to_have_value("xp4")
    expect(page.locator("#detail .tally")).to_have_text("0 picked · 0 rejected · 11 unmarked")
    page.keyboard.press("x")  # the picture is still open, and takes keys again
    expect(page.locator("#detail .place")).to_have_text("2 of 11")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_mark_stands_at_its_own_picture_beside_another(
    landscapes: Path, open_page: Open, shoot: Shoot
) -> None:
    page = open_page(landscapes, "#job=4", **DESK).page
    badge = "getComputedStyle(document.querySelector('#detail .stage'), '::before').content"
    page.keyboard.press("p")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(badge) == '"✓ picked"'
    page.keyboard.press("t")  # take 2 is rejected, and take 3 is picked
    captions = page.locator("#detail .captions p:not(.under)")
    own = "heron-4, take 3 · 720 × 480"
    expect(captions).to_have_text(["take 2 · rejected · 720 × 480", f"{own} · picked"])
    assert page.evaluate(badge) == "none"
    shoot(page, "cull-beside")
    page.keyboard.press("f")
    page.keyboard.press("f")
    expect(captions).to_have_text([f"{own} · picked"])
    page.keyboard.press("p")
    page.keyboard.press("r")
    page.keyboard.type("blurred")
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowLeft")
    expect(captions).to_have_text([f"{own} · rejected: blurred"])


def test_several_get_one_reason_and_keep_it(landscapes: Path, open_page: Open) -> None:
    page = open_page(landscapes, **DESK).page
    page.keyboard.press("ArrowRight")
    for key in ("Shift+ArrowRight", "Shift+ArrowRight", "r"):
        page.keyboard.press(key)
    page.keyboard.type("check blank: too dark")
    page.keyboard.press("Enter")
    rejected = page.locator('#view-gallery [data-mark="rejected"][aria-pressed="true"]')
    expect(rejected).to_have_count(3)
    # It is no reason of a check, with which the same picture could be bought again and again.
    expect(rejected.first).to_have_attribute("title", "Rejected: Check blank: too dark")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("x")  # the fourth as well
    expect(rejected).to_have_count(4)
    expect(rejected.first).to_have_attribute("title", "Rejected: Check blank: too dark")
    page.keyboard.press("u")
    expect(rejected).to_have_count(3)
    page.keyboard.press("u")
    expect(rejected).to_have_count(0)


def test_what_the_filter_hides_is_not_decided_about(landscapes: Path, open_page: Open) -> None:
    page = open_page(landscapes, **DESK).page
    page.keyboard.press("ArrowRight")
    for _ in range(3):
        page.keyboard.press("Shift+ArrowRight")
    tray = page.locator("#tray")
    expect(tray.get_by_role("status")).to_have_text("4 selected")
    page.keyboard.press("/")
    page.keyboard.type("heron-2")
    page.keyboard.press("Escape")
    expect(tray.get_by_role("status")).to_have_text("4 selected, 3 not shown")
    page.keyboard.press("x")
    page.get_by_role("button", name="Clear", exact=True).first.click()
    expect(page.locator('#marks [data-value="rejected"] b')).to_have_text("1")
    expect(tray.get_by_role("status")).to_have_text("4 selected")
    page.keyboard.press("x")
    expect(page.locator('#marks [data-value="rejected"] b')).to_have_text("4")
    page.keyboard.press("/")
    page.keyboard.type("heron-39")
    expect(tray.get_by_role("status")).to_have_text("4 selected, not shown")
    tray.get_by_role("button", name="Pick").click()
    expect(page.locator('#marks [data-value="picked"] b')).to_have_text("0")


def test_taps_select_on_a_phone(landscapes: Path, open_page: Open, shoot: Shoot) -> None:
    page = open_page(landscapes, **PHONE).page
    select = page.get_by_role("button", name="Select", exact=True)
    expect(select).to_be_in_viewport(ratio=1)
    select.tap()
    for number in (0, 3, 1, 3):
        page.locator(f'#view-gallery .open[data-job="{number}"]').tap()
    tray = page.locator("#tray")
    expect(tray.get_by_role("status")).to_have_text("heron-0 and heron-1")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert violations(page) == []
    shoot(page, "cull-select-390")
    tray.get_by_role("button", name="✕ Reject").tap()
    expect(page.locator('#marks [data-value="rejected"] b')).to_have_text("2")
    tray.get_by_role("button", name="Clear").tap()
    expect(select).to_have_attribute("aria-pressed", "false")
    page.locator('#view-gallery .open[data-job="3"]').tap()
    assert name_of(page) == "heron-3"


def test_without_the_command_nothing_is_rejected(tmp_path: Path, open_page: Open) -> None:
    for number in range(2):
        painted(tmp_path / f"{number}.png", number)
    jobs = [made_job(f"heron-{number}", file=f"{number}.png") for number in range(2)]
    page = open_page(made_page(tmp_path, *jobs, rejecting=False), **DESK).page
    page.keyboard.press("ArrowRight")
    for key in ("a", "x", "r"):
        page.keyboard.press(key)
    expect(page.get_by_role("button", name="Reject")).to_have_count(0)
    page.keyboard.press("Enter")
    for key in ("x", "r"):
        page.keyboard.press(key)
    expect(page.get_by_role("button", name="Reject")).to_have_count(0)
    expect(page.locator("#detail .place")).to_have_text("1 of 2")
    page.keyboard.press("p")
    expect(page.locator("#detail .tally")).to_have_text("1 picked · 0 rejected · 1 unmarked")
    page.keyboard.press("?")
    expect(page.locator("#keys")).not_to_contain_text("reject")


def test_a_job_with_no_picture_left_shows_its_takes(tmp_path: Path, open_page: Open) -> None:
    for number in range(3):
        painted(tmp_path / f"{number}.png", number)
    takes = [output("1.png", rejected="dark"), output("2.png", generation=1, rejected="")]
    reason = ErrorRow(code="REDO_LIMIT", message="it was bought again once")
    limited = {"status": "blocked", "takes": takes, "generation": 2, "error": reason}
    counts = CountsRow(total=2, succeeded=1, blocked=1)
    jobs = [made_job("heron", file="0.png"), made_job("limited", **limited)]
    page = open_page(made_page(tmp_path, *jobs, counts=counts), **DESK).page
    expect(page.locator('[data-facet="take"]')).to_have_count(0)  # one value is no filter
    page.locator(".idle summary").click()
    expect(page.locator(".idle .stage-word")).to_have_text("2 takes rejected")
    page.locator('.open[data-job="1"]').click()
    expect(page.locator("#detail .state")).to_have_text("blocked · 1 credit · z")
    page.get_by_label("Take the rejection back of take 1").click()
    expect(page.locator("#detail .takes")).to_contain_text("take 1 · not rejected")


def test_back_closes_a_picture_and_then_leaves_the_page(landscapes: Path, open_page: Open) -> None:
    page = open_page(landscapes, **DESK).page
    before = page.evaluate("history.length")
    dialog = page.get_by_role("dialog")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        page.keyboard.press("ArrowRight")
        expect(dialog).to_have_count(1)
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
        expect(page).not_to_have_url(re.compile("job="))
    assert page.evaluate("history.length") == before + 1
    page.keyboard.press("Enter")
    page.go_back()
    expect(dialog).to_have_count(0)
    page.go_forward()
    expect(dialog).to_have_count(1)
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("heron-3")
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.go_back()  # the search is another step
    expect(page.locator("#search")).to_have_value("heron-3")
    expect(dialog).to_have_count(0)


def test_a_picture_that_was_opened_by_its_address_has_no_step(
    landscapes: Path, open_page: Open
) -> None:
    page = open_page(landscapes, "#job=3", **DESK).page
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_have_count(1)
    page.go_back()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator("#count")).to_have_text("40 jobs")


def test_marks_are_printed(landscapes: Path, open_page: Open) -> None:
    page = open_page(landscapes, **DESK).page
    page.keyboard.press("ArrowRight")
    page.keyboard.press("p")
    page.emulate_media(media="print")
    marks = page.locator("[data-marks='0'] button")
    expect(marks.and_(page.locator("[data-mark=picked]"))).to_be_visible()
    expect(marks.and_(page.locator("[data-mark=rejected]"))).to_be_hidden()


def test_what_was_bought_again_is_a_filter(landscapes: Path, open_page: Open) -> None:
    page = open_page(landscapes, **DESK).page
    choose(page, "take", "take 3")
    expect(page.locator("#count")).to_have_text("1 of 40 jobs")
    assert page.url.endswith("#take=take+3")
    open_first(page)
    expect(page.locator("#detail .state")).to_have_text("succeeded · take 3 · 1 credit · z")


def test_takes_are_compared_and_a_rejection_is_taken_back(
    landscapes: Path, open_page: Open, shoot: Shoot
) -> None:
    page = open_page(landscapes, "#job=4", **DESK).page
    captions = page.locator("#detail .captions p:not(.under)")
    expect(page.locator("#detail .takes li")).to_have_count(2)
    page.keyboard.press("t")
    assert captions.all_inner_texts() == [
        "take 2 · rejected · 720 × 480",
        "heron-4, take 3 · 720 × 480",
    ]
    shoot(page, "cull-takes")
    page.keyboard.press("t")
    expect(captions.first).to_have_text("take 1 · rejected: two beaks · 720 × 480")
    page.keyboard.press("f")
    expect(captions).to_have_text(["take 1 · rejected: two beaks · 720 × 480"])
    page.keyboard.press("f")
    expect(captions).to_have_text(["heron-4, take 3 · 720 × 480"])
    page.get_by_label("Take the rejection back of take 1").click()
    expect(page.locator("#detail .takes li").last).to_contain_text("take 1 · not rejected")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Rejections").click()
    # The command would take the other rejection of this output back as well.
    expect(page.locator("#rejects h2")).to_have_text("1 rejection taken back")
    expect(page.locator("#rejects .command code")).to_have_count(1)
    with page.expect_download() as download:
        page.get_by_role("button", name="Save rejects.txt").click()
    lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    assert lines == [f"heron-4/0 g1 {digest_of('42.png')[:12]}"]
    page.keyboard.press("Escape")
    page.locator('#view-gallery .open[data-job="4"]').click()
    page.get_by_label("Take the rejection back of take 2").click()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Rejections").click()
    expect(page.locator("#rejects .command code").first).to_have_text(
        f"crucible-batch reject {landscapes.parent} heron-4/0 --remove"
    )


# -- in the viewer

DIGESTS = """() => {
const all = [...document.querySelectorAll('#detail .pane img')];
return Promise.all(all.map(async (one) => {
  const bytes = await (await fetch(one.src, { cache: 'force-cache' })).arrayBuffer();
  const digest = await crypto.subtle.digest('SHA-256', bytes);
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
})); }"""

PLACE = """(words) => {
document.querySelector('#detail .saving').textContent = words;
return document.querySelector('#detail .frame').getBoundingClientRect().toJSON();
}"""

JOBS = """\
- {name: heron, prompt: "heron {{ repeat }}", repeat: 6, params: {size.width: 96, size.height: 64}}
"""


@pytest.fixture(scope="module")
def gateway() -> Iterator[str]:
    with running_sandbox("--time-scale", "0") as url:
        yield url


def test_marks_are_saved_with_the_run_and_another_page_has_them(
    browser: Browser, tmp_path: Path, gateway: str, shoot: Shoot
) -> None:
    cli = Cli(tmp_path, gateway)
    assert cli("run", cli.write("saved", JOBS)).code == 0
    run = tmp_path / "outputs/saved/default"
    complaints: list[str] = []
    with viewing(cli, "--control") as viewer:
        address = f"{viewer.url}runs/{viewer.key('saved/default')}/"
        pages = []
        for fragment in (f"#control={viewer.token}", ""):
            page = browser.new_context(**DESK).new_page()  # type: ignore[arg-type]
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.goto(address + fragment)
            expect(page.locator("#view-gallery .card")).to_have_count(6)
            pages.append(page)
        first, second = pages
        open_first(first)
        for key in ("p", "x", "4"):
            first.keyboard.press(key)
        saved = first.locator("#detail .saving")
        expect(saved).to_have_text("Saved")
        marks = json.loads((run / "marks.json").read_text())["marks"]
        assert [entry for _, entry in sorted(marks.items())] == [{"mark": "picked"}, {"rating": 4}]
        assert (run / "rejects.txt").read_text().startswith("heron-2/0 g0 ")
        shoot(first, "cull-saved")
        for width in (1250, 1300, 1350, 1400):
            first.set_viewport_size({"width": width, "height": 900})
            places = [first.evaluate(PLACE, words) for words in ("", "Saving…", "Saved")]
            assert places == [places[0]] * 3  # the picture stays where it is
        expect(second.get_by_label("Pick heron-1", exact=True)).to_have_attribute(
            "aria-pressed", "true"
        )
        expect(second.get_by_label("Reject heron-2", exact=True)).to_have_attribute(
            "aria-pressed", "true"
        )
        expect(second.locator("[data-marks='2'] .rated")).to_have_text("★★★★")
        first.keyboard.press("ArrowLeft")
        for reason in ("two beaks", "three beaks"):
            first.keyboard.press("r")
            first.keyboard.type(reason)
            first.keyboard.press("Enter")
            rejected = second.get_by_label("Reject heron-2", exact=True)
            expect(rejected).to_have_attribute("title", f"Rejected: {reason}")
            (line,) = (run / "rejects.txt").read_text().splitlines()
            assert line.endswith(f" {reason}")
            first.keyboard.press("ArrowLeft")
        first.keyboard.press("x")
        expect(second.get_by_label("Reject heron-2", exact=True)).to_have_attribute(
            "aria-pressed", "false"
        )
        assert (run / "rejects.txt").read_text() == ""
        # A write that fails is shown, and what was decided stays until it is saved.
        (run / "marks.json").rename(run / "kept.json")
        (run / "marks.json").mkdir()
        first.keyboard.press("p")
        expect(saved).to_contain_text("Not saved: ")
        expect(saved).to_contain_text("marks.json is not a file of marks")
        (run / "marks.json").rmdir()
        (run / "kept.json").rename(run / "marks.json")
        first.keyboard.press("n")
        first.keyboard.type("the best")
        expect(saved).to_have_text("Saved")
        content = json.loads((run / "marks.json").read_text())
        assert sum(entry.get("mark") == "picked" for entry in content["marks"].values()) == 2
        assert list(content["notes"].values()) == ["the best"]
        assert violations(first) == []
        for page in pages:
            page.context.close()
    assert complaints == []


def test_a_rejected_picture_is_bought_again_and_compared_with_the_new_one(
    browser: Browser, tmp_path: Path, gateway: str, shoot: Shoot
) -> None:
    cli = Cli(tmp_path, gateway)
    assert cli("run", cli.write("again", JOBS)).code == 0
    with viewing(cli, "--control") as viewer:
        page = browser.new_context(**DESK).new_page()  # type: ignore[arg-type]
        page.goto(f"{viewer.url}runs/{viewer.key('again/default')}/#control={viewer.token}")
        open_first(page)
        page.keyboard.press("p")
        page.keyboard.press("x")
        expect(page.locator("#detail .saving")).to_have_text("Saved")
        page.keyboard.press("g")
        expect(page.locator("#summary .next")).to_contain_text(
            "1 picture rejected. To buy it again, within the budget:"
        )
        page.get_by_role("button", name="Rejections").click()
        expect(page.locator("#rejects")).to_contain_text("Saved with the run.")
        command = page.locator("#rejects .command code").inner_text().split()
        assert command[:2] == ["crucible-batch", "run"]
        page.keyboard.press("Escape")
        page.locator('#view-gallery .open[data-job="1"]').click()
        done = cli(*command[1:])
        assert done.code == 0, done.err
        # The page follows: the new picture has no mark, and the rejected one is another take.
        expect(page.locator("#detail .takes li")).to_contain_text("take 1 · rejected")
        expect(page.locator("#detail [data-decide=rejected]")).to_have_attribute(
            "aria-pressed", "false"
        )
        expect(page.locator("#detail .tally")).to_have_text("1 picked · 0 rejected · 5 unmarked")
        page.keyboard.press("t")
        expect(page.locator("#detail .captions p:not(.under)")).to_have_text(
            ["take 1 · rejected · 96 × 64", "heron-2, take 2 · 96 × 64"]
        )
        for pane in page.locator("#detail .pane img").all():
            expect(pane).to_have_js_property("naturalWidth", 96)
        digests = page.evaluate(DIGESTS)  # the path is the same, and not what is shown there
        (job,) = [job for job in viewer.data(viewer.key("again/default"))["jobs"] if job["takes"]]
        shown = [*job["takes"], *job["outputs"]]
        assert digests == [output["sha256"] for output in shown]
        shoot(page, "cull-again")
        expect(page.locator("#view-gallery .card").nth(1).locator(".values")).to_have_text(
            "take 2 · 2 credits"
        )
        page.get_by_label("Take the rejection back of take 1").click()
        expect(page.locator("#detail .saving")).to_have_text("Saved")
        assert (tmp_path / "outputs/again/default/rejects.txt").read_text() == ""
        page.context.close()
    plan = cli("plan", "again.yaml")
    assert "nothing to run" in plan.out, plan.out


def test_marks_wait_for_the_token_also_after_the_run(
    browser: Browser, tmp_path: Path, gateway: str
) -> None:
    cli = Cli(tmp_path, gateway)
    assert cli("run", cli.write("asked", JOBS)).code == 0
    with viewing(cli, "--control") as viewer:
        page = browser.new_context(**DESK).new_page()  # type: ignore[arg-type]
        page.goto(f"{viewer.url}runs/{viewer.key('asked/default')}/")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("p")
        words = "Not saved: enter the token of this session, at the top of the page"
        expect(page.locator(".saving")).to_have_text(words)
        page.get_by_role("textbox", name="Token of this session").fill(viewer.token)
        page.get_by_role("button", name="Save marks").click()
        expect(page.locator(".saving")).to_have_text("Saved")
        page.context.close()
    marks = json.loads((tmp_path / "outputs/asked/default/marks.json").read_text())["marks"]
    assert list(marks.values()) == [{"mark": "picked"}]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["wide", "phone"])
def test_axe_finds_nothing_while_culling(
    landscapes: Path, open_page: Open, shoot: Shoot, scheme: str, size: Any
) -> None:
    page = open_page(landscapes, "#job=3", color_scheme=scheme, **size).page
    for key in ("p", "x", "ArrowLeft", "3"):
        page.keyboard.press(key)
    expect(page.locator("#detail .frame img")).to_have_js_property("complete", True)
    shoot(page, f"cull-{scheme}-{size['viewport']['width']}")
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= size["viewport"]["width"]
    page.keyboard.press("t")
    assert violations(page) == []
    page.keyboard.press("?")
    shoot(page, f"cull-keys-{scheme}-{size['viewport']['width']}")
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    assert violations(page) == []
