"""Pages of many jobs: they open, scroll and filter as short ones do."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from playwright.sync_api import Page, expect

from tests.verification.browser.conftest import Open

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


def scroll(page: Page, step: int) -> list[float]:
    """Scroll by as many pixels in each frame; return how long the frames were, in milliseconds."""
    page.evaluate("scrollTo(0, 0)")
    lengths: list[float] = page.evaluate(SCROLL, [step, FRAMES])
    assert page.evaluate("scrollY") > step * FRAMES / 2
    return lengths


def of_a_hundred(page: Page) -> float:
    """How long a frame is where a filter leaves a hundred pictures or a few more."""
    page.get_by_label("tone").select_option("3")
    expect(page.locator("#count")).to_contain_text("00 of ")
    assert page.locator("#view-gallery .card").count() <= 120
    short = max(median(scroll(page, 20)), 1000 / 60)
    page.get_by_role("button", name="Clear").click()
    return short


def make_all(page: Page, count: int) -> None:
    cards = page.locator("#view-gallery .card")
    while (made := cards.count()) < count:
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        expect(cards).not_to_have_count(made)


def test_ten_thousand_jobs_open_and_scroll_with_their_thumbnails_beside_the_page(
    ten_thousand: Path, open_page: Open
) -> None:
    page = open_page(ten_thousand).page
    expect(page.locator("#count")).to_have_text("10,000 jobs")
    short = of_a_hundred(page)
    expect(page.locator("#view-gallery .card img").first).to_have_js_property("complete", True)
    make_all(page, 1500)
    assert median(scroll(page, 200)) < AS_SMOOTH * short
    page.get_by_role("searchbox").fill("picture 9999")
    expect(page.locator("#view-gallery .card")).to_have_count(1)
    page.get_by_role("button", name="Clear").click()
    page.keyboard.press("2")
    expect(page.get_by_role("table")).to_be_visible()


def test_cards_stand_in_order_over_the_walls_and_the_keyboard_walks_across(
    thousand: Path, open_page: Open
) -> None:
    page = open_page(thousand).page
    make_all(page, 1000)
    names = page.locator("#view-gallery .card .name").all_text_contents()
    assert names == [f"job-{number}" for number in range(1000)]
    walls = page.locator("#view-gallery .wall")
    expect(walls).to_have_count(3)
    walls.first.locator(".open").last.focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.job") == "480"
    page.get_by_label("tone").select_option("3")
    expect(walls).to_have_count(1)
    expect(page.locator("#view-gallery .card")).to_have_count(100)
