"""Reports of run directories: ``report.json`` for programs, ``report.html`` for people."""

from crucible_batch.report.build import (
    Generations,
    GenerationsOf,
    build_head,
    build_row,
    build_rows,
    count_jobs,
)
from crucible_batch.report.html import PAGE_FILE
from crucible_batch.report.models import (
    AfterRow,
    AllJobsRow,
    CheckRow,
    ChecksRow,
    CountsRow,
    CreditsRow,
    DerivedRow,
    EntryRow,
    ErrorRow,
    JobRow,
    OutputRow,
    PeriodRow,
    PicksRow,
    Report,
    ReportHead,
    WaitingRow,
)
from crucible_batch.report.writer import REPORT_FILE, RowFile, write_report
