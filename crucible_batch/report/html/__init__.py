"""The page for those who never see a terminal: one file with everything in it."""

from crucible_batch.report.html.advice import Advice, advice
from crucible_batch.report.html.cards import Thumbnail
from crucible_batch.report.html.curve import CurvePoint, credit_curve
from crucible_batch.report.html.embedding import compact, embedded
from crucible_batch.report.html.miniature import Miniature, miniature_of
from crucible_batch.report.html.page import PAGE_FILE, Cards, Frame, charts, head_json, page_pieces, write_page
from crucible_batch.report.html.parts import Parts, put_together, report_scripts, report_styles
from crucible_batch.report.html.thumbnails import FOLDER, Pictures, Thumbnails

__all__ = [
    "FOLDER",
    "PAGE_FILE",
    "Advice",
    "Cards",
    "CurvePoint",
    "Frame",
    "Miniature",
    "Parts",
    "Pictures",
    "Thumbnail",
    "Thumbnails",
    "advice",
    "charts",
    "compact",
    "credit_curve",
    "embedded",
    "head_json",
    "miniature_of",
    "page_pieces",
    "put_together",
    "report_scripts",
    "report_styles",
    "write_page",
]
