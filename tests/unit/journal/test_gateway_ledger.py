"""What runs saw of the gateway's ledger: kept in the journal, also where one is continued or
merged.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

from crucible_batch.core.gateway_types import LedgerEntry
from crucible_batch.core.ledger_coverage import LedgerCoverage
from crucible_batch.journal import Binding, Journal, add_rows, copy_gateway_ledger, rows_after
from tests.harness.replacing import replace

BINDING = Binding("m", "default", "https://gateway.example")
FIRST = LedgerCoverage(1.0, 2.0, ("a",), ("",))
SECOND = LedgerCoverage(5.0, 6.0, ("b",), ("",))


def entry(name: str, status: str = "posted") -> LedgerEntry:
    return LedgerEntry(
        name, "refund", Decimal("-2.5"), at=1.5, job_id="j", status=status, more=("x",)
    )


async def test_readings_are_kept_and_an_entry_that_changes_is_replaced(tmp_path: Path) -> None:
    with Journal.open(tmp_path, BINDING, now=1.0) as journal:
        assert (journal.ledger_entries(), journal.ledger_coverages()) == ([], [])
        await journal.keep_reading(
            [entry("a", "pending")], LedgerCoverage(1.0, 1.0, ("a",), ("",)), 1.0
        )
        await journal.keep_reading([entry("a")], FIRST, FIRST.until)
        await journal.keep_reading([entry("b")], SECOND, SECOND.until)
    with Journal.read(tmp_path) as journal:
        assert sorted(journal.ledger_entries(), key=lambda each: each.key) == [
            entry("a"),
            entry("b"),
        ]
        assert journal.ledger_coverages() == [FIRST, SECOND]
        assert journal.ledger_coverages()[-1] == SECOND


async def test_another_journal_gets_what_the_runs_of_this_one_saw(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "shard", BINDING, now=1.0) as shard:
        await shard.keep_reading([entry("a")], FIRST, FIRST.until)
        with Journal.open(tmp_path / "main", BINDING, now=1.0) as main:
            await main.keep_reading([entry("b")], SECOND, SECOND.until)
            for _ in range(2):
                copy_gateway_ledger(shard, main)
            assert {each.key for each in main.ledger_entries()} == {"a", "b"}
            assert main.ledger_coverages() == [FIRST, SECOND]
        with Journal.open(tmp_path / "continued", BINDING, now=1.0) as continued:
            add_rows(continued, [rows_after(shard, 0)])
            assert continued.ledger_entries() == []
            add_rows(continued, [rows_after(shard, 0, with_gateway_ledger=True)])
            assert (continued.ledger_entries(), continued.ledger_coverages()) == (
                [entry("a")],
                [FIRST],
            )


async def test_places_are_kept_with_the_entries_and_those_of_another_journal_are_not(
    tmp_path: Path,
) -> None:
    def at(name: str, place: int | None) -> LedgerEntry:
        return replace(entry(name), place=place)

    with Journal.open(tmp_path / "shard", BINDING, now=1.0) as shard:
        assert (shard.ledger_places(["a"]), shard.last_ledger_place()) == ({}, 0)
        await shard.keep_reading([at("a", 5), at("b", 7), at("c", None)], FIRST, FIRST.until)
        assert (shard.ledger_places(["c", "a", "x"]), shard.last_ledger_place()) == ({"a": 5}, 7)
        await shard.keep_reading([at("a", 9)], FIRST, FIRST.until)
        assert (shard.ledger_places("ab"), shard.last_ledger_place()) == ({"a": 9, "b": 7}, 9)
        with Journal.open(tmp_path / "continued", BINDING, now=1.0) as continued:
            add_rows(continued, [rows_after(shard, 0, with_gateway_ledger=True)])
            assert continued.ledger_places("abc") == {"a": 9, "b": 7}
        with Journal.open(tmp_path / "main", BINDING, now=1.0) as main:
            await main.keep_reading([replace(at("b", 3), status="pending")], SECOND, SECOND.until)
            for _ in range(2):
                copy_gateway_ledger(shard, main)
            assert main.ledger_places("abc") == {"b": 3}
            assert sorted(main.ledger_entries(), key=lambda each: each.key) == [
                at("a", None),
                at("b", 3),
                entry("c"),
            ]


def test_a_journal_without_readings_brings_none(tmp_path: Path) -> None:
    with (
        Journal.open(tmp_path / "shard", BINDING, now=1.0) as shard,
        Journal.open(tmp_path / "main", BINDING, now=1.0) as main,
    ):
        copy_gateway_ledger(shard, main)
        assert (main.ledger_entries(), main.ledger_coverages()) == ([], [])
        assert rows_after(shard, 0, with_gateway_ledger=True) == rows_after(shard, 0)


async def test_an_entry_without_an_id_is_kept_with_all_its_fields(tmp_path: Path) -> None:
    bare = LedgerEntry("", "refund", Decimal("3.10"), description="caf\u00e9")
    with Journal.open(tmp_path, BINDING, now=1.0) as journal:
        await journal.keep_reading([bare], FIRST, FIRST.until)
        assert journal.ledger_entries() == [bare]
        assert (list(journal.events()), journal.last_number()) == (
            [],
            0,
        )  # a reading is not an event


async def test_after_a_gap_at_the_same_moment_the_later_coverage_is_the_newest(
    tmp_path: Path,
) -> None:
    """The clock was set back, so the later reading is dated by the end of the earlier coverage."""
    with Journal.open(tmp_path, BINDING, now=1.0) as journal:
        await journal.keep_reading([], LedgerCoverage(1.0, 4.0, ("a",), ("",)), 4.0)
        await journal.keep_reading([], LedgerCoverage(4.0, 4.0, ("b",), ("",)), 4.0)
        assert journal.ledger_coverages()[-1] == LedgerCoverage(4.0, 4.0, ("b",), ("",))


async def test_entries_and_the_coverage_that_claims_them_are_written_together(
    tmp_path: Path,
) -> None:
    written: list[int] = []

    class Writer:
        async def write(self, *statements: Any) -> None:
            written.append(len(statements))

        def close(self) -> None:
            """Nothing is open."""

    with Journal.open(tmp_path, BINDING, now=1.0) as journal:
        journal._writer = Writer()  # type: ignore[assignment]
        await journal.keep_reading([entry("a"), entry("b")], FIRST, FIRST.until)
    assert len(written) == 1
