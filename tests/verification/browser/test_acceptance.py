"""The report of a run of two stages at the independent gateway: draft and final side by side."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import expect

from tests.preloaded import COMMAND

from .conftest import Open

GATEWAY = Path(__file__).parents[2] / "acceptance/other_gateway.py"
MANIFEST = """\
version: 1
name: herons
workflow: Paint.Text
budget: {credits: 20}
jobs:
  - {name: draft, prompt: "A heron, study {{ repeat }}", repeat: 40}
  - {name: "final-{{ source.name }}", from: "draft*", pick: picks.txt, workflow: Enlarge.x2}
"""
PICKED = (1, 3, 12, 25, 33, 40)


def test_the_page_of_forty_drafts_and_six_picks_shows_draft_and_final_side_by_side(
    tmp_path: Path, open_page: Open
) -> None:
    (tmp_path / "manifest.yaml").write_text(MANIFEST, encoding="utf-8")
    (tmp_path / "picks.txt").write_text("".join(f"draft-{number}\n" for number in PICKED), encoding="utf-8")
    with subprocess.Popen([sys.executable, str(GATEWAY)], stdout=subprocess.PIPE, text=True) as gateway:
        try:
            assert gateway.stdout is not None
            address = json.loads(gateway.stdout.readline())
            account = {"MOLTAZINE_API_KEY": address["api_key"], "CRUCIBLE_API_BASE": address["api"]}
            subprocess.run(
                [COMMAND, "run", "manifest.yaml", "-q"], cwd=tmp_path, env={**os.environ, **account}, check=True
            )
        finally:
            gateway.kill()
    page = open_page(tmp_path / "outputs/herons/default/report.html").page
    expect(page.locator("#view-gallery .card")).to_have_count(46)
    expect(page.locator("#view-gallery .card .kin")).to_have_count(6 + 6)
    for position, number in enumerate(PICKED):
        page.evaluate(f"location.hash = 'job={40 + position}'")
        expect(page.get_by_role("dialog", name=f"final-draft-{number}")).to_be_visible()
        panes = page.locator("#detail .pane img")
        expect(panes).to_have_count(2)
        for pane, width in zip(panes.all(), (24, 48), strict=True):
            expect(pane).to_have_js_property("naturalWidth", width)
        shown = panes.evaluate_all("(all) => all.map((image) => decodeURI(image.src))")
        assert [Path(each).parent.name for each in shown] == [f"draft-{number}", f"final-draft-{number}"]
    page.keyboard.press("Escape")
