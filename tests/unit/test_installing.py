"""What people are told to install: in one wording, from one place."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from crucible_batch.shell_command import install_command, install_hint

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PUBLISHED = "'crucible-batch[" in install_command("mcp")
PAGES = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if page.name != "releasing.md"
]


def test_each_page_and_message_installs_from_the_same_place() -> None:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for command, extra in re.findall(r"(pip install '[^'\n]*\[([a-z-]+)\]')", text):
            assert command == install_command(extra), page
            found.append(extra)
        if not PUBLISHED:
            assert not re.search(r"\b(uvx|pipx|pip install) '?crucible-batch", text), page
    assert set(found) == set(PROJECT["optional-dependencies"])
    for extra in found:
        assert install_command(extra) in install_hint(extra)
    for path in (ROOT / "crucible_batch").rglob("*.py"):
        assert "pip install 'crucible" not in path.read_text(encoding="utf-8"), path
