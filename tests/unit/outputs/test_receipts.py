"""Receipts: a line each, whole or out, and nothing in the file can hurt who reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from crucible_batch.core.receipts import Receipt
from crucible_batch.outputs import RECEIPTS_FILE, Receipts
from crucible_batch.outputs import receipts as receipts_module
from tests.harness.job_events import saved_event

ACCEPTED = Receipt("i" * 64, 1, "cb1-key", "job_1", Decimal("2.50"), 1700000000.25)
SAVED = Receipt(
    "i" * 64, 1, "cb1-key", "job_1", Decimal("2.50"), 1700000001.0, outputs=1,
    saved=saved_event(at=1700000001.0, sha256="f" * 64, byte_size=9, width=4, height=3),
)  # fmt: skip


@pytest.fixture
def receipts(tmp_path: Path) -> Iterator[Receipts]:
    with closing(Receipts(tmp_path)) as opened:
        yield opened


def test_what_is_added_is_read_back_in_order(tmp_path, receipts):
    receipts.add(ACCEPTED)
    receipts.add(SAVED)
    assert list(receipts.read()) == [ACCEPTED, SAVED]
    lines = (tmp_path / RECEIPTS_FILE).read_text().splitlines()
    assert json.loads(lines[0])["key"] == "cb1-key"
    assert json.loads(lines[1])["saved"]["sha256"] == "f" * 64


def test_where_there_is_no_file_there_are_none(tmp_path):
    assert list(Receipts(tmp_path).read()) == []
    assert not (tmp_path / RECEIPTS_FILE).exists()


def test_a_torn_line_and_strange_lines_are_passed_over(tmp_path, receipts):
    receipts.add(ACCEPTED)
    path = tmp_path / RECEIPTS_FILE
    whole = path.read_bytes()
    path.write_bytes(
        b"\x00\xff\n" + b"[" * 100_000 + b"\n" + b'{"key": 1}\n' + whole + whole[: len(whole) // 2]
    )
    assert list(receipts.read()) == [ACCEPTED]


def test_a_link_in_its_place_is_neither_read_nor_written(tmp_path: Path, receipts: Receipts):
    target = tmp_path / "elsewhere"
    receipts.add(ACCEPTED)
    receipts.close()
    (tmp_path / RECEIPTS_FILE).rename(target)
    (tmp_path / RECEIPTS_FILE).symlink_to(target)
    before = target.read_bytes()
    receipts.add(SAVED)
    assert target.read_bytes() == before
    assert list(receipts.read()) == []


def test_a_second_name_of_another_file_is_not_written_to(tmp_path: Path, receipts: Receipts):
    (tmp_path / "elsewhere").write_bytes(b"not ours\n")
    (tmp_path / RECEIPTS_FILE).hardlink_to(tmp_path / "elsewhere")
    receipts.add(ACCEPTED)
    assert (tmp_path / "elsewhere").read_bytes() == b"not ours\n"


def test_a_line_that_was_cut_before_has_the_next_one_below_it(tmp_path: Path, receipts: Receipts):
    receipts.add(ACCEPTED)
    receipts.close()
    path = tmp_path / RECEIPTS_FILE
    path.write_bytes(path.read_bytes()[:-20])
    receipts.add(ACCEPTED)
    receipts.add(SAVED)
    assert list(receipts.read()) == [ACCEPTED, SAVED]


def test_a_write_that_is_short_has_the_next_one_below_it(
    tmp_path: Path, receipts: Receipts, monkeypatch: pytest.MonkeyPatch
):
    class Full(receipts_module.FileIO):
        def write(self, block: bytes) -> int:
            return super().write(block[:9])

    with monkeypatch.context() as patch:
        patch.setattr(receipts_module, "FileIO", Full)
        receipts.add(ACCEPTED)
    receipts._file, full = (
        receipts_module.FileIO(str(tmp_path / RECEIPTS_FILE), "a"),
        receipts._file,
    )
    full.close()
    receipts.add(SAVED)
    assert list(receipts.read()) == [SAVED]


def test_a_file_that_was_removed_meanwhile_is_made_again(
    tmp_path: Path, receipts: Receipts, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipts.add(ACCEPTED)
    (tmp_path / RECEIPTS_FILE).unlink()
    receipts.add(SAVED)
    assert list(receipts.read()) == [SAVED]
