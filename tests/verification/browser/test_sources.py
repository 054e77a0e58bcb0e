"""Stages in the page: a picture beside its source, what was made of a picture, and the picks for
the next stage.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from crucible_batch.report.models import (
    ErrorRow,
    PicksRow,
    SourceRow,
    WaitingRow,
)
from tests.harness.commands import Cli, running_sandbox
from tests.verification.browser.conftest import (
    HOSTILE,
    Open,
    digest_of,
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
MANIFEST = """\
version: 1
name: posters
workflow: zimage-base
budget: {credits: 60}
jobs:
  - name: draft
    prompt: "A lighthouse, {{ style }}"
    matrix: {style: [woodcut, gouache, charcoal]}
    params: {size.width: 320, size.height: 240}
  - name: sheet
    workflow: zimage-sheet
    prompt: two gulls
  - name: "final-{{ source.name }}-{{ source.index }}"
    from: "*"
    pick: picks.txt
    workflow: upscale-2x
"""


@pytest.fixture(scope="module")
def posters(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run of two stages; the second was made from what was picked in the page of the
    first."""
    folder = tmp_path_factory.mktemp("posters")
    (folder / "posters.yaml").write_text(MANIFEST, encoding="utf-8")
    report = folder / "outputs/posters/default/report.html"
    with running_sandbox("--time-scale", "0") as url:
        cli = Cli(folder, url)
        assert cli("run", "posters.yaml").code == 0
        page = browser.new_page()
        page.goto(report.as_uri())
        _pick(page)
        with page.expect_download() as download:
            page.get_by_role("button", name="Save picks.txt").click()
        assert download.value.suggested_filename == "picks.txt"
        download.value.save_as(folder / "picks.txt")
        command = page.locator("#picks .command code").last.inner_text()
        page.close()
        assert shlex.split(command) == ["crucible-batch", "run", "posters.yaml"]
        assert cli("run", "posters.yaml").code == 0
    return report


def _pick(page: Page) -> None:
    """Pick a picture by its card, and the second of a sheet of two where it is shown in full."""
    page.locator('#view-gallery .open[data-job="1"]').focus()
    page.keyboard.press("p")
    page.locator('#view-gallery .open[data-job="3"]').click()
    page.get_by_label("Show sheet/1", exact=True).click()
    page.keyboard.press("p")
    expect(page.get_by_label("Show sheet/1, picked")).to_be_attached()
    page.keyboard.press("Escape")
    expect(page.locator("#view-gallery").get_by_label("Pick sheet")).to_have_attribute(
        "aria-pressed", "mixed"
    )
    page.get_by_role("button", name="Save picks").click()


def sizes(page: Page) -> list[int]:
    """Return the widths of the pictures beside each other, once they are loaded."""
    panes = page.locator("#detail .pane img")
    for pane in panes.all():
        expect(pane).to_have_js_property("complete", True)
    widths: list[int] = panes.evaluate_all("(all) => all.map((image) => image.naturalWidth)")
    return widths


def test_a_picture_stands_beside_its_source_and_flips(
    posters: Path, open_page: Open, shoot: Shoot
) -> None:
    assert (posters.parents[3] / "picks.txt").read_text(
        encoding="utf-8"
    ) == "draft-gouache\nsheet/1\n"
    page = open_page(posters).page
    final = page.locator("#view-gallery .card", has=page.locator('.open[data-job="4"]'))
    expect(final.locator(".kin")).to_have_text("from draft-gouache")
    expect(final.locator(".kin img")).to_have_js_property("complete", True)
    shoot(page, "sources")
    final.locator(".open").click()
    assert sizes(page) == [320, 640]
    shoot(page, "source-beside")
    captions = page.locator("#detail .captions p:not(.under)")
    assert captions.all_inner_texts() == [
        "draft-gouache · source · 320 × 240",
        "final-draft-gouache-0 · 640 × 480",
    ]
    for name in ("draft-gouache", "final-draft-gouache-0", "draft-gouache"):
        page.keyboard.press("f")
        expect(captions).to_have_count(1)
        expect(captions.locator("bdi")).to_have_text(name)
    page.keyboard.press("z")
    expect(page.locator("#detail .pane.zoomed")).to_have_count(2)
    page.keyboard.press("z")
    page.keyboard.press(
        "ArrowRight"
    )  # the chosen view stays for the next picture, and with the next visit
    expect(captions).to_have_text("final-sheet-1 · 1024 × 1024")
    page.reload()
    expect(page.get_by_role("button", name="Flip")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Side by side").click()
    assert sizes(page) == [512, 1024]
    urls = page.locator("#detail .pane img").evaluate_all("(all) => all.map((image) => image.src)")
    assert [url.rsplit("/", 2)[1:] for url in urls] == [
        ["sheet", "1.png"],
        ["final-sheet-1", "0.png"],
    ]
    page.get_by_role("button", name="Alone").click()
    expect(page.locator("#detail .frame > img")).to_have_attribute("src", "final-sheet-1/0.png")
    page.locator("#detail").get_by_role("button", name="Open sheet/1").click()
    expect(page.get_by_role("dialog", name="sheet")).to_be_visible()
    page.locator("#detail").get_by_role("button", name="Open final-sheet-1").click()
    expect(page.get_by_role("dialog", name="final-sheet-1")).to_be_visible()


def test_the_grid_has_a_row_for_each_source_and_a_column_for_each_stage(
    posters: Path, open_page: Open, shoot: Shoot
) -> None:
    page = open_page(posters, "#view=compare").page
    table = page.get_by_role("table")
    assert table.locator("thead th .value").all_inner_texts() == ["1", "2 · final"]
    assert table.locator("tbody th .value").all_inner_texts() == ["draft-gouache", "sheet"]
    used = page.evaluate(
        "JSON.parse(document.getElementById('report').textContent).jobs[3].thumbnails[1][0]"
    )
    expect(table.locator("tbody tr").nth(1).locator("td img").first).to_have_attribute("src", used)
    shoot(page, "source-grid")
    page.get_by_label("Down").select_option("style")
    expect(table.locator("tbody th .value").first).to_have_text("woodcut")


def _from(name: str, file: str | None = None) -> SourceRow:
    return SourceRow(name=name, index=0, path=file, sha256=digest_of(file) if file else None)


def test_sources_that_are_missing_are_explained_and_hostile_names_are_text(
    tmp_path: Path, open_page: Open, shoot: Shoot
) -> None:
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "a.png")
    refused = ErrorRow(code="MODERATION_REFUSED", message="refused")
    jobs = [
        made_job(HOSTILE, file="a.png"),
        made_job("of-hostile", file="a.png", source=_from(HOSTILE, "a.png")),
        made_job("failed", status="failed", error=refused),
        made_job("of-failed", status="blocked", error=refused, source=_from("failed")),
        made_job("deleted", file="gone.png"),
        made_job("of-deleted", file="a.png", source=_from("deleted", "gone.png")),
        made_job("of-nothing", file="a.png", source=_from("not-here")),
        made_job("of-another", file="a.png", source=_from(HOSTILE, "older.png")),
        made_job("circle-1", file="a.png", source=_from("circle-2", "a.png")),
        made_job("circle-2", file="a.png", source=_from("circle-1", "a.png")),
    ]
    seen = open_page(made_page(tmp_path, *jobs))
    page = seen.page
    expect(page.locator("#view-gallery .kin", has_text="</script>").first).to_be_visible()
    assert page.locator("img[src=x]").count() == 0
    shoot(page, "source-hostile")
    explained = {
        1: "",
        3: "There is no picture of it: MODERATION_REFUSED.",
        5: "",
        6: "which is not in this report",
        7: "The picture that was used is no longer there.",
    }
    for index, words in explained.items():
        page.evaluate(f"location.hash = 'job={index}'")
        made_from = page.locator(
            "#detail section", has=page.get_by_role("heading", name="Made from", exact=True)
        )
        expect(made_from).to_contain_text(words)
        expect(page.locator("#detail .pairing .chip")).to_have_count(3 if index in {1, 5} else 0)
    page.evaluate("location.hash = 'job=5'")
    expect(page.locator("#detail .pane").first).to_have_text(
        "gone.png is not beside this page, or is not in a format that the browser can show."
    )
    expect(page.locator("#detail .pane").nth(1).locator("img")).to_have_js_property(
        "naturalWidth", 40
    )
    assert page.title() == "made · 10 of 10"
    seen.complaints = [
        line for line in seen.complaints if "ERR_FILE_NOT_FOUND" not in line
    ]  # gone.png


# A shell in which the printed command prints its words.
STAND_IN = """crucible-batch() { printf '%s\\n' "$@"; }\n"""


def test_the_command_has_each_name_as_it_is_and_none_that_a_picks_file_would_change(
    tmp_path: Path, open_page: Open
) -> None:
    names = ['it\'s; $(touch x) `y` "z" \\', "plain", "a b, c=d", "*", "é~", "$HOME"]
    left_out = ["two\nlines", " a", "#comment", "-option", "a/3"]
    picks = PicksRow(name="final", sources="*", pick="picks.txt", before=11)
    page = open_page(
        made_page(
            tmp_path, *(made_job(name, file="a.png") for name in names + left_out), picks=(picks,)
        )
    ).page
    for number in range(len(names) + len(left_out)):
        page.locator(f'#view-gallery .open[data-job="{number}"]').focus()
        page.keyboard.press("p")
    page.get_by_role("button", name="Save picks").click()
    expect(page.locator("#picks h2")).to_have_text("6 picks")
    expect(page.locator("#picks")).to_contain_text("5 pictures left out")
    command = page.locator("#picks .command code").first.inner_text()
    done = subprocess.run(
        ["bash", "-c", STAND_IN + command], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.splitlines() == ["pick", str(tmp_path), *names]
    assert not (tmp_path / "x").exists()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save picks.txt").click()
    assert Path(download.value.path()).read_text(encoding="utf-8").splitlines() == names


def test_each_stage_that_waits_has_a_picks_file_of_its_own(
    tmp_path: Path, open_page: Open, shoot: Shoot
) -> None:
    jobs = [
        made_job(name, file="a.png")
        for name in ("draft-1", "draft-2", "draft-x", "sketch-[!]", "other")
    ]
    stages = [
        WaitingRow(name=name, sources=sources, pick=pick, choices=3)
        for name, sources, pick in (
            ("large", "draft-[0-9]", "picks/large.txt"),
            (HOSTILE, "draft-[!0-9]", "small.txt"),
            ("literal", "sketch-[!]", "literal.txt"),
            ("broken", "[z-a]", "broken.txt"),
        )
    ]
    picks = tuple(
        PicksRow(name=each.name, sources=each.sources, pick=each.pick, before=len(jobs))
        for each in stages
    )
    written = made_page(tmp_path, *jobs, waiting=tuple(stages), picks=picks)
    page = open_page(written, viewport={"width": 1200, "height": 600}).page
    expect(page.locator(".notes li").first).to_have_text(
        "large waits for picks/large.txt: pick from 3 jobs named draft-[0-9]"
    )
    for number in range(len(jobs)):
        page.locator(f'#view-gallery .open[data-job="{number}"]').focus()
        page.keyboard.press("p")
    assert page.evaluate("scrollTo(0, 200), scrollY") > 0
    page.get_by_role("button", name="Save picks").click()
    assert (
        page.locator("#picks").bounding_box()["y"] >= 0
    )  # a dialog stays in the window of a page that is scrolled
    shoot(page, "picks-of-stages")
    found = {}
    for chip in page.locator("#picks .chip").all():
        chip.click()
        # Several files may have a name, so the command states which; a file that the manifest does
        # not have has none.
        commands = page.locator("#picks .command code").all_inner_texts()
        words = [shlex.split(command) for command in commands if " pick " in command]
        chosen = [["--file", stage.pick] for stage in stages if stage.name in chip.inner_text()]
        assert [each[-2:] for each in words] == chosen
        with page.expect_download() as download:
            page.locator("#picks .save").click()
        found[download.value.suggested_filename] = (
            Path(download.value.path()).read_text(encoding="utf-8").split()
        )
    assert found == {
        "large.txt": ["draft-1", "draft-2"], "small.txt": ["draft-x"],
        "literal.txt": ["sketch-[!]"], "picks.txt": ["other"],
    }  # fmt: skip


def test_a_picks_file_has_the_pictures_of_one_stage(tmp_path: Path, open_page: Open) -> None:
    drafts = [made_job(f"draft-{number}", file="a.png") for number in range(900)]
    finals = [
        made_job(f"final-{number}", file="a.png", source=_from(f"draft-{number}", "a.png"))
        for number in range(900)
    ]
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "a.png")
    picks = PicksRow(name="final", sources="*", pick="picks.txt", before=900)
    written = made_page(tmp_path, *drafts, *finals, picks=(picks,))
    page = open_page(written, permissions=["clipboard-read", "clipboard-write"]).page
    page.get_by_role("searchbox").fill("draft-899")
    expect(page.locator("#view-gallery .card")).to_have_count(
        2
    )  # a search finds what was made of a picture, too
    expect(page.locator(".kin img")).to_have_attribute(
        "src", f"thumbnails/{digest_of('a.png')[:40]}.webp"
    )
    for toggle in page.locator("#view-gallery .marks [data-mark=picked]").all():
        toggle.dispatch_event("click")
    page.get_by_role("button", name="Save picks").click()
    command = page.locator("#picks .command code")
    page.locator("#picks").get_by_role("button", name="Stage 2").click()
    expect(page.locator("#picks")).to_contain_text("pick: picks.txt")
    expect(command).to_have_text(
        [f"crucible-batch run m.yaml --out-dir {tmp_path}"]
    )  # no entry picks from this stage
    page.get_by_role("button", name="Remove final-899").click()
    expect(page.locator("#picks .command code").first).to_have_text(
        f"crucible-batch pick {tmp_path} draft-899"
    )
    page.get_by_role("button", name="Copy the lines").click()
    assert page.evaluate("navigator.clipboard.readText()") == "draft-899\n"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "size", [{"viewport": {"width": 1400, "height": 900}}, PHONE], ids=["wide", "phone"]
)
def test_axe_finds_nothing_in_stages_and_picks(
    posters: Path, open_page: Open, scheme: str, size: Any
) -> None:
    page = open_page(posters, "#job=4", color_scheme=scheme, **size).page
    assert sizes(page) == [320, 640]
    assert violations(page) == []
    page.keyboard.press("Escape")
    _pick(page)
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= size["viewport"]["width"]
