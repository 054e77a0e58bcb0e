"""Pages of many jobs: they open, scroll, jump and filter as short ones do."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from benchmarks import page as large_page
from benchmarks import report as large_report
from tests.features.view.conftest import viewing
from tests.harness.commands import Cli
from tests.verification.browser.conftest import Open, choose

FRAMES = 120
AS_SMOOTH = 4.0
"""How many times longer than those of a hundred pictures the frames may be, on a machine that does
other things too."""
SCROLL = """([step, frames]) => new Promise((done) => {
    const lengths = [];
    let last = performance.now();
    const frame = (now) => {
        lengths.push(now - last);
        last = now;
        scrollBy(0, step);
        if (lengths.length < frames) requestAnimationFrame(frame);
        else done(lengths.slice(1));
    };
    requestAnimationFrame(frame);
})"""
IN_SIGHT = """() => [...document.querySelectorAll('#view-gallery .open')].filter((open) => {
    const { top, bottom } = open.getBoundingClientRect();
    return bottom > 100 && top < innerHeight;
}).map((open) => Number(open.dataset.job))"""
FOCUSED = "document.activeElement.dataset.job"
STOPS = """new Set([...document.querySelectorAll('#view-gallery button')]
    .filter((button) => button.tabIndex === 0)
    .map((button) => button.closest('.card'))).size"""
MOST_CARDS = 200


def scroll(page: Page, step: int) -> list[float]:
    """Scroll by as many pixels in each frame; return how long the frames were, in milliseconds."""
    page.evaluate("scrollTo(0, 0)")
    lengths: list[float] = page.evaluate(SCROLL, [step, FRAMES])
    assert page.evaluate("scrollY") > step * FRAMES / 2
    return lengths


def of_a_hundred(page: Page) -> float:
    """How long a frame is where a filter leaves a hundred pictures or a few more."""
    page.get_by_role("searchbox").fill("job-77")
    expect(page.locator("#count")).to_contain_text("111 of ")
    short = max(median(scroll(page, 20)), 1000 / 60)
    page.get_by_role("button", name="Clear").click()
    return short


def in_sight(page: Page) -> list[int]:
    """Return the numbers of the jobs in the window."""
    found: list[int] = page.evaluate(IN_SIGHT)
    return found


def jump(page: Page, share: float) -> list[int]:
    """Scroll to a share of the page; return the jobs that are in the window then."""
    page.evaluate("(share) => scrollTo(0, share * document.documentElement.scrollHeight)", share)
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    return in_sight(page)


def test_ten_thousand_jobs_open_and_scroll_with_their_thumbnails_beside_the_page(
    ten_thousand: Path, open_page: Open
) -> None:
    page = open_page(ten_thousand).page
    expect(page.locator("#count")).to_have_text("10,000 jobs")
    short = of_a_hundred(page)
    expect(page.locator("#view-gallery .card img").first).to_have_js_property("complete", True)
    assert median(scroll(page, 200)) < AS_SMOOTH * short
    page.get_by_role("searchbox").fill("picture 9999")
    expect(page.locator("#view-gallery .card")).to_have_count(1)
    page.get_by_role("button", name="Clear").click()
    page.evaluate("location.hash = 'view=compare'")
    expect(page.get_by_role("table")).to_be_visible()


def test_a_grid_of_ten_thousand_jobs_is_drawn_in_parts(ten_thousand: Path, open_page: Open) -> None:
    page = open_page(ten_thousand, "#view=compare&rows=·job&cols=tone").page
    rows = page.locator("#view-compare tbody tr")
    expect(rows).to_have_count(100)
    # The rows of job-0 to job-9 are one: the number is that of their tone.
    expect(page.locator(".rest-of-grid span")).to_have_text("100 of 9,991 rows")
    page.get_by_role("button", name="Show more").click()
    expect(rows).to_have_count(200)
    expect(rows.last.locator("th")).to_contain_text("job-208")
    page.get_by_role("searchbox").fill("picture 99")
    expect(page.locator(".rest-of-grid span")).to_have_text("100 of 280 rows")
    for _ in range(2):
        page.get_by_role("button", name="Show more").click()
    expect(page.locator(".rest-of-grid")).to_be_hidden()
    expect(rows).to_have_count(280)
    page.evaluate("location.hash = 'view=compare&rows=tone&cols=·job'")
    expect(page.locator(".rest-of-grid span")).to_have_text("5 of 10 rows, 200 of 9,991 columns")
    assert page.locator("#view-compare .cell").count() == 1000


def test_the_list_has_its_full_height_and_shows_any_place_of_it(
    ten_thousand: Path, open_page: Open
) -> None:
    page = open_page(ten_thousand).page
    height = page.evaluate("document.documentElement.scrollHeight")
    for share, about in ((0.5, 5000), (0.9, 9000), (0.1, 1000), (1, 9999)):
        jobs = jump(page, share)
        assert min(jobs) <= about <= max(jobs) + 400, (share, jobs)
        assert len(jobs) > 10
        assert page.locator("#view-gallery .card").count() < MOST_CARDS
    assert jump(page, 1)[-1] == 9999
    assert page.evaluate("document.documentElement.scrollHeight") == height
    first = page.locator("#view-gallery .card").first
    assert first.get_attribute("aria-setsize") == "10000"
    assert int(first.get_attribute("aria-posinset") or 0) > 9000


def test_a_filter_keeps_the_picture_that_is_looked_at_in_its_place(
    ten_thousand: Path, open_page: Open
) -> None:
    page = open_page(ten_thousand).page
    jump(page, 0.5)
    page.locator(".open[data-job='5003']").focus()
    top = page.locator(".open[data-job='5003']").bounding_box()["y"]
    page.evaluate("location.hash = 'axis.tone=3'")
    expect(page.locator("#count")).to_have_text("1,000 of 10,000 jobs")
    assert abs(page.locator(".open[data-job='5003']").bounding_box()["y"] - top) < 2
    assert page.evaluate(FOCUSED) == "5003"
    page.evaluate("location.hash = 'axis.tone=4'")
    expect(page.locator(".open[data-job='5004']")).to_be_focused()  # it has taken its place
    expect(page.locator(".open[data-job='5004']")).to_be_in_viewport()


def test_the_keyboard_walks_through_all_pictures(ten_thousand: Path, open_page: Open) -> None:
    page = open_page(ten_thousand).page
    page.keyboard.press("ArrowRight")
    assert page.evaluate(FOCUSED) == "0"
    for key, job in (("End", "9999"), ("ArrowLeft", "9998"), ("Home", "0"), ("ArrowRight", "1")):
        page.keyboard.press(key)
        assert page.evaluate(FOCUSED) == job
    page.keyboard.press("ArrowDown")
    below = int(page.evaluate(FOCUSED))
    assert below > 2
    page.keyboard.press("PageDown")
    further = int(page.evaluate(FOCUSED))
    assert further >= below + (below - 1)
    page.keyboard.press("PageUp")
    assert int(page.evaluate(FOCUSED)) == below
    page.evaluate("scrollTo(0, 400000)")  # the picture with the focus is out of sight, and stays
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    assert int(page.evaluate(FOCUSED)) == below
    page.keyboard.press("ArrowRight")
    assert int(page.evaluate(FOCUSED)) == below + 1
    assert below + 1 in in_sight(page)


def test_without_a_focus_the_arrows_begin_in_sight_and_other_keys_scroll(
    thousand: Path, open_page: Open
) -> None:
    page = open_page(thousand).page
    page.keyboard.press("PageDown")
    expect(page.get_by_role("heading", level=1)).not_to_be_in_viewport()
    assert page.evaluate(FOCUSED) is None
    seen = jump(page, 0.5)
    page.keyboard.press("ArrowDown")
    assert int(page.evaluate(FOCUSED)) in seen


def test_the_rows_of_a_thousand_stand_in_order_and_one_tab_leads_past_them(
    thousand: Path, open_page: Open
) -> None:
    page = open_page(thousand).page
    seen: list[int] = []
    for share in range(101):
        seen += jump(page, share / 100)
    assert sorted(set(seen)) == list(range(1000))
    choose(page, "tone", "3")
    expect(page.locator("#view-gallery .card")).to_have_count(100)
    names = page.locator("#view-gallery .card .name").all_text_contents()
    assert names == [f"job-{number}" for number in range(3, 1000, 10)]
    assert page.evaluate(STOPS) == 1


def test_shift_selects_a_range_also_beyond_the_window(thousand: Path, open_page: Open) -> None:
    page = open_page(thousand).page
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    expect(page.locator(".card.selected")).to_have_count(3)
    expect(page.locator("#tray")).to_contain_text("3 selected")
    page.keyboard.press("Shift+ArrowLeft")
    expect(page.locator("#tray")).to_contain_text("job-0 and job-1")
    page.keyboard.press("Shift+End")
    expect(page.locator("#tray")).to_contain_text("1,000 selected")
    page.keyboard.press("Escape")
    expect(page.locator("#tray")).to_be_hidden()
    page.keyboard.press("a")
    page.locator("#tray").get_by_role("button", name="Clear").click()
    assert page.evaluate(FOCUSED) == "999"
    jump(page, 0)
    page.locator(".open[data-job='4']").click(modifiers=["ControlOrMeta"])
    page.locator(".open[data-job='9']").click(modifiers=["Shift"])
    expect(page.locator("#tray")).to_contain_text("6 selected")
    page.locator(".open[data-job='6']").click(modifiers=["ControlOrMeta"])
    expect(page.locator("#tray")).to_contain_text("5 selected")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_all_rows_are_there_to_be_printed(thousand: Path, open_page: Open) -> None:
    page = open_page(thousand).page
    assert page.locator("#view-gallery .card").count() < MOST_CARDS
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    expect(page.locator("#view-gallery .card")).to_have_count(1000)
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("#view-gallery .card").count() < MOST_CARDS


def test_a_viewer_shows_the_first_pictures_before_it_has_read_all(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_report, "_SIDE", 32)
    run_dir = tmp_path / "outputs" / "m" / "r"
    run_dir.mkdir(parents=True)
    large_page.written(run_dir, 1200)
    page = browser.new_page()
    complaints: list[str] = []
    held: list[Route] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    with viewing(Cli(tmp_path, "http://127.0.0.1:9")) as viewer:
        address = f"{viewer.url}runs/{viewer.key('m/r')}/"
        page.route("**/data/*", lambda route: held.append(route))  # noqa: PLW0108 - it gets a mark
        with page.expect_request("**/data/*"):
            page.goto(address)
        expect(page.locator("#count")).to_have_text("Loading 1,200 jobs…")
        expect(page.locator("#view-gallery img").first).to_have_js_property("complete", True)
        page.keyboard.press("ArrowRight")
        page.keyboard.press("End")
        assert page.evaluate(FOCUSED) == "199"
        held[0].continue_()
        expect(page.locator("#count")).to_have_text("1,200 jobs")
        assert page.evaluate(FOCUSED) == "199"
        page.keyboard.press("End")
        assert page.evaluate(FOCUSED) == "1199"
        page.unroute("**/data/*")
        page.goto(address)  # what was read is kept: the page has all of them
        expect(page.locator("#count")).to_have_text("1,200 jobs")
    page.close()
    assert complaints == []
