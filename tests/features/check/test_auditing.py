"""The audit's statement: what the gateway lists now, and what the directory's runs saw before."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from crucible_batch.core.gateway_types import Account, LedgerEntry
from crucible_batch.core.ledger_coverage import LedgerCoverage
from crucible_batch.features.check.auditing import _statement
from crucible_batch.journal import Binding, Journal
from tests.harness.case_table import each_case
from tests.harness.replacing import replace

BINDING = Binding("m", "default", "https://gateway.example/")
OLD = LedgerEntry("old", "reserve", Decimal(2), at=5.0, job_id="j")
LAST = LedgerEntry("last", "refund", Decimal(2), at=9.0, job_id="j", status="pending")


def account(*names: str) -> Account:
    entries = tuple(LedgerEntry(name, "refund", Decimal(2), at=9.0, job_id="j") for name in names)
    return Account(Decimal(9), Decimal(0), Decimal(9), entries)


@each_case("listed, since, until", [("last", 6.0, 900.0), ("newer", 900.0, 900.0)])
async def test_the_audits_own_reading_extends_that_of_the_runs_if_they_overlap(
    listed: str, since: float, until: float, tmp_path: Path
) -> None:
    with Journal.open(tmp_path, BINDING, now=1.0) as journal:
        await journal.keep_reading([OLD], replace(LedgerCoverage.of([OLD], 4.0), since=1.0), 4.0)
        await journal.keep_reading(
            [LAST], replace(LedgerCoverage.of([LAST], 10.0), since=6.0), 10.0
        )
        statement = _statement(journal, account(listed), 900.0)
        times = [(each.since, each.until) for each in statement.coverages]
        assert times == [(1.0, 4.0), (6.0, 10.0), (since, until)]
        assert {entry.key for entry in statement.entries} == {"old", "last", listed}
        state = next(entry.status for entry in statement.entries if entry.key == "last")
        assert state == ("" if listed == "last" else "pending")


async def test_without_readings_only_what_is_listed_now_counts(tmp_path: Path) -> None:
    with Journal.open(tmp_path, BINDING, now=1.0) as journal:
        statement = _statement(journal, account("last"), 900.0)
        assert (statement.coverages, [entry.key for entry in statement.entries]) == ([], ["last"])
