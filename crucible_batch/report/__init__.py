"""Reports: what a run directory came to, for people and for programs."""

from crucible_batch.report.build import build_head, build_row, build_rows, count_jobs, sum_up
from crucible_batch.report.html import PAGE_FILE
from crucible_batch.report.models import CountsRow, CreditsRow, ErrorRow, JobRow, OutputRow, Report, ReportHead
from crucible_batch.report.writer import REPORT_FILE, TEMPORARY_REPORT, RowFile, write_report

__all__ = [
    "PAGE_FILE",
    "REPORT_FILE",
    "TEMPORARY_REPORT",
    "CountsRow",
    "CreditsRow",
    "ErrorRow",
    "JobRow",
    "OutputRow",
    "Report",
    "ReportHead",
    "RowFile",
    "build_head",
    "build_row",
    "build_rows",
    "count_jobs",
    "sum_up",
    "write_report",
]
