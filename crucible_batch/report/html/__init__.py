"""The page for those who never see a terminal: one file with everything in it."""

from crucible_batch.report.html.curve import CurvePoint, credit_curve
from crucible_batch.report.html.page import PAGE_FILE, write_page
from crucible_batch.report.html.thumbnails import Thumbnails

__all__ = ["PAGE_FILE", "CurvePoint", "Thumbnails", "credit_curve", "write_page"]
