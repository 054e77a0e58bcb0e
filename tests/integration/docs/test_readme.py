"""The README is true: its commands exist, its manifest loads, and it is short."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

from crucible_batch import validate
from crucible_batch.errors import ExitCode
from tests.harness.case_table import each_case

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@each_case("page", [ROOT / "README.md", ROOT / "docs/tutorial.md"])
def test_a_reader_changes_into_the_folder_that_init_created(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:sh|console)\n(.*?)```", text, flags=re.DOTALL)
    typed = [
        re.sub(r" +#.*", "", line.removeprefix("$ "))
        for block in blocks
        for line in block.splitlines()
    ]
    assert "crucible-batch init my-batch" in typed
    assert "cd my-batch" in typed
    assert [
        line for line in typed if line.startswith("crucible-batch ") and "my-batch/" in line
    ] == []
    assert "--allow-outside" not in README


def test_make_knows_the_commands() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [
        line.split()[1]
        for block in _blocks("sh")
        for line in block.splitlines()
        if line.startswith("make ")
    ]
    assert targets == ["demo", "test"]
    assert all(f"\n{target}:" in makefile for target in targets)


def test_the_pages_for_developers_and_the_makefile_name_the_same_targets() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):(?!=)", makefile, flags=re.MULTILINE))
    pages = {
        page: (ROOT / page).read_text(encoding="utf-8")
        for page in ("tests/README.md", "CONTRIBUTING.md")
    }
    command = re.compile(r"(?:`|^|, )make ([a-z]+(?:-[a-z]+)*)", re.MULTILINE)
    named = {page: set(command.findall(text)) for page, text in pages.items()}
    assert all(named.values())
    assert set.union(*named.values()) <= targets
    about_tests = {
        "test",
        "proofs",
        "soak",
        "crash",
        "mutants",
        "verify",
        "campaign",
        "coverage",
        "lowest",
    }
    assert (
        about_tests | {target for target in targets if target.startswith("test-")}
        <= named["tests/README.md"]
    )


def test_the_manifest_loads(tmp_path: Path) -> None:
    (manifest,) = _blocks("yaml")
    (tmp_path / "manifest.yaml").write_text(manifest, encoding="utf-8")
    (tmp_path / "products.csv").write_text("sku,title\nA1,A blue vase\n", encoding="utf-8")
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (8, 8), "navy").save(tmp_path / "photos" / "A1.jpg")
    _, count = validate(tmp_path / "manifest.yaml")
    assert count == 5


def test_the_exit_codes_are_the_programs() -> None:
    page = (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8").partition("## ")[0]
    table = dict(re.findall(r"^\| (\d+) \| (.+) \|$", page, flags=re.MULTILINE))
    assert table == {str(int(code)): code.meaning for code in ExitCode if str(int(code)) in table}
    assert {"0", "1", "2", "3", "4", "5", "6", "7", "130", "143"} == set(table)


def test_it_can_be_read_in_five_minutes() -> None:
    assert len(README.split()) <= 1200


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
