"""The viewer's pages in a real Chromium, while a run goes on in another process."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.features.view.conftest import Viewer, viewing
from tests.harness.commands import Cli, running_sandbox
from tests.verification.browser.conftest import choose, violations

JOBS = """\
- name: harbour
  prompt: "A harbour, {{ style }}"
  matrix: {style: [noir, gouache, watercolor]}
  repeat: 8
- {name: refused, prompt: nsfw}
"""
Shoot = Callable[[Page, str], None]
MARK = "(element) => { element.marked = true; }"
MARKED = "(element) => element.marked === true"


@pytest.fixture(scope="module")
def queueing() -> Iterator[str]:
    with running_sandbox("--time-scale", "1.5", "--runners", "2") as url:
        yield url


@pytest.fixture
def cli(tmp_path: Path, queueing: str) -> Cli:
    (tmp_path / "outputs").mkdir()
    return Cli(tmp_path, queueing)


@pytest.fixture
def viewer(cli: Cli) -> Iterator[Viewer]:
    with viewing(cli) as running:
        yield running


@pytest.fixture
def runs(cli: Cli) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start a run in a process of its own; what is left of it is ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(name: str) -> subprocess.Popen[str]:
        head = "params: {size.width: 320, size.height: 240}\n"
        started.append(cli.start("run", cli.write(name, JOBS, head=head)))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def visit(browser: Browser, viewer: Viewer) -> Iterator[Callable[..., Page]]:
    """Open an address of the viewer; at the end nothing may have been complained of, and nothing
    asked elsewhere."""
    complaints: list[str] = []
    contexts = []

    def opened(address: str = "", **options: Any) -> Page:
        contexts.append(
            browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        )
        page = contexts[-1].new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda asked: asked.url.startswith(viewer.url) or complaints.append(asked.url),
        )
        page.on(
            "response",
            lambda answer: (
                answer.status < 400 or complaints.append(f"{answer.status} {answer.url}")
            ),
        )
        page.goto(viewer.url + address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def test_the_list_shows_a_run_as_soon_as_it_begins_and_leads_to_it(
    visit: Callable[..., Page], runs: Callable[[str], Any], shoot: Shoot
) -> None:
    page = visit()
    expect(page.locator("#none")).to_be_visible()
    runs("listed")
    run = page.locator(".run")
    expect(run).to_contain_text("running now")
    run.locator("h2 a").evaluate(MARK)
    expect(run.locator(".strip img")).to_have_count(5)
    shoot(page, "view-list")
    assert run.locator("h2 a").evaluate(MARKED)
    expect(run.locator(".strip img").first).to_have_js_property("complete", True)
    run.get_by_role("link", name="listed").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("listed")
    page.get_by_role("link", name="All runs").click()
    expect(page.locator(".run")).to_have_count(1)


def test_a_page_follows_its_run_to_the_end_and_what_is_looked_at_stays(
    visit: Callable[..., Page], runs: Callable[[str], Any], shoot: Shoot
) -> None:
    page = visit()
    run = runs("atlas")
    page.locator(".run h2 a").click()
    expect(page.locator("#view-gallery .card")).to_have_count(25)
    page.evaluate("document.documentElement.marked = true")
    waiting = page.locator("[data-group=waiting] .card")
    pictures = page.locator("[data-group=pictures] .card")
    expect(waiting.first).to_be_visible()
    expect(pictures.nth(3)).to_be_visible()
    shoot(page, "view-live")
    page.get_by_role("searchbox").fill("watercolor")
    choose(page, "style", "watercolor")
    page.get_by_role("searchbox").focus()
    # A job that is still to come, opened: it turns into its picture, and the place in its text
    # stays.
    page.set_viewport_size({"width": 1440, "height": 360})  # so that the text has to be scrolled
    page.locator("[data-group=waiting] .open").nth(1).click()
    about = page.locator("#detail .about")
    about.evaluate("(about) => { about.scrollTop = 40; }")
    expect(page.locator("#detail .state")).to_contain_text("not done yet")
    expect(page.locator("#detail .state")).to_contain_text("succeeded")
    expect(page.locator("#detail .frame img")).to_have_js_property("complete", True)
    assert about.evaluate("(about) => about.scrollTop") == 40
    shoot(page, "view-detail")
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": 1440, "height": 900})
    assert page.get_by_role("searchbox").input_value() == "watercolor"
    expect(page.locator("#count")).to_have_text("8 of 25 jobs")
    assert "axis.style=watercolor" in page.url
    page.get_by_role("button", name="Clear").click()
    pictures.first.evaluate(MARK)
    bottom = page.evaluate("scrollTo(0, 200), scrollY")
    expect(page.locator("#when")).to_contain_text("done, some failed", timeout=60_000)
    assert page.evaluate("scrollY") >= bottom
    assert pictures.first.evaluate(
        MARKED
    )  # the card, and with it its picture, is the one that it was
    run.communicate()
    expect(page.locator("#summary")).to_contain_text("24 of 25")
    expect(page.locator("[data-group=trouble] .code")).to_have_text("MODERATION_REFUSED")
    expect(page.locator("#view-gallery .card")).to_have_count(25)
    expect(waiting).to_have_count(0)
    assert page.title() == "atlas · 24 of 25"
    assert page.evaluate("document.documentElement.marked") is True  # all of that without a reload


def test_the_grid_fills_up_where_it_stands(
    visit: Callable[..., Page], runs: Callable[[str], Any], shoot: Shoot
) -> None:
    page = visit()
    runs("grid")
    page.locator(".run h2 a").click()
    expect(
        page.locator("#view-gallery .card").first
    ).to_be_visible()  # a key that comes before the page is lost
    page.keyboard.press("c")
    page.get_by_label("Down").select_option("·repeat")
    sheet = page.locator(".sheet")
    cells = sheet.locator("td img")
    expect(cells.first).to_be_attached()
    sheet.evaluate(MARK)
    sheet.evaluate("(sheet) => { sheet.scrollTop = 150; }")
    before = cells.count()
    expect(cells.nth(before + 3)).to_be_attached()
    assert sheet.evaluate(MARKED)
    assert sheet.evaluate("(sheet) => sheet.scrollTop") == 150
    shoot(page, "view-grid")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_while_a_run_continues(
    visit: Callable[..., Page], runs: Callable[[str], Any], scheme: str
) -> None:
    page = visit(color_scheme=scheme)
    runs(f"audited-{scheme}")
    expect(page.locator(".strip img").nth(1)).to_be_visible()
    assert violations(page) == []
    page.locator(".run h2 a").click()
    expect(page.locator("[data-group=pictures] .card").nth(2)).to_be_visible()
    for view in ("g", "c"):
        page.keyboard.press(view)
        assert violations(page) == []


def test_a_viewer_that_no_longer_answers_is_told(browser: Browser, cli: Cli) -> None:
    page = browser.new_page()
    with viewing(cli) as viewer:
        page.goto(viewer.url)
        expect(page.locator("#none")).to_be_visible()
    expect(page.locator("#feed")).to_contain_text("Is it still running?")
    page.close()


FEW = """\
- name: harbour
  prompt: "A %sharbour, {{ style }}"
  params: {size.width: %s}
  matrix: {style: [noir, gouache]}
  repeat: 2
- {name: refused, prompt: nsfw}
"""
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}
DESK = {"viewport": {"width": 1400, "height": 900}}


@pytest.fixture
def three_runs(cli: Cli) -> Cli:
    """Three finished runs: two of one manifest whose prompts differ, and a third."""
    head = "params: {size.height: 240}\n"
    assert cli("run", cli.write("lookbook", FEW % ("", 320), head=head)).code == 1
    assert (
        cli(
            "run", cli.write("lookbook", FEW % ("quiet ", 400), head=head), "--run-id", "second"
        ).code
        == 1
    )
    assert cli("run", cli.write("atlas")).code == 0
    return cli


def _names(page: Page) -> list[str]:
    return page.locator(".run h2").all_inner_texts()


@pytest.mark.parametrize("options", [{**DESK, "color_scheme": "dark"}, PHONE], ids=["1400", "390"])
def test_the_list_is_searched_and_sorted(
    three_runs: Cli,
    visit: Callable[..., Page],
    shoot: Shoot,
    options: dict[str, Any],
    request: pytest.FixtureRequest,
) -> None:
    width = request.node.callspec.id
    page = visit(**options)
    assert violations(page) == []
    expect(page.locator("#summary")).to_have_text("3 runs")
    assert _names(page) == ["atlas", "lookbook · second", "lookbook"]
    for picture in page.locator(".run").first.locator(".strip img").all():
        expect(picture).to_have_js_property("complete", True)
    shoot(page, f"view-runs-{width}")
    page.get_by_label("Sort by").select_option("credits")
    assert _names(page) == ["lookbook · second", "lookbook", "atlas"]
    page.get_by_role("searchbox").fill("lookbook done")
    expect(page.locator("#count")).to_have_text("2 of 3 runs")
    assert "q=lookbook+done&sort=credits" in page.url
    page.reload()
    expect(page.locator("#count")).to_have_text("2 of 3 runs")
    assert page.evaluate("document.documentElement.scrollWidth") <= options["viewport"]["width"]
    assert violations(page) == []


def test_a_live_run_has_its_pace_the_time_left_and_newest_first(
    visit: Callable[..., Page], viewer: Viewer, runs: Callable[[str], Any], shoot: Shoot
) -> None:
    page = visit(**DESK)
    runs("paced")
    page.locator(".run h2 a").click()
    facts = page.locator("#summary")
    expect(facts).to_contain_text("jobs/min")
    expect(facts).to_contain_text("left")
    pictures = page.locator("[data-group=pictures] .card")
    expect(pictures.nth(3)).to_be_visible()
    page.get_by_label("Sort").select_option("newest")
    shoot(page, "view-pace")
    places = page.evaluate(
        "[...document.querySelectorAll('[data-group=pictures] .open')]"
        ".map((open) => Number(open.dataset.job))"
    )
    jobs = viewer.data(viewer.key("paced/default"))["jobs"]
    saved = [jobs[place]["outputs"][0]["saved_at"] for place in places]
    assert len(saved) >= 4
    assert saved == sorted(saved, reverse=True)
    expect(page.locator("#when")).to_contain_text("done, some failed", timeout=60_000)
    expect(facts).not_to_contain_text("jobs/min")


def test_a_run_is_paused_and_resumed_on_its_page(
    browser: Browser, cli: Cli, runs: Callable[[str], Any], shoot: Shoot
) -> None:
    complaints: list[str] = []
    with viewing(cli, "--control") as viewer:
        runs("steered")
        context = browser.new_context()
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{viewer.url}#control={viewer.token}")
        expect(page).to_have_url(viewer.url)  # the token is out of the address at once
        page.locator(".run h2 a").click()
        page.get_by_role("button", name="Pause").click()
        expect(page.locator("#answer")).to_contain_text("paused; ")
        expect(page.locator("#when")).to_contain_text("paused by ")
        expect(page.locator("#summary")).not_to_contain_text("jobs/min")
        page.get_by_label("Jobs in flight").fill("3")
        page.get_by_label("Jobs in flight").press("Enter")
        expect(page.locator("#answer")).to_contain_text("at most 3 jobs in flight")
        page.get_by_label("Deadline from now").fill("soon")
        page.get_by_label("Deadline from now").press("Enter")
        expect(page.locator("#answer.refused")).to_be_visible()
        shoot(page, "view-control")
        page.get_by_role("button", name="Stop").click()
        stop = page.get_by_role("dialog", name="Stop the run")
        expect(stop.get_by_role("button", name="Stop the run")).to_be_focused()
        assert violations(page) == []
        stop.get_by_role("button", name="Let it run").click()
        page.get_by_role("button", name="Resume").click()
        expect(page.locator("#when")).to_contain_text("running now")
        stranger = browser.new_context().new_page()
        stranger.goto(page.url)
        expect(stranger.get_by_role("button", name="Pause")).to_have_count(0)
        stranger.get_by_label("Token of this session").fill(viewer.token)
        stranger.get_by_role("button", name="Control this run").click()
        expect(stranger.get_by_role("button", name="Pause")).to_be_visible()
        assert violations(page) == []
        page.set_viewport_size({"width": 390, "height": 844})
        shoot(page, "view-control-390")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        stranger.context.close()
        context.close()
    assert [line for line in complaints if "409" not in line] == []  # the refused command
