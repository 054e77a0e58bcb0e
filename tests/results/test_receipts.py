"""Receipts: a line each, whole or out, and nothing in the file can hurt who reads it."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

from crucible_batch.core.events import Saved
from crucible_batch.core.receipt import Receipt
from crucible_batch.results import RECEIPTS_FILE, Receipts

ACCEPTED = Receipt("i" * 64, 1, "cb1-key", "job_1", Decimal("2.50"), 1700000000.25)
SAVED = Receipt(
    "i" * 64, 1, "cb1-key", "job_1", Decimal("2.50"), 1700000001.0, outputs=1,
    saved=Saved(at=1700000001.0, index=0, path="a/0.png", sha256="f" * 64, byte_size=9, mime_type="image/png",
                width=4, height=3),
)  # fmt: skip


def test_what_is_added_is_read_back_in_order(tmp_path):
    receipts = Receipts(tmp_path)
    receipts.add(ACCEPTED)
    receipts.add(SAVED)
    assert list(receipts.read()) == [ACCEPTED, SAVED]
    lines = (tmp_path / RECEIPTS_FILE).read_text().splitlines()
    assert json.loads(lines[0])["key"] == "cb1-key"
    assert json.loads(lines[1])["saved"]["sha256"] == "f" * 64


def test_where_there_is_no_file_there_are_none(tmp_path):
    assert list(Receipts(tmp_path).read()) == []
    assert not (tmp_path / RECEIPTS_FILE).exists()


def test_a_torn_line_and_strange_lines_are_passed_over(tmp_path):
    receipts = Receipts(tmp_path)
    receipts.add(ACCEPTED)
    path = tmp_path / RECEIPTS_FILE
    whole = path.read_bytes()
    path.write_bytes(b"\x00\xff\n" + b"[" * 100_000 + b"\n" + b'{"key": 1}\n' + whole + whole[: len(whole) // 2])
    assert list(receipts.read()) == [ACCEPTED]


def test_a_link_in_its_place_is_neither_read_nor_written(tmp_path: Path):
    target = tmp_path / "elsewhere"
    Receipts(tmp_path).add(ACCEPTED)
    (tmp_path / RECEIPTS_FILE).rename(target)
    (tmp_path / RECEIPTS_FILE).symlink_to(target)
    before = target.read_bytes()
    receipts = Receipts(tmp_path)
    receipts.add(SAVED)
    assert target.read_bytes() == before
    assert list(receipts.read()) == []
