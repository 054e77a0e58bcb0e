"""The newcomer's one command: from nothing to a comparison grid in a browser."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect

from tests.integration.cli.conftest import Cli

from .conftest import Open


def test_the_demo_leads_a_browser_to_its_comparison_grid(tmp_path: Path, open_page: Open) -> None:
    shown = tmp_path / "shown"
    done = Cli(tmp_path, None)("demo", "--open", BROWSER=f"sh -c 'echo \"$0\" > {shown}' %s")
    assert done.code == 0, done.err
    address = shown.read_text().strip()
    page = open_page(Path(address.removeprefix("file://"))).page
    table = page.get_by_role("table")
    expect(table.locator("td img").first).to_be_visible()
    assert table.locator("thead th .value").all_inner_texts() == ["blue hour", "golden hour"]
    expect(table.locator("td img")).to_have_count(8)
    assert page.url.endswith("/outputs/demo/default/report.html#view=compare")
