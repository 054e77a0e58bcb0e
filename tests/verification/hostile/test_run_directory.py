"""A run directory that somebody else has prepared: whatever links it holds, nothing outside of it
is touched.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.verification.hostile.gateway import HostileGateway, serving

SECRET = b"what nobody may touch"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """What the links lead to."""
    home = tmp_path / "home"
    (home / "folder").mkdir(parents=True)
    (home / "file").write_bytes(SECRET)
    (tmp_path / "out").mkdir()
    return home


def untouched(home: Path) -> bool:
    names = sorted(path.name for path in home.rglob("*"))
    return names == ["file", "folder"] and (home / "file").read_bytes() == SECRET


WRITTEN = ("report.json", "report.html", "fox/0.png.json")
PLANTED = [(name, os.symlink) for name in (*WRITTEN, "receipts.jsonl")] + [
    (name, os.link) for name in WRITTEN
]
"""Receipts are appended to: a second name of their file can't be told from its first."""


@pytest.mark.parametrize(
    ("name", "kind"), PLANTED, ids=lambda each: getattr(each, "__name__", each)
)
async def test_a_link_where_a_file_of_ours_goes_is_not_written_through(
    run, tmp_path, home, name, kind
) -> None:
    (tmp_path / "out" / name).parent.mkdir(exist_ok=True)
    kind(home / "file", tmp_path / "out" / name)
    gateway = HostileGateway()
    async with serving(gateway):
        result = await run(gateway, html=True)
    assert result.ok
    assert untouched(home)


@pytest.mark.parametrize("name", ["fox", "thumbnails"])
async def test_a_folder_that_is_a_link_is_not_written_into(run, tmp_path, home, name) -> None:
    (tmp_path / "out" / name).symlink_to(home / "folder")
    gateway = HostileGateway()
    async with serving(gateway):
        result = await run(gateway, html=True)
        assert untouched(home)
        if name == "fox":
            (row,) = result.jobs()
            assert (result.exit_code, row.error.code) == (1, "OUTPUT_EXISTS")
            (tmp_path / "out/fox").unlink()
            result = await run(gateway)
    assert result.ok
    assert gateway.asked["generate"] == 1
